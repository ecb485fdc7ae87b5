//! The shared ring: alert events, each encoded once, and the alerts that are open. Pure.
//!
//! Readers keep an offset of their own and ask for what comes after it. A reader that is slower than the ring is
//! told so and catches up from the log; nothing is ever skipped without a word.

use std::collections::{BTreeMap, HashMap, VecDeque};

use axum::extract::ws::Utf8Bytes;
use telemetry::{
    VehicleId,
    event::{AlertEvent, AlertId, AlertState},
};

/// Alerts that are resolved and whose last revision is still known: a repeat of an older event follows soon, if at
/// all.
const RESOLVED: usize = 10_000;

/// One event as it goes to every client.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Offset on `alerts`.
    pub offset: i64,
    /// The JSON text; shared by all connections.
    pub text: Utf8Bytes,
}

impl Frame {
    /// Encodes an event.
    pub fn new(offset: i64, event: &AlertEvent) -> Result<Self, serde_json::Error> {
        let event = serde_json::to_string(event)?;
        Ok(Self { offset, text: format!(r#"{{"type":"alert","offset":{offset},"event":{event}}}"#).into() })
    }
}

/// What a reader gets.
#[derive(Debug)]
pub enum Read {
    /// These come next, in order; read on at `next`.
    Frames {
        /// The events.
        frames: Vec<Frame>,
        /// Behind the last of them; behind everything that was read from the log if no other follows.
        next: i64,
    },
    /// What comes next has left the ring, which now begins at this offset.
    Behind(i64),
}

/// An open alert and the offset of its last event.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAlert {
    /// Offset on `alerts`.
    pub offset: i64,
    /// The last event.
    pub event: AlertEvent,
}

/// The ring and the fold of everything that went through it.
#[derive(Debug)]
pub struct Ring {
    frames: VecDeque<Frame>,
    bytes: usize,
    max_frames: usize,
    max_bytes: usize,
    /// Everything from here on is in `frames`.
    first: i64,
    /// The next offset.
    next: i64,
    open: BTreeMap<AlertId, OpenAlert>,
    /// Last revisions of the alerts that were resolved last.
    resolved: HashMap<AlertId, u64>,
    resolved_order: VecDeque<AlertId>,
}

impl Ring {
    /// An empty ring that begins at this offset.
    pub fn new(first: i64, max_frames: usize, max_bytes: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            max_frames,
            max_bytes,
            first,
            next: first,
            open: BTreeMap::new(),
            resolved: HashMap::new(),
            resolved_order: VecDeque::new(),
        }
    }

    /// Adds the next event of the log. Offsets may have holes.
    ///
    /// # Errors
    /// If the event can't be encoded.
    pub fn push(&mut self, offset: i64, event: AlertEvent) -> Result<(), serde_json::Error> {
        let frame = Frame::new(offset, &event)?;
        self.pass(offset);
        self.bytes += frame.text.len();
        self.frames.push_back(frame);
        while self.frames.len() > self.max_frames || (self.bytes > self.max_bytes && self.frames.len() > 1) {
            if let Some(left) = self.frames.pop_front() {
                self.bytes -= left.text.len();
                self.first = left.offset + 1;
            }
        }
        self.fold(offset, event);
        Ok(())
    }

    fn fold(&mut self, offset: i64, event: AlertEvent) {
        let open = self.open.get(&event.id).map(|open| open.event.revision);
        let known = open.or_else(|| self.resolved.get(&event.id).copied()).unwrap_or(0);
        if event.revision <= known {
            return;
        }
        if event.state != AlertState::Resolved {
            self.open.insert(event.id.clone(), OpenAlert { offset, event });
            return;
        }
        self.open.remove(&event.id);
        if self.resolved.insert(event.id.clone(), event.revision).is_none() {
            self.resolved_order.push_back(event.id);
        }
        if self.resolved_order.len() > RESOLVED
            && let Some(oldest) = self.resolved_order.pop_front()
        {
            self.resolved.remove(&oldest);
        }
    }

    /// Notes that the log is read up to and with this offset.
    pub fn pass(&mut self, offset: i64) {
        self.next = self.next.max(offset + 1);
    }

    /// The next offset that the log will have, as far as it was read.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Up to `max` frames from this offset on.
    pub fn read(&self, from: i64, max: usize) -> Read {
        if from < self.first {
            return Read::Behind(self.first);
        }
        let at = self.frames.partition_point(|frame| frame.offset < from);
        let frames: Vec<_> = self.frames.range(at..).take(max).cloned().collect();
        let next = match frames.last() {
            Some(last) if at + frames.len() < self.frames.len() => last.offset + 1,
            // Records that hold no event have offsets too.
            _ => self.next.max(from),
        };
        Read::Frames { frames, next }
    }

    /// Open alerts, in order of their ids.
    pub fn open(&self) -> impl Iterator<Item = &OpenAlert> {
        self.open.values()
    }

    /// One open alert.
    pub fn open_alert(&self, id: &AlertId) -> Option<&OpenAlert> {
        self.open.get(id)
    }

    /// Open alerts of one vehicle.
    pub fn open_of<'a>(&'a self, vehicle: &'a VehicleId) -> impl Iterator<Item = &'a OpenAlert> {
        let first = AlertId {
            vehicle: vehicle.clone(),
            detector: String::new(),
            episode: telemetry::event::Episode { boot: 0, seq: 0 },
        };
        self.open.range(first..).map(|(_, open)| open).take_while(move |open| open.event.id.vehicle == *vehicle)
    }
}

#[cfg(test)]
mod tests {
    use telemetry::event::{Episode, Severity, Source};

    use super::*;

    fn event(vehicle: &str, revision: u64, state: AlertState) -> AlertEvent {
        let episode = Episode { boot: 1, seq: 1 };
        AlertEvent {
            id: AlertId { vehicle: VehicleId::parse(vehicle).unwrap(), detector: "autoencoder".into(), episode },
            revision,
            state,
            severity: Severity::Warning,
            time: 1,
            opened_at: 1,
            trigger: episode,
            source: Source { partition: 0, offset: 0 },
            model: "autoencoder-1-a".into(),
            score: 1.5,
            contributions: vec![],
            actor: None,
            note: None,
            outcome: None,
        }
    }

    fn offsets(read: Read) -> Vec<i64> {
        match read {
            Read::Frames { frames, .. } => frames.iter().map(|frame| frame.offset).collect(),
            Read::Behind(first) => panic!("behind {first}"),
        }
    }

    #[test]
    fn a_cursor_reads_on_and_learns_when_it_fell_behind() {
        let mut ring = Ring::new(10, 3, 1 << 20);
        for offset in [10, 11, 13, 14] {
            ring.push(offset, event("veh-1", 1, AlertState::Firing)).unwrap();
        }
        ring.pass(15);
        assert_eq!(ring.next(), 16);
        assert_eq!(offsets(ring.read(11, 10)), [11, 13, 14]);
        assert_eq!(offsets(ring.read(12, 1)), [13]);
        assert_eq!(offsets(ring.read(16, 10)), [0_i64; 0]);
        assert!(matches!(ring.read(10, 10), Read::Behind(11)));
    }

    /// A reader that takes `next` from the read, and not from anywhere else, misses nothing that comes between two
    /// reads.
    #[test]
    fn a_reader_goes_on_where_its_read_ended() {
        let mut ring = Ring::new(0, 100, 1 << 20);
        let (mut cursor, mut seen) = (0, Vec::new());
        for offset in 0..20 {
            if offset % 5 == 3 {
                ring.pass(offset);
            } else {
                ring.push(offset, event("veh-1", 1, AlertState::Firing)).unwrap();
            }
            if offset % 3 == 0 {
                let Read::Frames { frames, next } = ring.read(cursor, 2) else { panic!("behind") };
                // What is pushed from here on lies at `next` or behind it.
                assert!(next <= ring.next());
                seen.extend(frames.iter().map(|frame| frame.offset));
                cursor = next;
            }
        }
        loop {
            let Read::Frames { frames, next } = ring.read(cursor, 2) else { panic!("behind") };
            if frames.is_empty() {
                assert_eq!(next, 20);
                break;
            }
            seen.extend(frames.iter().map(|frame| frame.offset));
            cursor = next;
        }
        assert_eq!(seen, (0..20).filter(|offset| offset % 5 != 3).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_bound_the_ring_too() {
        let mut ring = Ring::new(0, 1_000, 1_000);
        for offset in 0..100 {
            ring.push(offset, event("veh-1", 1, AlertState::Firing)).unwrap();
        }
        assert!(ring.bytes <= 1_000 && !ring.frames.is_empty());
        assert!(matches!(ring.read(0, 1), Read::Behind(_)));
    }

    #[test]
    fn open_alerts_are_a_fold_by_revision() {
        let mut ring = Ring::new(0, 2, 1 << 20);
        ring.push(0, event("veh-1", 1, AlertState::Firing)).unwrap();
        ring.push(1, event("veh-2", 1, AlertState::Firing)).unwrap();
        ring.push(2, event("veh-2", 2, AlertState::Acknowledged)).unwrap();
        ring.push(3, event("veh-2", 1, AlertState::Firing)).unwrap();
        ring.push(4, event("veh-10", 1, AlertState::Firing)).unwrap();
        let two = VehicleId::parse("veh-2").unwrap();
        let open: Vec<_> = ring.open_of(&two).map(|open| (open.offset, open.event.state)).collect();
        assert_eq!(open, [(2, AlertState::Acknowledged)], "a repeat changes nothing");
        ring.push(5, event("veh-2", 3, AlertState::Resolved)).unwrap();
        assert_eq!(ring.open_of(&two).count(), 0);
        assert_eq!(ring.open().count(), 2);
        ring.push(6, event("veh-2", 2, AlertState::Acknowledged)).unwrap();
        assert_eq!(ring.open_of(&two).count(), 0, "a repeat opens nothing again");
    }

    #[test]
    fn what_is_remembered_of_resolved_alerts_is_bounded() {
        let mut ring = Ring::new(0, 1, 1 << 20);
        for n in 0..=RESOLVED {
            ring.push(0, event(&format!("veh-{n}"), 2, AlertState::Resolved)).unwrap();
        }
        assert_eq!((ring.resolved.len(), ring.resolved_order.len()), (RESOLVED, RESOLVED));
    }
}
