//! What differs between the topic table and a cluster, and what is to be done about it. Pure.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use service::Error;
use telemetry::kafka_topic::{Cleanup, KafkaTopic, MAX_MESSAGE_BYTES, Partitions, TABLE};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What a cluster looks like.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) brokers: usize,
    pub(super) topics: BTreeMap<String, SeenTopic>,
}

/// A topic that is there.
#[derive(Debug, Clone, Default)]
pub(super) struct SeenTopic {
    pub(super) partitions: usize,
    pub(super) replicas: usize,
    /// Effective values.
    pub(super) configs: BTreeMap<String, String>,
    /// Those that were set for this topic. Altering replaces them all, so that the others must be kept.
    pub(super) own: BTreeMap<String, String>,
}

/// What is done with one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// It is as it should be.
    Keep,
    /// It is missing.
    Create {
        /// Partitions.
        partitions: usize,
        /// Replicas of each.
        replicas: usize,
        /// Configs.
        configs: BTreeMap<String, String>,
    },
    /// Configs differ.
    Alter {
        /// Per name: what is there (none if unset), what should be.
        configs: BTreeMap<String, (Option<String>, String)>,
    },
    /// It has too few partitions, and growing was allowed. Configs are altered too where they differ.
    Grow {
        /// Partitions now.
        from: usize,
        /// Partitions then.
        to: usize,
        /// As in `Alter`.
        configs: BTreeMap<String, (Option<String>, String)>,
    },
    /// The number of partitions differs and is not changed. Configs are altered all the same.
    Refuse {
        /// Partitions that it has.
        has: usize,
        /// Partitions of the table.
        wanted: usize,
        /// As in `Alter`.
        configs: BTreeMap<String, (Option<String>, String)>,
    },
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The topic.
    pub kafka_topic: String,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

/// A row for each topic of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// In the order of the table.
    pub steps: Vec<Step>,
}

impl Plan {
    pub(super) fn compare(table: &[KafkaTopic], fleet_partitions: u32, grow: bool, seen: &Seen) -> Self {
        let steps = table.iter().map(|topic| Step {
            kafka_topic: topic.name.to_owned(),
            action: action(topic, fleet_partitions, grow, seen),
        });
        Self { steps: steps.collect() }
    }

    /// Whether the cluster is as the table says.
    pub fn is_settled(&self) -> bool {
        self.steps.iter().all(|step| step.action == Action::Keep)
    }

    /// Fails if something can't be put right.
    pub(super) fn verdict(&self) -> Result<(), Error> {
        let (mut names, mut few, mut many) = (Vec::new(), "", "");
        for Step { kafka_topic, action } in &self.steps {
            let Action::Refuse { has, wanted, .. } = action else { continue };
            names.push(kafka_topic.as_str());
            if has < wanted {
                few = "; --grow adds what is missing";
            } else {
                many = if is_fleets(kafka_topic) {
                    "; none is ever taken away: --partitions says how many there are to be"
                } else {
                    "; none is ever taken away: a topic that is to have one has to be made anew"
                };
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        Err(Error::VerdictFailed(format!("topics with another number of partitions: {}{few}{many}", names.join(", "))))
    }
}

/// Whether a topic has as many partitions as `--partitions` says.
fn is_fleets(name: &str) -> bool {
    TABLE.iter().any(|topic| topic.name == name && topic.partitions == Partitions::Fleet)
}

fn action(topic: &KafkaTopic, fleet_partitions: u32, grow: bool, seen: &Seen) -> Action {
    let wanted = match topic.partitions {
        Partitions::Fleet => fleet_partitions as usize,
        Partitions::One => 1,
    };
    let Some(there) = seen.topics.get(topic.name) else {
        let replicas = if topic.durable { seen.brokers.clamp(1, 3) } else { 1 };
        return Action::Create { partitions: wanted, replicas, configs: configs(topic, replicas) };
    };
    let differing: BTreeMap<_, _> = configs(topic, there.replicas)
        .into_iter()
        .filter(|(name, value)| there.configs.get(name) != Some(value))
        .map(|(name, value)| (name.clone(), (there.configs.get(&name).cloned(), value)))
        .collect();
    if there.partitions < wanted && grow && topic.partitions == Partitions::Fleet {
        Action::Grow { from: there.partitions, to: wanted, configs: differing }
    } else if there.partitions != wanted {
        Action::Refuse { has: there.partitions, wanted, configs: differing }
    } else if differing.is_empty() {
        Action::Keep
    } else {
        Action::Alter { configs: differing }
    }
}

/// How a topic is created that is like one of the table which is there.
pub(super) fn beside(table: &[KafkaTopic], like: &str, seen: &Seen) -> Option<Action> {
    let (row, there) = (table.iter().find(|topic| topic.name == like)?, seen.topics.get(like)?);
    let configs = configs(row, there.replicas);
    Some(Action::Create { partitions: there.partitions, replicas: there.replicas.max(1), configs })
}

/// The configs of a topic.
fn configs(topic: &KafkaTopic, replicas: usize) -> BTreeMap<String, String> {
    let mut configs = BTreeMap::new();
    let mut set = |name: &str, value: String| configs.insert(name.to_owned(), value);
    match topic.cleanup {
        Cleanup::DeleteAfterDays(days) => {
            set("cleanup.policy", "delete".into());
            set("retention.ms", (u64::from(days) * DAY_MS).to_string());
        }
        Cleanup::Compact => {
            set("cleanup.policy", "compact".into());
        }
    }
    set("max.message.bytes", MAX_MESSAGE_BYTES.to_string());
    // Of three nodes one may be away; of two neither could be.
    set("min.insync.replicas", if topic.durable && replicas >= 3 { "2" } else { "1" }.into());
    set("unclean.leader.election.enable", "false".into());
    for (name, value) in topic.configs {
        set(name, (*value).to_owned());
    }
    configs
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps.iter().map(|step| step.kafka_topic.len()).max().unwrap_or_default();
        for Step { kafka_topic, action } in &self.steps {
            writeln!(f, "{kafka_topic:width$}  {action}")?;
        }
        let count = |of: fn(&Action) -> bool| self.steps.iter().filter(|step| of(&step.action)).count();
        let kept = count(|action| *action == Action::Keep);
        let refused = count(|action| matches!(action, Action::Refuse { .. }));
        writeln!(f, "{} to change, {kept} as they should be, {refused} refused", self.steps.len() - kept - refused)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let altered = |configs: &BTreeMap<String, (Option<String>, String)>, f: &mut fmt::Formatter<'_>| {
            configs
                .iter()
                .try_for_each(|(name, (from, to))| write!(f, " {name} {} -> {to}", from.as_deref().unwrap_or("unset")))
        };
        match self {
            Self::Keep => f.write_str("keep"),
            Self::Create { partitions, replicas, configs } => {
                write!(f, "create   {partitions} partitions, {replicas} replicas,")?;
                configs.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
            }
            Self::Alter { configs } => {
                f.write_str("alter   ")?;
                altered(configs, f)
            }
            Self::Grow { from, to, configs } => {
                write!(f, "grow     {from} -> {to} partitions")?;
                altered(configs, f)
            }
            Self::Refuse { has, wanted, configs } => {
                write!(f, "refuse   it has {has} partitions, wanted are {wanted}")?;
                altered(configs, f)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use telemetry::kafka_topic::{ALERTS, TABLE, TELEMETRY};

    use super::*;

    /// The cluster after a plan was applied.
    fn applied(plan: &Plan, brokers: usize) -> Seen {
        let topics = plan.steps.iter().map(|step| {
            let Action::Create { partitions, replicas, configs } = step.action.clone() else { panic!("{step:?}") };
            (step.kafka_topic.clone(), SeenTopic { partitions, replicas, configs: configs.clone(), own: configs })
        });
        Seen { brokers, topics: topics.collect() }
    }

    #[test]
    fn a_second_run_finds_nothing_to_do() {
        for brokers in [1, 2, 3, 5] {
            let empty = Seen { brokers, ..Seen::default() };
            let plan = Plan::compare(TABLE, 6, false, &empty);
            assert!(!plan.is_settled());
            let again = Plan::compare(TABLE, 6, false, &applied(&plan, brokers));
            assert!(again.is_settled(), "{again}");
            again.verdict().unwrap();
        }
    }

    #[test]
    fn durable_topics_have_three_replicas_where_there_are_three_nodes() {
        for (brokers, replicas, in_sync) in [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (7, 3, "2")] {
            let plan = Plan::compare(TABLE, 6, false, &Seen { brokers, ..Seen::default() });
            let Action::Create { replicas: found, configs, .. } = &plan.steps[0].action else { panic!() };
            assert_eq!((*found, configs["min.insync.replicas"].as_str()), (replicas, in_sync));
        }
    }

    #[test]
    fn partitions_never_shrink_and_grow_only_when_allowed() {
        let mut seen = applied(&Plan::compare(TABLE, 6, false, &Seen { brokers: 1, ..Seen::default() }), 1);
        let of = |plan: &Plan, name: &str| plan.steps.iter().find(|s| s.kafka_topic == name).unwrap().action.clone();
        let smaller = Plan::compare(TABLE, 3, true, &seen);
        assert!(matches!(of(&smaller, TELEMETRY), Action::Refuse { has: 6, wanted: 3, .. }));
        let refused = smaller.verdict().unwrap_err();
        assert!(refused.exit_code() == 1 && refused.to_string().contains("--partitions"), "{refused}");
        let larger = Plan::compare(TABLE, 9, false, &seen);
        assert!(matches!(of(&larger, TELEMETRY), Action::Refuse { .. }));
        assert!(larger.verdict().unwrap_err().to_string().ends_with("; --grow adds what is missing"));
        assert!(matches!(of(&Plan::compare(TABLE, 9, true, &seen), TELEMETRY), Action::Grow { from: 6, to: 9, .. }));
        seen.topics.get_mut(ALERTS).unwrap().partitions = 2;
        assert!(matches!(of(&Plan::compare(TABLE, 6, true, &seen), ALERTS), Action::Refuse { .. }));
        let refused = Plan::compare(TABLE, 6, true, &seen).verdict().unwrap_err().to_string();
        assert!(refused.contains("made anew") && !refused.contains("--partitions"), "{refused}");
    }

    #[test]
    fn a_differing_config_is_altered() {
        let mut seen = applied(&Plan::compare(TABLE, 6, false, &Seen { brokers: 1, ..Seen::default() }), 1);
        let there = seen.topics.get_mut(TELEMETRY).unwrap();
        there.configs.insert("retention.ms".into(), "1000".into());
        let plan = Plan::compare(TABLE, 6, false, &seen);
        let Action::Alter { configs } = &plan.steps[0].action else { panic!("{plan}") };
        assert_eq!(configs.len(), 1);
        assert_eq!(configs["retention.ms"].0.as_deref(), Some("1000"));
        assert!(plan.to_string().contains("retention.ms 1000 -> 604800000"), "{plan}");
    }
}
