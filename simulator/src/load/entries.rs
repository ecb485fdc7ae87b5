//! What a load enters into its ledger beside what it sends and hears: what left full outboxes, and what was never sent.

use std::io;

use super::{engine::Engine, outbox::Settled, vehicle::Vehicle};

impl Engine {
    /// When a reading is due, on the ledger's clock, ms.
    pub(super) fn due_in_ledger(&self, due_us: u64) -> u32 {
        u32::try_from(self.time(due_us) - self.plan.began).unwrap_or(u32::MAX)
    }

    /// A reading left a full outbox, sent or not.
    pub(super) fn enter_given_up(&mut self, number: u32, Settled { seq, due_us }: Settled) {
        let due = self.due_in_ledger(due_us);
        self.enter(|ledger| ledger.given_up(number, seq, due));
    }

    /// The run ends: enters what was never sent, and closes the ledger.
    pub(super) fn close_ledger(&mut self, vehicles: &[Vehicle]) -> io::Result<()> {
        let Some(mut ledger) = self.ledger.take() else { return Ok(()) };
        for (number, vehicle) in (0..).zip(vehicles) {
            if let Some((first, dues)) = vehicle.outbox.never_sent() {
                let dues: Vec<_> = dues.map(|due_us| self.due_in_ledger(due_us)).collect();
                ledger.never_sent(number, first, &dues)?;
            }
        }
        ledger.close(self.ledger_time())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use clap::Parser;
    use telemetry::UnixMillis;

    use super::*;
    use crate::{
        ledger::{self, batch::BatchWriter},
        load::{Config, engine::Start, outbox::Rules},
        vehicle::vehicle_id,
    };

    const BEGAN: UnixMillis = 1_760_000_000_000;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn what_left_a_full_outbox_unsent_and_what_is_left_in_it_are_in_the_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let arguments = ["load", "--vehicles", "2", "--interval-ms", "10", "--outbox-records", "3"];
        let mut plan = Arguments::parse_from(arguments).config.plan(0, &[], BEGAN);
        plan.manners.window = 1;
        let rules = Rules::of(&plan);
        let vehicle = |place| Vehicle::new(vehicle_id(place + 1), place, place + 1, &rules, &plan.manners, 0);
        let mut vehicles: Vec<_> = [0, 1].map(vehicle).into();
        let ledger = BatchWriter::create(dir.path(), [1, 2].into_iter().map(vehicle_id), plan.boot, BEGAN).unwrap();
        let mut engine = Engine::new(plan, rules, Instant::now(), Some(ledger)).unwrap();
        engine.start = Some(Start { us: 0, wall_us: BEGAN.unsigned_abs() * 1_000 });
        engine.making = true;
        // The second one can send one of its readings.
        vehicles[1].outbox.connected(0);
        for (number, vehicle) in (0..).zip(&mut vehicles) {
            for n in 0..5 {
                engine.offer(vehicle, number, n * 10_000);
                if let Some(transmission) = vehicle.outbox.next(&mut engine.rules, 0) {
                    engine.transmit(vehicle, number, transmission);
                }
            }
        }
        // Each of its readings that is given up was sent, and makes room for the next one.
        let counts = &engine.rules.counts;
        let (made, given_up, sent) = (counts.offered, counts.given_up, counts.sent);
        assert_eq!((made, given_up, engine.in_hand()), (10, 4, 6));
        engine.close_ledger(&vehicles).unwrap();
        let ledger = ledger::read(dir.path()).unwrap();
        assert_eq!(ledger.len() as u64, sent);
        assert_eq!((ledger.len() + ledger.unsent.len()) as u64, made, "every reading that was made");
        let sent_and_given_up = ledger.iter().filter(|(_, _, sent)| sent.given_up).count();
        let unsent_and_given_up = ledger.unsent.iter().filter(|unsent| unsent.given_up).count();
        assert_eq!((sent_and_given_up + unsent_and_given_up) as u64, given_up);
        let of_first: Vec<_> = ledger.unsent.iter().filter(|unsent| unsent.vehicle == 0).collect();
        let mut dues: Vec<_> = of_first.iter().filter_map(|unsent| unsent.scheduled).collect();
        dues.sort_unstable();
        assert_eq!(dues, [0, 10, 20, 30, 40].map(|ms| BEGAN + ms));
    }
}
