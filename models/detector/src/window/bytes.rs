//! A window as bytes, bit for bit: only channels that hold anything.

use std::sync::Arc;

use super::{Block, COARSE_BLOCKS, Channel, FINE_BLOCKS, Window};
use crate::{Error, layout::Layout};

const FORM: u8 = 3;
/// Bytes of a layout's identity.
const ID: usize = 16;

impl Window {
    fn is_empty(&self, n: usize) -> bool {
        let nothing = |value: &f32| value.is_nan();
        let channel = &self.channels[n];
        channel.known.is_nan()
            && channel.recent.iter().all(nothing)
            && self.fine.of(n).chain(self.coarse.of(n)).all(|block| block.count == 0)
    }

    /// The window as bytes. A channel takes 137 of them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (boot, seq) = self.last.unwrap_or_default();
        let mut bytes = vec![FORM, u8::from(self.last.is_some())];
        bytes.extend(self.layout.id().as_bytes());
        bytes.extend(boot.to_le_bytes());
        bytes.extend(seq.to_le_bytes());
        bytes.extend(self.time.to_le_bytes());
        bytes.extend(self.lively.iter().flat_map(|count| count.to_le_bytes()));
        for (n, channel) in self.channels.iter().enumerate().filter(|(n, _)| !self.is_empty(*n)) {
            bytes.extend(channel.at.to_le_bytes());
            bytes.push(channel.age);
            bytes.extend(channel.changed.to_le_bytes());
            bytes.extend(channel.still.to_le_bytes());
            bytes.extend(channel.known.to_le_bytes());
            bytes.extend(channel.recent.iter().flat_map(|value| value.to_le_bytes()));
            for block in self.fine.of(n).chain(self.coarse.of(n)) {
                bytes.extend(block.sum.to_le_bytes());
                bytes.extend(block.count.to_le_bytes());
            }
        }
        bytes
    }

    /// The identity of the layout that the window in these bytes has.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the bytes are of another form.
    pub fn layout_id(bytes: &[u8]) -> Result<&str, Error> {
        let id = bytes.get(2..2 + ID).and_then(|id| std::str::from_utf8(id).ok());
        id.ok_or_else(|| Error::Malformed("a window without a layout".into()))
    }

    /// The window that [`Window::to_bytes`] wrote; an empty one if it was of another layout.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the bytes are of another form.
    pub fn from_bytes(layout: Arc<Layout>, bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = bytes;
        let [form, present] = take(&mut rest)?;
        if form != FORM {
            return Err(Error::Malformed(format!("a window of form {form}")));
        }
        let id: [u8; ID] = take(&mut rest)?;
        if id != layout.id().as_bytes() {
            return Ok(Self::new(layout));
        }
        let (boot, seq) = (u32::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
        let last = (present == 1).then_some((boot, seq));
        let time = i64::from_le_bytes(take(&mut rest)?);
        let mut lively = [0; COARSE_BLOCKS];
        for count in &mut lively {
            *count = u16::from_le_bytes(take(&mut rest)?);
        }
        let (mut channels, mut blocks) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let (channel, own) = Channel::read(&mut rest)?;
            let before = channels.last().map(|before: &Channel| before.at);
            if usize::from(channel.at) >= layout.len() || before.is_some_and(|before| before >= channel.at) {
                return Err(Error::Malformed(format!("a window with a place {} behind {before:?}", channel.at)));
            }
            channels.push(channel);
            blocks.push(own);
        }
        let mut window = Self { last, time, lively, ..Self::of(layout, channels) };
        for (n, own) in blocks.iter().enumerate() {
            for (block, own) in window.fine.of_mut(n).chain(window.coarse.of_mut(n)).zip(own) {
                *block = *own;
            }
        }
        window.sum_fine();
        window.sum_coarse();
        Ok(window)
    }
}

impl Channel {
    /// A channel and its blocks, the fine ones first.
    fn read(rest: &mut &[u8]) -> Result<(Self, [Block; FINE_BLOCKS + COARSE_BLOCKS]), Error> {
        let mut channel = Self::empty(u16::from_le_bytes(take(rest)?));
        [channel.age] = take(rest)?;
        channel.changed = u16::from_le_bytes(take(rest)?);
        channel.still = u16::from_le_bytes(take(rest)?);
        channel.known = f32::from_le_bytes(take(rest)?);
        for value in &mut channel.recent {
            *value = f32::from_le_bytes(take(rest)?);
        }
        let mut blocks = [Block::default(); FINE_BLOCKS + COARSE_BLOCKS];
        for block in &mut blocks {
            *block = Block { sum: f32::from_le_bytes(take(rest)?), count: u16::from_le_bytes(take(rest)?) };
        }
        Ok((channel, blocks))
    }
}

pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (head, tail) = rest.split_first_chunk().ok_or_else(|| Error::Malformed("a state cut short".into()))?;
    *rest = tail;
    Ok(*head)
}
