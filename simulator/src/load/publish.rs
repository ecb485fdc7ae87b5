//! What a load vehicle publishes: its readings, in their order or, on purpose, not quite, and once or, on purpose,
//! twice.

use telemetry::PayloadHash;

use super::{
    engine::Engine,
    outbox::Transmission,
    payload::Of,
    vehicle::{Outstanding, Vehicle},
    wire,
};

/// In a load that follows no clock a full record comes once in so many readings, where others report on change.
const SNAPSHOT_EVERY: u32 = 100;

impl Engine {
    /// Packs a transmission, or keeps it back for the next one.
    pub(super) fn transmit(&mut self, vehicle: &mut Vehicle, number: u32, transmission: Transmission) {
        self.render(vehicle, transmission);
        if transmission.again.is_none() {
            self.note_first(vehicle, number, transmission);
            if vehicle.behind.is_none() && self.plan.troubles.reorders(vehicle.place, transmission.seq) {
                vehicle.behind = Some(Box::new(transmission));
                return;
            }
        }
        self.publish(vehicle, transmission);
        // It may be the one that was kept back.
        vehicle.behind.take_if(|behind| behind.seq == transmission.seq);
        if vehicle.has_room()
            && let Some(behind) = vehicle.behind.take()
        {
            self.counts.reordered += 1;
            self.render(vehicle, *behind);
            self.publish(vehicle, *behind);
        }
    }

    /// Packs what was kept back although nothing will come after it.
    pub(super) fn catch_up(&mut self, vehicle: &mut Vehicle) {
        // Whether more will come is the dearest question, and most loads keep nothing back.
        if vehicle.behind.is_some()
            && vehicle.has_room()
            && !self.more_will_come(vehicle)
            && let Some(behind) = vehicle.behind.take()
        {
            self.render(vehicle, *behind);
            self.publish(vehicle, *behind);
        }
    }

    fn render(&mut self, vehicle: &Vehicle, Transmission { seq, due_us, .. }: Transmission) {
        let of = Of {
            seq,
            time: self.time(due_us) + self.plan.troubles.skew_ms(vehicle.place, due_us),
            snapshot: self.payloads.on_change() && self.is_snapshot(vehicle, seq, due_us),
        };
        self.payload.clear();
        self.payloads.render_as(&vehicle.id, vehicle.index, of, &mut self.payload);
    }

    /// The first reading of each period is a full record.
    fn is_snapshot(&self, vehicle: &Vehicle, seq: u32, due_us: u64) -> bool {
        let Some(before) = seq.checked_sub(2) else { return true };
        match self.plan.arrivals.due_us(vehicle.place, before) {
            Some(before_us) => before_us / self.plan.snapshot_us != due_us / self.plan.snapshot_us,
            None => seq.is_multiple_of(SNAPSHOT_EVERY),
        }
    }

    /// What was rendered is sent for the first time.
    fn note_first(&mut self, vehicle: &Vehicle, number: u32, Transmission { seq, due_us, .. }: Transmission) {
        if self.payloads.on_change() {
            self.counts.snapshots += u64::from(self.is_snapshot(vehicle, seq, due_us));
        }
        self.counts.skewed += u64::from(self.plan.troubles.skew_ms(vehicle.place, due_us) != 0);
        if self.ledger.is_some() {
            let hash = PayloadHash::of(&self.payload);
            let due = self.due_in_ledger(due_us);
            let after = self.after_start_us().unwrap_or(0).saturating_sub(due_us) / 1_000;
            let after = u32::try_from(after).unwrap_or(u32::MAX - 1);
            self.enter(|ledger| ledger.sent(number, seq, due, after, hash));
        }
    }

    /// Packs what was rendered; twice, if that is to be and the broker's Receive Maximum has room for it.
    fn publish(&mut self, vehicle: &mut Vehicle, Transmission { seq, due_us, again }: Transmission) {
        self.pack(vehicle, Outstanding { due_us, seq, id: 0, again: again.is_some(), written: false });
        if again.is_none() && self.plan.troubles.duplicates(vehicle.place, seq) && vehicle.has_room() {
            self.counts.duplicated += 1;
            self.pack(vehicle, Outstanding { due_us, seq, id: 0, again: true, written: false });
        }
    }

    fn pack(&mut self, vehicle: &mut Vehicle, out: Outstanding) {
        let id = vehicle.next_id();
        wire::publish(&vehicle.id, id, self.payloads.content_type(), &self.payload, &mut self.outgoing);
        vehicle.outstanding.push_back(Outstanding { id, ..out });
    }
}
