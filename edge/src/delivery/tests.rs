//! A tracker against a naive model: any order of arrivals, reports, connections.

use std::collections::{HashMap, HashSet};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Connected,
    Lost,
    Arrived { qos0: bool },
    Report(Index),
    Release(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Connected),
        1 => Just(Step::Lost),
        20 => any::<bool>().prop_map(|rarely| Step::Arrived { qos0: rarely }),
        20 => any::<Index>().prop_map(Step::Report),
        8 => any::<u8>().prop_map(Step::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pubacks_leave_in_order_after_delivery_once_and_only_on_their_connection(steps in vec(step(), 0..300)) {
        let mut tracker = Tracker::default();
        // In order of arrival: the epoch that it came in, its packet id.
        let mut came: Vec<(Option<u64>, Option<u16>)> = Vec::new();
        let mut arrivals = HashMap::new();
        let mut unreported: Vec<Ticket> = Vec::new();
        let mut reported = HashSet::new();
        let mut epoch = None;
        let mut epochs = 0_u64;
        let mut left: Vec<(u64, usize)> = Vec::new();
        let mut packet_id = 0_u16;
        for step in steps {
            match step {
                Step::Connected => {
                    tracker.connected();
                    epochs += 1;
                    epoch = Some(epochs);
                    // A new session counts packet ids from 1 again.
                    packet_id = 0;
                }
                Step::Lost => {
                    tracker.lost();
                    epoch = None;
                }
                Step::Arrived { qos0 } => {
                    packet_id += 1;
                    let id = (!qos0).then_some(packet_id);
                    let ticket = tracker.arrived(id, ());
                    prop_assert!(arrivals.insert(ticket, came.len()).is_none(), "a ticket was used twice");
                    came.push((epoch, id));
                    unreported.push(ticket);
                }
                Step::Report(which) if !unreported.is_empty() => {
                    let ticket = unreported.swap_remove(which.index(unreported.len()));
                    tracker.settle(ticket);
                    prop_assert!(tracker.delivered(ticket).is_some());
                    prop_assert!(tracker.delivered(ticket).is_none());
                    reported.insert(arrivals[&ticket]);
                }
                Step::Report(_) => {}
                Step::Release(at_most) => {
                    for _ in 0..at_most {
                        let Some(id) = tracker.next_puback() else { break };
                        prop_assert_eq!(tracker.next_puback(), Some(id), "looking does not take");
                        tracker.puback_left();
                        let now = epoch.expect("nothing leaves without a connection");
                        let arrival = came.iter().position(|of| *of == (Some(now), Some(id))).unwrap();
                        prop_assert!(reported.contains(&arrival), "acknowledged before Kafka had it");
                        left.push((now, arrival));
                    }
                }
            }
            prop_assert_eq!(tracker.in_hand(), unreported.len());
            let of_now = came.iter().filter(|(of, id)| epoch.is_some() && *of == epoch && id.is_some()).count();
            let left_now = left.iter().filter(|(of, _)| Some(*of) == epoch).count();
            prop_assert_eq!(tracker.unacknowledged() + left_now, of_now);
        }
        prop_assert!(left.is_sorted(), "out of order");
        prop_assert!(left.windows(2).all(|pair| pair[0] != pair[1]), "twice");
        // In each epoch exactly a prefix of the QoS 1 arrivals was acknowledged.
        for of in 1..=epochs {
            let of_epoch = |at: &usize| came[*at].0 == Some(of) && came[*at].1.is_some();
            let arrived = (0..came.len()).filter(of_epoch);
            let released: Vec<_> = left.iter().filter(|(epoch, _)| *epoch == of).map(|(_, at)| *at).collect();
            prop_assert_eq!(arrived.take(released.len()).collect::<Vec<_>>(), released);
        }
    }
}

#[test]
fn what_is_settled_behind_an_unsettled_one_waits() {
    let mut tracker = Tracker::default();
    tracker.connected();
    let [a, b, c] = [11, 12, 13].map(|id| tracker.arrived(Some(id), ()));
    tracker.settle(c);
    tracker.settle(b);
    assert_eq!(tracker.next_puback(), None);
    tracker.settle(a);
    for id in [11, 12, 13] {
        assert_eq!(tracker.next_puback(), Some(id));
        tracker.puback_left();
    }
    assert_eq!(tracker.next_puback(), None);
    assert_eq!((tracker.unacknowledged(), tracker.in_hand()), (0, 3));
}

#[test]
fn a_redelivered_publish_is_acknowledged_on_its_new_connection_only() {
    let mut tracker = Tracker::default();
    tracker.connected();
    let old = tracker.arrived(Some(1), "old");
    tracker.lost();
    // Left in the buffers of the connection that failed.
    let straggler = tracker.arrived(Some(2), "straggler");
    tracker.connected();
    let again = tracker.arrived(Some(1), "again");
    for ticket in [old, straggler] {
        assert!(tracker.is_late(ticket));
        tracker.settle(ticket);
        assert!(tracker.delivered(ticket).is_some());
        assert_eq!(tracker.next_puback(), None);
    }
    assert!(!tracker.is_late(again));
    tracker.settle(again);
    assert_eq!(tracker.next_puback(), Some(1));
}
