//! What a vehicle does when the edge asks it to slow down: it keeps a pause between transmissions.
//!
//! It goes on for as long as something is in hand, and for [`LASTS_MS`] after the edge last asked: then the vehicle
//! tries whether the limit still stands, which costs it a few discarded readings at most, and those are sent again.
//! A vehicle that was never asked pays eight bytes.

/// How long the edge's word counts, and the longest pause that is kept, ms.
pub(crate) const LASTS_MS: u64 = 600_000;
/// The edge says at most once a second that it discards: what it has discarded lately is sent again no sooner than
/// its next word, with what that names, may have come. Ms.
pub(crate) const NEXT_WORD_MS: u64 = 2_000;

/// See the module. Times are monotonic, ms.
#[derive(Debug, Default)]
pub(crate) struct Restraint(Option<Box<Asked>>);

#[derive(Debug)]
struct Asked {
    pause: u64,
    /// Nothing is sent before.
    opens_at: u64,
    ends_at: u64,
    /// Since when something has been held back.
    held_since: Option<u64>,
}

impl Restraint {
    /// The edge asks for so long a pause between two readings.
    pub(crate) fn ask(&mut self, pause_ms: u64, now: u64) {
        let pause = pause_ms.min(LASTS_MS);
        let held_since = self.0.as_ref().and_then(|asked| asked.held_since);
        let opens_at = now + pause;
        self.0 = Some(Box::new(Asked { pause, opens_at, ends_at: now + LASTS_MS + pause, held_since }));
    }

    /// Nothing is in hand any more: whoever has nothing to send is not too fast.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }

    /// Whether nothing may be sent now, although something would be.
    pub(crate) fn holds_back(&mut self, now: u64) -> bool {
        let Some(asked) = &mut self.0 else { return false };
        let held = now < asked.opens_at;
        if held {
            asked.held_since.get_or_insert(now);
        }
        held
    }

    /// A reading leaves. For how long it was held back, if it was, ms.
    pub(crate) fn sent(&mut self, now: u64) -> Option<u64> {
        let asked = self.0.as_mut()?;
        let held = asked.held_since.take().map(|since| now.saturating_sub(since));
        asked.opens_at = now + asked.pause;
        if now >= asked.ends_at {
            self.0 = None;
        }
        held
    }

    /// When the next reading may leave, at the earliest; 0 where nothing was asked.
    pub(crate) fn opens_at(&self) -> u64 {
        self.0.as_ref().map_or(0, |asked| asked.opens_at)
    }
}
