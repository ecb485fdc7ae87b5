//! A window as bytes, bit for bit: only channels that hold anything.

use std::sync::Arc;

use super::{Block, Channel, RECENT, Window};
use crate::{Error, layout::Layout};

const FORM: u8 = 3;
/// Bytes of a layout's identity.
const ID: usize = 16;

impl Window {
    fn is_empty(&self, at: usize) -> bool {
        let nothing = |value: &f32| value.is_nan();
        let channel = &self.channels[at];
        channel.known.is_nan()
            && channel.recent.iter().all(nothing)
            && self.fine.of(at).chain(self.coarse.of(at)).all(|block| block.count == 0)
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
        for (at, channel) in self.channels.iter().enumerate().filter(|(at, _)| !self.is_empty(*at)) {
            bytes.extend((at as u16).to_le_bytes());
            bytes.push(channel.age);
            bytes.extend(channel.changed.to_le_bytes());
            bytes.extend(channel.still.to_le_bytes());
            bytes.extend(channel.known.to_le_bytes());
            bytes.extend(channel.recent.iter().flat_map(|value| value.to_le_bytes()));
            for block in self.fine.of(at).chain(self.coarse.of(at)) {
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
        let mut window = Self::new(layout);
        if id != window.layout.id().as_bytes() {
            return Ok(window);
        }
        let (boot, seq) = (u32::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
        window.last = (present == 1).then_some((boot, seq));
        window.time = i64::from_le_bytes(take(&mut rest)?);
        for count in &mut window.lively {
            *count = u16::from_le_bytes(take(&mut rest)?);
        }
        while !rest.is_empty() {
            let at = usize::from(u16::from_le_bytes(take(&mut rest)?));
            let [age] = take(&mut rest)?;
            let mut channel = Channel { age, ..Channel::EMPTY };
            channel.changed = u16::from_le_bytes(take(&mut rest)?);
            channel.still = u16::from_le_bytes(take(&mut rest)?);
            channel.known = f32::from_le_bytes(take(&mut rest)?);
            for value in channel.recent.iter_mut().take(RECENT) {
                *value = f32::from_le_bytes(take(&mut rest)?);
            }
            let place = window.channels.get_mut(at);
            *place.ok_or_else(|| Error::Malformed(format!("a window with a place {at}")))? = channel;
            for block in window.fine.of_mut(at).chain(window.coarse.of_mut(at)) {
                *block =
                    Block { sum: f32::from_le_bytes(take(&mut rest)?), count: u16::from_le_bytes(take(&mut rest)?) };
            }
        }
        window.sum_fine();
        window.sum_coarse();
        Ok(window)
    }
}

pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (head, tail) = rest.split_first_chunk().ok_or_else(|| Error::Malformed("a state cut short".into()))?;
    *rest = tail;
    Ok(*head)
}
