//! Scores that stand beside the live ones under a name of their own: `scores.NAME`.

use std::str::FromStr;

use telemetry::kafka_topic::SCORES;

const LONGEST: usize = 32;

/// The name of a set of scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named(String);

impl Named {
    /// The topic that they stand in.
    pub fn kafka_topic(&self) -> String {
        format!("{SCORES}.{}", self.0)
    }

    /// The name alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let plain = text.bytes().all(|byte| is_plain(byte) || byte == b'-' || byte == b'_');
        if plain && text.len() <= LONGEST && text.bytes().next().is_some_and(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("a name is 1 to {LONGEST} of a-z 0-9 - _ and begins with a letter or digit"))
        }
    }
}

/// Who refuses readings for the scores of a topic, in the header of a dead letter: a reading may break one model and not
/// another.
pub(crate) fn refused_by(kafka_topic: &str) -> String {
    if kafka_topic == SCORES { "scorer".to_owned() } else { format!("scorer/{kafka_topic}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_makes_a_topic_and_nothing_else_does() {
        assert_eq!("v2".parse::<Named>().unwrap().kafka_topic(), "scores.v2");
        for bad in ["", "V2", "../x", "a.b", "-a", &"a".repeat(LONGEST + 1)] {
            assert!(bad.parse::<Named>().is_err(), "{bad}");
        }
    }
}
