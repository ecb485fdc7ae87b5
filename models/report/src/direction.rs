//! Which way a figure is better. Names follow one rule, `<name>_<unit>`, so most of it can be read from the name.

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The more the better: rates.
    More,
    /// The less the better: times, losses, memory.
    Less,
    /// It tells what was done, not how well.
    Neither,
}

/// Units of which less is better, whatever is measured.
const COSTS: [&str; 6] = ["_ms", "_us", "_ns", "_kib", "_mib", "_percent_of_core"];
/// Words for what should not happen.
const ILLS: [&str; 29] = [
    "altered",
    "attempts",
    "contradictions",
    "discarded",
    "duplicate",
    "early",
    "error",
    "fail",
    "false",
    "given_up",
    "in_outbox",
    "invented",
    "late",
    "lost",
    "memory",
    "missed",
    "oversize",
    "reconnects",
    "refused",
    "reordered",
    "resent",
    "scattered",
    "silent",
    "stray",
    "torn",
    "unacknowledged",
    "unheard",
    "unreadable",
    "violations",
];

impl Better {
    /// By the name of a figure.
    pub fn of(figure: &str) -> Self {
        let is_ill = ILLS.iter().any(|ill| has_word(figure, ill));
        if is_ill || COSTS.iter().any(|unit| figure.ends_with(unit)) || figure == "ramp_s" {
            Self::Less
        } else if figure.ends_with("_per_s") {
            Self::More
        } else {
            Self::Neither
        }
    }
}

/// Whether words stand in a name from a boundary on: `late` is in `late_readings`, not in `translated`.
fn has_word(name: &str, words: &str) -> bool {
    name.match_indices(words).any(|(at, _)| at == 0 || name.as_bytes()[at - 1] == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_which_way_is_better() {
        for (figure, better) in [
            ("schedule_to_ack_p99_ms", Better::Less),
            ("settled_readings_per_s", Better::More),
            ("ramp_connections_per_s", Better::More),
            ("ramp_s", Better::Less),
            ("connections_lost", Better::Less),
            ("given_up_readings", Better::Less),
            ("connect_failures", Better::Less),
            ("memory_per_vehicle_bytes", Better::Less),
            ("payload_encode_ns", Better::Less),
            ("puback_0x10_messages", Better::Neither),
            ("translated_texts", Better::Neither),
            ("made_readings", Better::Neither),
            ("vehicles_count", Better::Neither),
        ] {
            assert_eq!(Better::of(figure), better, "{figure}");
        }
    }
}
