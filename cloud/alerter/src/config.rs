//! Flags of the alerter.

use cloud_log::KafkaConfig;
use service::Error;
use store::MongoConfig;

use crate::lifecycle::Rules;

/// Flags of `motorcade run alerter`.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// MongoDB.
    #[command(flatten)]
    pub mongo: MongoConfig,
    /// Consumer group; the projection into MongoDB uses this name with `-projection`.
    #[arg(long, env = "MOTORCADE_ALERTER_GROUP", value_name = "NAME", default_value = "motorcade-alerter")]
    pub group: String,
    /// So many of the last `--fire-window` scores have to be anomalous to raise an alert.
    #[arg(long, env = "MOTORCADE_ALERTER_FIRE_COUNT", value_name = "SCORES", default_value_t = 4)]
    pub fire_count: u32,
    /// Length of the window, in scores of one vehicle; at most 64.
    #[arg(long, env = "MOTORCADE_ALERTER_FIRE_WINDOW", value_name = "SCORES", default_value_t = 6)]
    pub fire_window: u32,
    /// So many normal scores in a row resolve an alert.
    #[arg(long, env = "MOTORCADE_ALERTER_RESOLVE_AFTER", value_name = "SCORES", default_value_t = 12)]
    pub resolve_after: u32,
    /// Scores from here on are critical; 1 is the detector's threshold.
    #[arg(long, env = "MOTORCADE_ALERTER_CRITICAL_SCORE", value_name = "SCORE", default_value_t = 2.0)]
    pub critical_score: f64,
}

impl Config {
    /// Checks the flags; opens no socket.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the flag.
    pub fn validate(&self) -> Result<(), Error> {
        self.kafka.validate()?;
        self.mongo.validate()?;
        let usage = |flag, detail: &str| Err(Error::Usage { flag, detail: detail.to_owned() });
        if self.group.is_empty() {
            return usage("group", "a consumer group has a name");
        }
        if !(1..=64).contains(&self.fire_window) {
            return usage("fire-window", "1 to 64 scores");
        }
        if !(1..=self.fire_window).contains(&self.fire_count) {
            return usage("fire-count", "1 to --fire-window scores");
        }
        if self.resolve_after == 0 {
            return usage("resolve-after", "at least 1 score");
        }
        if !(self.critical_score.is_finite() && self.critical_score >= 1.0) {
            return usage("critical-score", "at least 1, the detector's threshold");
        }
        Ok(())
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            fire_count: self.fire_count,
            fire_window: self.fire_window,
            resolve_after: self.resolve_after,
            critical_score: self.critical_score,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn the_defaults_hold_and_what_can_not_fire_is_refused() {
        let parse = |flags: &[&str]| {
            Flags::try_parse_from([&["alerter"], flags].concat()).unwrap().config.validate().map_err(|e| e.exit_code())
        };
        assert_eq!(parse(&[]), Ok(()));
        for bad in [
            ["--fire-count", "7"],
            ["--fire-count", "0"],
            ["--fire-window", "65"],
            ["--resolve-after", "0"],
            ["--critical-score", "0.5"],
            ["--critical-score", "nan"],
            ["--group", ""],
            ["--kafka", "nowhere"],
        ] {
            assert_eq!(parse(&bad), Err(64), "{bad:?}");
        }
    }
}
