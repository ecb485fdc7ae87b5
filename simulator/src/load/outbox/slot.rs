//! One reading in the outbox of a load vehicle, in 24 bytes.

use super::Outbox;
use crate::outbox::Resent;

/// No time at all.
pub(super) const NEVER: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// When it was due, µs after the start of the load.
    pub(super) due_us: u64,
    pub(super) seq: u32,
    /// The number of its last transmission in this session; 0 before.
    pub(super) order: u32,
    /// Ms; [`NEVER`] where none is planned.
    pub(super) resend_at: u32,
    /// Resends by rule 2; saturates, long after the pause has.
    pub(super) left_out: u8,
    pub(super) refusals: u8,
    pub(super) state: State,
}

impl Slot {
    pub(super) fn new(seq: u32, due_us: u64) -> Self {
        let state = State::default();
        Self { due_us, seq, order: 0, resend_at: NEVER, left_out: 0, refusals: 0, state }
    }
}

/// Flags, the rule that sends it next, and how many acks have left it out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State(u16);

/// The broker has answered the last transmission.
pub(super) const TAKEN: u16 = 1;
/// At least once.
pub(super) const SENT_BEFORE: u16 = 2;
/// It is to be sent again now.
pub(super) const READY: u16 = 4;
/// The ack that is being read names it.
pub(super) const GONE: u16 = 8;
/// The broker has answered a transmission, the last one or an earlier one.
pub(super) const ANSWERED: u16 = 128;
/// Its last transmission was not the first one in this session.
pub(super) const REPEATED: u16 = 256;
/// The kernel has had it, in this session or an earlier one.
pub(super) const WRITTEN: u16 = 2_048;
const WHY_SHIFT: u8 = 4;
const WHY: u16 = 7 << WHY_SHIFT;
const STRIKES_SHIFT: u8 = 9;
const STRIKES: u16 = 3 << STRIKES_SHIFT;

impl State {
    pub(super) fn is(self, flag: u16) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn set(&mut self, flag: u16, on: bool) {
        if on { self.0 |= flag } else { self.0 &= !flag }
    }

    /// Successive acks that left it out; 3 for more.
    pub(super) fn strikes(self) -> u16 {
        (self.0 & STRIKES) >> STRIKES_SHIFT
    }

    pub(super) fn set_strikes(&mut self, strikes: u16) {
        self.0 = (self.0 & !STRIKES) | (strikes.min(3) << STRIKES_SHIFT);
    }

    pub(super) fn why(self) -> Resent {
        Resent::ALL[usize::from((self.0 & WHY) >> WHY_SHIFT)]
    }

    pub(super) fn because(&mut self, why: Resent) {
        self.0 = (self.0 & !WHY) | ((why as u16) << WHY_SHIFT);
    }
}

impl Outbox {
    /// What was never sent: the seq of the first reading, and when each one was due, µs after the start of the load.
    /// Readings are first sent in the order of their seqs, so these stand last, without a gap.
    pub(in crate::load) fn never_sent(&self) -> Option<(u32, impl Iterator<Item = u64>)> {
        let unsent = self.slots.iter().rev().take_while(|slot| !slot.state.is(SENT_BEFORE)).count();
        let rest = self.slots.range(self.slots.len() - unsent..);
        Some((rest.clone().next()?.seq, rest.map(|slot| slot.due_us)))
    }
}

/// Ms in 32 bits: good for 49 days of a run.
pub(super) fn moment(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(NEVER - 1).min(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_takes_24_bytes_and_a_state_holds_flags_and_rule() {
        assert_eq!(size_of::<Slot>(), 24);
        for why in Resent::ALL {
            let mut state = State::default();
            state.set(TAKEN | GONE | ANSWERED | REPEATED | WRITTEN, true);
            state.set_strikes(7);
            state.because(Resent::Refused);
            state.because(why);
            state.set(GONE, false);
            assert_eq!(state.strikes(), 3);
            state.set_strikes(0);
            assert!(state.strikes() == 0 && state.is(REPEATED) && state.is(WRITTEN));
            assert!(state.is(TAKEN) && state.is(ANSWERED) && !state.is(GONE) && !state.is(READY) && state.why() == why);
        }
    }
}
