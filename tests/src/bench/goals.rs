//! What the benches aim at, beside what was reached. A goal that is missed fails nobody's build: machines differ. It is
//! said plainly instead.

use serde::{Deserialize, Serialize};

use super::{
    contender::MOTORCADE,
    result::{Figures, Row},
};

/// A goal and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// What is aimed at, for people.
    pub what: String,
    /// The bound, in the unit of `what`.
    pub bound: f64,
    /// Whether less is better.
    pub at_most: bool,
    /// What was measured; none if it was not.
    pub measured: Option<f64>,
}

impl Goal {
    /// Whether it was reached; none if nothing was measured.
    pub fn reached(&self) -> Option<bool> {
        self.measured.map(|measured| if self.at_most { measured <= self.bound } else { measured >= self.bound })
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, bound, at_most, measured } = self;
        let word = match self.reached() {
            Some(true) => "reached",
            Some(false) => "NOT REACHED",
            None => "not measured",
        };
        let measured = measured.map_or_else(|| "–".to_owned(), |measured| format!("{measured:.1}"));
        write!(f, "{word}: {what}: {measured} (goal: {} {bound})", if *at_most { "≤" } else { "≥" })
    }
}

/// A goal of the edge: its words, row, judge, figure, and bound.
struct Aim(&'static str, &'static str, &'static str, &'static str, bool, f64);

/// All with records of 200 bytes.
const AIMS: [Aim; 7] = [
    Aim("CPU of the edge per 200-byte message, draining a backlog, µs", "drain", "puback", "bridge_cpu_us", true, 6.0),
    Aim("CPU of the edge per message at 5,000/s, µs", "paced-5000", "puback", "bridge_cpu_us", true, 15.0),
    Aim(
        "messages per second through one edge process on one core, where the source allows",
        "ceiling",
        "source",
        "throughput_per_s",
        false,
        150_000.0,
    ),
    Aim(
        "messages per second, draining a backlog through mosquitto into Kafka, all three on the same cores",
        "drain",
        "puback",
        "throughput_per_s",
        false,
        100_000.0,
    ),
    Aim(
        "p99 from scheduled publish to Kafka's append at 10,000/s, ms",
        "paced-10000",
        "puback",
        "latency_p99_ms",
        true,
        // Below 10: Kafka tells whole milliseconds.
        9.9,
    ),
    Aim("memory of the edge while Kafka is away at 5,000/s, MB", "outage", "ack", "bridge_peak_mb", true, 60.0),
    Aim("growth of that memory, MB per minute", "outage", "ack", "bridge_growth_mb_per_min", true, 1.0),
];

/// The bridge that was the fastest without loss where the goals were set, if it is measured as a peer of this name. A
/// machine's speed is in both.
const BESIDE: &str = "telegraf";

/// Goals beside it, by words, row, figure and bound: where they were set it took 41 µs at 5,000/s, and 20 µs at 62,000
/// messages/s draining a backlog.
const SHARES: [(&str, &str, &str, bool, f64); 3] = [
    ("CPU of the edge per message at 5,000/s, as a share of telegraf's", "paced-5000", "bridge_cpu_us", true, 0.37),
    ("CPU of the edge per message, draining a backlog, as a share of telegraf's", "drain", "bridge_cpu_us", true, 0.3),
    ("messages per second, draining a backlog, as a multiple of telegraf's", "drain", "throughput_per_s", false, 1.6),
];

/// The goals of the edge, as these rows have them.
pub fn of_edge(rows: &[Row]) -> Vec<Goal> {
    let median = |contender: &str, row: &str, judge: &str, figure: &str| {
        let case = rows.iter().find(|measured| {
            let case = &measured.case;
            (case.contender.as_str(), case.row.as_str(), case.judge.as_str()) == (contender, row, judge)
                && case.form == "change-200"
        });
        case.and_then(|row| row.median(figure))
    };
    let beside = |(what, row, figure, at_most, bound): &(&str, &str, &str, bool, f64)| {
        let theirs = median(BESIDE, row, "puback", figure).filter(|theirs| *theirs > 0.0)?;
        let measured = median(MOTORCADE, row, "puback", figure).map(|ours| ours / theirs);
        Some(Goal { what: (*what).to_owned(), bound: *bound, at_most: *at_most, measured })
    };
    let goal = |Aim(what, row, judge, figure, at_most, bound): &Aim| {
        let measured = median(MOTORCADE, row, judge, figure);
        Goal { what: (*what).to_owned(), bound: *bound, at_most: *at_most, measured }
    };
    AIMS.iter().map(goal).chain(SHARES.iter().filter_map(beside)).collect()
}

/// Goals of the scorer: words, row, form, figure and bound.
const SCORING: [(&str, &str, &str, &str, bool, f64); 9] = [
    ("CPU of the scorer per Protobuf reading, µs", "drain", "protobuf", "cpu_us", true, 7.0),
    ("CPU of the scorer per JSON reading, µs", "drain", "json", "cpu_us", true, 9.0),
    ("readings scored per second, Kafka on the same cores", "drain", "protobuf", "throughput_per_s", false, 90_000.0),
    ("p99 of what scoring adds at 200/s, ms", "paced-200", "protobuf", "added_p99_ms", true, 20.0),
    // Below 15 and 50: Kafka tells whole milliseconds.
    ("p99 of what scoring adds at 5,000/s, ms", "paced-5000", "protobuf", "added_p99_ms", true, 14.9),
    ("p99 of what scoring adds at 10,000/s, ms", "paced-10000", "protobuf", "added_p99_ms", true, 49.9),
    // Ten million in a minute.
    ("readings replayed per second to learn from", "training", "protobuf", "throughput_per_s", false, 166_667.0),
    ("fit of a model, s", "training", "protobuf", "fit_s", true, 120.0),
    ("peak memory of training, MB", "training", "protobuf", "peak_mb", true, 2_147.0),
];

/// Goals beside other scorers, if they are measured as peers of these names: how often as many readings ours scores with
/// the same CPU time, though it does more.
const BESIDE_SCORER: [(&str, f64); 3] = [("python", 2.0), ("quix", 5.0), ("streams", 2.0)];

/// The goals of the scorer, as these rows have them.
pub fn of_model(rows: &[Row]) -> Vec<Goal> {
    let per_core = |(name, bound): &(&str, f64)| {
        let of = |contender: &str| {
            let case = |row: &&Row| {
                let case = &row.case;
                (case.contender.as_str(), case.row.as_str(), case.form.as_str()) == (contender, "drain", "json")
            };
            rows.iter().find(case)?.median("cpu_us")
        };
        let theirs = of(name)?;
        let measured = of(MOTORCADE).filter(|ours| *ours > 0.0).map(|ours| theirs / ours);
        let what = format!("JSON readings scored per second and core, as a multiple of what {name} scores");
        Some(Goal { what, bound: *bound, at_most: false, measured })
    };
    let goal = |(what, row, form, figure, at_most, bound): &(&str, &str, &str, &str, bool, f64)| {
        let ours = |measured: &&Row| {
            let case = &measured.case;
            (case.contender.as_str(), case.row.as_str(), case.form.as_str()) == (MOTORCADE, *row, *form)
        };
        let measured = rows.iter().find(ours).and_then(|row| row.median(figure));
        Goal { what: (*what).to_owned(), bound: *bound, at_most: *at_most, measured }
    };
    SCORING.iter().map(goal).chain(BESIDE_SCORER.iter().filter_map(per_core)).collect()
}

/// The goals of the fleet, as these figures have them: so many vehicles, at this rate.
pub fn of_fleet(figures: &Figures, vehicles: f64, rate: f64) -> Vec<Goal> {
    let goal = |what: &str, figure: &str, at_most, bound| Goal {
        what: what.to_owned(),
        bound,
        at_most,
        measured: figures.get(figure).copied(),
    };
    vec![
        goal("vehicles connected, as the kernel counts sockets", "established_sockets", false, vehicles),
        goal("connections per second while they connect", "ramp_connections_per_s", false, 3_000.0),
        // Readings are due at fixed times: what is missing to the rate is rounding at the ends.
        goal("readings per second that Kafka took while the rate was held", "held_per_s", false, 0.99 * rate),
        goal(
            "most memory of the load per vehicle, beside outboxes, bytes",
            "load_memory_per_vehicle_bytes",
            true,
            2_048.0,
        ),
        goal("acknowledged readings lost", "lost_readings", true, 0.0),
        goal("readings that vehicles gave up", "given_up_readings", true, 0.0),
        goal("readings left in the vehicles' outboxes", "in_outbox_readings", true, 0.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::result::{Case, Rounds};

    #[test]
    fn a_goal_is_reached_missed_or_not_measured() {
        let mut rounds = Rounds::default();
        for (row, judge, figure, value) in [
            ("drain", "puback", "bridge_cpu_us", 6.0),
            ("paced-5000", "puback", "bridge_cpu_us", 15.1),
            ("ceiling", "source", "throughput_per_s", 149_999.0),
        ] {
            let case =
                Case { row: row.into(), form: "change-200".into(), judge: judge.into(), contender: MOTORCADE.into() };
            rounds.add(&case, [(figure.to_owned(), value)].into());
            // Others don't reach our goals for us.
            for (contender, form) in [("other", "change-200"), (MOTORCADE, "kib")] {
                let other = Case { contender: contender.into(), form: form.into(), ..case.clone() };
                rounds.add(&other, [("latency_p99_ms".to_owned(), 1.0)].into());
            }
        }
        let reached: Vec<_> = of_edge(&rounds.rows()).iter().map(Goal::reached).collect();
        assert_eq!(reached, [Some(true), Some(false), Some(false), None, None, None, None]);
    }

    #[test]
    fn a_slow_machine_does_not_change_what_is_reached_beside_another_bridge() {
        let mut rounds = Rounds::default();
        for (row, contender, us, rate) in [
            ("paced-5000", MOTORCADE, 30.0, 5_000.0),
            ("paced-5000", BESIDE, 82.0, 5_000.0),
            ("drain", MOTORCADE, 13.0, 50_000.0),
            ("drain", BESIDE, 40.0, 32_000.0),
        ] {
            let case = Case {
                row: row.into(),
                form: "change-200".into(),
                judge: "puback".into(),
                contender: contender.into(),
            };
            let figures = [("bridge_cpu_us", us), ("throughput_per_s", rate)];
            rounds.add(&case, figures.map(|(name, value)| (name.to_owned(), value)).into());
        }
        let goals = of_edge(&rounds.rows());
        let reached: Vec<_> = goals[AIMS.len()..].iter().map(Goal::reached).collect();
        assert_eq!(reached, [Some(true), Some(false), Some(false)]);
    }

    #[test]
    fn other_scorers_are_goals_where_they_were_measured() {
        let of = |cases: &[(&str, &str, f64)]| {
            let mut rounds = Rounds::default();
            for (contender, form, us) in cases {
                let [row, judge] = ["drain", "scores"].map(str::to_owned);
                let case = Case { row, form: (*form).to_owned(), judge, contender: (*contender).to_owned() };
                rounds.add(&case, [("cpu_us".to_owned(), *us)].into());
            }
            let goals = of_model(&rounds.rows()).split_off(SCORING.len());
            let told = goals.iter().map(|goal| (goal.what.contains("python"), goal.measured, goal.reached()));
            told.collect::<Vec<_>>()
        };
        // What ours takes for another encoding does not count.
        let ours = [(MOTORCADE, "protobuf", 1.0), (MOTORCADE, "json", 10.0)];
        assert_eq!(of(&ours), []);
        let beside = [&ours[..], &[("python", "json", 15.0), ("quix", "json", 50.0), ("other", "json", 1.0)]].concat();
        assert_eq!(of(&beside), [(true, Some(1.5), Some(false)), (false, Some(5.0), Some(true))]);
        // Ours failed: that is no goal reached.
        assert_eq!(of(&beside[2..3]), [(true, None, None)]);
    }

    #[test]
    fn every_goal_of_the_fleet_can_be_missed() {
        let figures = |sockets, ramp, held, left| -> Figures {
            let names = ["established_sockets", "ramp_connections_per_s", "held_per_s"];
            let memory = ("load_memory_per_vehicle_bytes".to_owned(), 2_048.0 + left);
            let left = ["lost_readings", "given_up_readings", "in_outbox_readings"].map(|name| (name, left));
            let all = names.into_iter().zip([sockets, ramp, held]).chain(left);
            all.map(|(name, value)| (name.to_owned(), value)).chain([memory]).collect()
        };
        let reached = |figures: &Figures| -> Vec<_> {
            of_fleet(figures, 100.0, 1_000.0).iter().filter_map(Goal::reached).collect()
        };
        assert_eq!(reached(&figures(100.0, 3_000.0, 990.0, 0.0)), [true; 7]);
        assert_eq!(reached(&figures(99.0, 2_999.0, 989.0, 1.0)), [false; 7]);
    }
}
