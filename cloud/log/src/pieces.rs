//! Memory for many short texts: one piece holds those that came one after the other, and goes with the last of them.

use bytes::{Bytes, BytesMut};

/// A piece: some hundred readings or scores.
const PIECE_BYTES: usize = 64 * 1024;

/// Puts bytes one behind the other into pieces of 64 KiB. What is kept of a piece keeps all of it: for what passes through.
#[derive(Debug, Default)]
pub struct Pieces(BytesMut);

impl Pieces {
    /// A copy of these bytes.
    pub fn put(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(PIECE_BYTES.max(bytes.len()));
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_what_was_put_whatever_its_size() {
        let mut pieces = Pieces::default();
        let texts: Vec<Vec<u8>> = [0, 1, 500, PIECE_BYTES, 3, PIECE_BYTES - 3, 4, PIECE_BYTES + 1, 2]
            .into_iter()
            .zip(1..)
            .map(|(length, text)| vec![text; length])
            .collect();
        let copies: Vec<Bytes> = texts.iter().map(|text| pieces.put(text)).collect();
        assert_eq!(copies, texts);
        let neighbours = (copies[1].as_ptr_range().end, copies[2].as_ptr());
        assert_eq!(neighbours.0, neighbours.1, "one piece");
    }
}
