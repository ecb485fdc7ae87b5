//! G4: received = sent + discarded + in hand, in every process that ended by itself.

use std::collections::BTreeMap;

use crate::{process::Ended, report::Verdict};

/// Every process ended with code 0 and a tally that balances.
pub fn judge_tallies<'a>(ended: impl IntoIterator<Item = (&'a String, &'a Ended)>) -> Verdict {
    let mut examples = Vec::new();
    let mut checked = 0;
    let mut counts = BTreeMap::new();
    for (name, ended) in ended {
        checked += 1;
        match &ended.tally {
            Some(tally) if tally.balances() && ended.code == Some(0) => {
                counts.insert(format!("{name}_received"), tally.received);
            }
            tally => examples.push(format!("{name}: exit code {:?}, tally {tally:?}", ended.code)),
        }
    }
    Verdict { ok: examples.is_empty() && !counts.is_empty(), checked, counts, examples }
}

#[cfg(test)]
mod tests {
    use service::Tally;

    use super::*;

    #[test]
    fn a_tally_that_lost_one_is_noticed() {
        let ended = |sent| {
            let tally = Tally { received: 5, sent, ..Tally::default() };
            BTreeMap::from([("edge".to_owned(), Ended { code: Some(0), tally: Some(tally) })])
        };
        assert!(judge_tallies(&ended(5)).ok);
        assert!(!judge_tallies(&ended(4)).ok);
        assert!(!judge_tallies(&BTreeMap::new()).ok);
        let silent = BTreeMap::from([("edge".to_owned(), Ended { code: Some(0), tally: None })]);
        assert!(!judge_tallies(&silent).ok);
    }
}
