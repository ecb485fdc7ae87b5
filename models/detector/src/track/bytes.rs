//! A track as bytes: what a state keeps of it. What follows from the blocks is not written.

use super::{Channels, Slow, Track};
use crate::{Error, window::take};

/// Form of the bytes.
const FORM: u8 = 2;

impl Track {
    /// The track as bytes, bit for bit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let channels = &self.channels;
        let mut bytes = vec![FORM, u8::from(self.alarmed.is_some())];
        bytes.extend(self.tag.to_le_bytes());
        bytes.extend(self.time.to_le_bytes());
        bytes.extend(self.alarmed.unwrap_or_default().to_le_bytes());
        bytes.extend((channels.len() as u16).to_le_bytes());
        for at in (0..channels.len()).filter(|at| channels.there[*at]) {
            bytes.extend((at as u16).to_le_bytes());
            bytes.extend(channels.recent[at].iter().flatten().flat_map(|value| value.to_le_bytes()));
            for block in channels.fine.of(at).chain(channels.coarse.of(at)) {
                bytes.extend(block.sum.iter().flat_map(|sum| sum.to_le_bytes()));
                bytes.extend(block.count.iter().flat_map(|count| count.to_le_bytes()));
            }
            for slow in channels.slow.of(at) {
                bytes.extend(slow.sum.to_le_bytes());
                bytes.extend(slow.count.to_le_bytes());
            }
        }
        bytes
    }

    /// The track that [`Track::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the bytes are of another form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = bytes;
        let [form, alarmed] = take(&mut rest)?;
        if form != FORM {
            return Err(Error::Malformed(format!("a track of form {form}")));
        }
        let mut track = Self { tag: u64::from_le_bytes(take(&mut rest)?), restored: true, ..Self::default() };
        track.time = i64::from_le_bytes(take(&mut rest)?);
        let moment = i64::from_le_bytes(take(&mut rest)?);
        track.alarmed = (alarmed == 1).then_some(moment);
        track.channels = Channels::new(usize::from(u16::from_le_bytes(take(&mut rest)?)));
        let channels = &mut track.channels;
        while !rest.is_empty() {
            let at = usize::from(u16::from_le_bytes(take(&mut rest)?));
            if at >= channels.len() {
                return Err(Error::Malformed(format!("a track of {} inputs with one more, {at}", channels.len())));
            }
            channels.there[at] = true;
            for value in channels.recent[at].iter_mut().flatten() {
                *value = f32::from_le_bytes(take(&mut rest)?);
            }
            for block in channels.fine.of_mut(at).chain(channels.coarse.of_mut(at)) {
                for sum in &mut block.sum {
                    *sum = f32::from_le_bytes(take(&mut rest)?);
                }
                for count in &mut block.count {
                    *count = u16::from_le_bytes(take(&mut rest)?);
                }
            }
            for slow in channels.slow.of_mut(at) {
                *slow = Slow { sum: f32::from_le_bytes(take(&mut rest)?), count: u16::from_le_bytes(take(&mut rest)?) };
            }
        }
        Ok(track)
    }
}
