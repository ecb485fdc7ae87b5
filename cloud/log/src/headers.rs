//! A record's headers, in one piece of memory: most records have three, and each would else take two allocations.

use std::fmt;

use bytes::{BufMut, Bytes};

/// Names and values in their order. A name may stand in it more than once.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// Of each header: length of name and value (4 bytes each, little-endian), name, value.
    bytes: Bytes,
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self { bytes: Bytes::new() }
    }

    /// Adds one behind the others.
    ///
    /// # Panics
    /// If name or value have 4 GiB or more: no record is so large.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let mut bytes = Vec::from(std::mem::take(&mut self.bytes));
        Self::write(name, value, &mut bytes);
        self.bytes = bytes.into();
    }

    /// Writes one as it stands in [`Headers::written`].
    pub(crate) fn write(name: &str, value: &[u8], bytes: &mut impl BufMut) {
        for length in [name.len(), value.len()] {
            bytes
                .put_u32_le(u32::try_from(length).expect("a header is smaller than a record, and a record than 4 GiB"));
        }
        bytes.put_slice(name.as_bytes());
        bytes.put_slice(value);
    }

    /// What [`Headers::write`] wrote, one behind the other.
    pub(crate) fn written(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// The value of the first header of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.raw().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.raw().count()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // A name comes in as text.
        self.raw().map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &*self.bytes;
        std::iter::from_fn(move || {
            let (name, behind) = rest.split_first_chunk::<4>()?;
            let (value, behind) = behind.split_first_chunk::<4>()?;
            let (name, behind) = behind.split_at_checked(u32::from_le_bytes(*name) as usize)?;
            let (value, behind) = behind.split_at_checked(u32::from_le_bytes(*value) as usize)?;
            rest = behind;
            Some((name, value))
        })
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)))).finish()
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut bytes = Vec::new();
        headers.into_iter().for_each(|(name, value)| Self::write(name.as_ref(), value.as_ref(), &mut bytes));
        Self::written(bytes.into())
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>, const COUNT: usize> From<[(N, V); COUNT]> for Headers {
    fn from(headers: [(N, V); COUNT]) -> Self {
        headers.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_its_order_whatever_bytes_it_has() {
        let all: [(&str, &[u8]); 4] = [("a", b"1"), ("", b""), ("é", &[0, 255, 7]), ("a", b"2")];
        let headers = Headers::from(all);
        assert_eq!(headers.iter().collect::<Vec<_>>(), all);
        assert_eq!((headers.get("a"), headers.get("é"), headers.get("b")), (Some(&b"1"[..]), Some(all[2].1), None));
        assert_eq!((headers.len(), Headers::new().len()), (4, 0));
        assert!(Headers::new().is_empty() && !headers.is_empty());
        assert_eq!(format!("{:?}", Headers::from([("a", "x")])), r#"{"a": "x"}"#);
    }
}
