//! What goes wrong with the vehicles of a load on purpose, besides their profile: they lose their connections, their
//! clocks are off, they repeat themselves and mix up the order. Pure: everything follows from the seed, the vehicle, and
//! the time or the seq, so that nothing is remembered and a resend has the same bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::Error;

use super::payload::mix;

/// Flags of what goes wrong.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Disturbances (with any profile, and with each other)")]
pub struct Disturbances {
    /// Reconnect storm: this share of the fleet (0 to 1) loses its connections at once, and comes back after a pause
    /// drawn from 0 to --reconnect-ms, as fast as --connect-rate lets it [default: 0].
    #[arg(long, env = "MOTORCADE_LOAD_STORM_SHARE", value_name = "SHARE")]
    pub storm_share: Option<f64>,
    /// From one storm to the next, ms [default: 30000].
    #[arg(long, env = "MOTORCADE_LOAD_STORM_EVERY_MS", value_name = "MS")]
    pub storm_every_ms: Option<u64>,
    /// Regional blackout: this share of the fleet (0 to 1), its first vehicles, is gone at once, without a
    /// DISCONNECT. Their sockets are closed with a reset, here and in tunnels: the broker hears of it at once, while a real
    /// region sends nothing, and a broker notices by its keep-alive alone [default: 0].
    #[arg(long, env = "MOTORCADE_LOAD_BLACKOUT_SHARE", value_name = "SHARE")]
    pub blackout_share: Option<f64>,
    /// When, ms after the start [default: 10000].
    #[arg(long, env = "MOTORCADE_LOAD_BLACKOUT_AT_MS", value_name = "MS")]
    pub blackout_at_ms: Option<u64>,
    /// For how long, ms [default: 10000].
    #[arg(long, env = "MOTORCADE_LOAD_BLACKOUT_MS", value_name = "MS")]
    pub blackout_ms: Option<u64>,
    /// Tunnels: each vehicle is offline now and then, for half to one and a half times this long, ms; then it catches
    /// up from its outbox. 0: none [default: 0].
    #[arg(long, env = "MOTORCADE_LOAD_TUNNEL_MS", value_name = "MS")]
    pub tunnel_ms: Option<u64>,
    /// Once in each such time, ms [default: 60000].
    #[arg(long, env = "MOTORCADE_LOAD_TUNNEL_EVERY_MS", value_name = "MS")]
    pub tunnel_every_ms: Option<u64>,
    /// Clocks: this share of the vehicles (0 to 1) has one that is off. Only event times are [default: 0].
    #[arg(long, env = "MOTORCADE_LOAD_CLOCK_SHARE", value_name = "SHARE")]
    pub clock_share: Option<f64>,
    /// Half of them run fast by so many millionths, half of them slow [default: 0].
    #[arg(long, env = "MOTORCADE_LOAD_CLOCK_DRIFT_PPM", value_name = "PPM")]
    pub clock_drift_ppm: Option<u32>,
    /// All of them are off by so many ms from the start; negative: behind [default: 0].
    #[arg(long, env = "MOTORCADE_LOAD_CLOCK_OFFSET_MS", value_name = "MS", allow_negative_numbers = true)]
    pub clock_offset_ms: Option<i64>,
    /// Duplicates: this share of the readings (0 to 1) is published twice in a row.
    #[arg(long, env = "MOTORCADE_LOAD_DUPLICATE_SHARE", value_name = "SHARE", default_value_t = 0.0)]
    pub duplicate_share: f64,
    /// Reordering: this share of the readings (0 to 1) is published after the one that follows.
    #[arg(long, env = "MOTORCADE_LOAD_REORDER_SHARE", value_name = "SHARE", default_value_t = 0.0)]
    pub reorder_share: f64,
}

/// The values that count.
struct Values {
    storm_share: f64,
    storm_every_ms: u64,
    blackout_share: f64,
    blackout_at_ms: u64,
    blackout_ms: u64,
    tunnel_ms: u64,
    tunnel_every_ms: u64,
    clock_share: f64,
    clock_drift_ppm: u32,
    clock_offset_ms: i64,
}

/// Clocks that are off by more are broken, not off, ms: a year.
const MOST_OFFSET_MS: u64 = 366 * 24 * 3_600_000;
/// A tenth: more than any clock that runs.
const MOST_PPM: u32 = 100_000;

impl Disturbances {
    fn values(&self) -> Values {
        Values {
            storm_share: self.storm_share.unwrap_or(0.0),
            storm_every_ms: self.storm_every_ms.unwrap_or(30_000),
            blackout_share: self.blackout_share.unwrap_or(0.0),
            blackout_at_ms: self.blackout_at_ms.unwrap_or(10_000),
            blackout_ms: self.blackout_ms.unwrap_or(10_000),
            tunnel_ms: self.tunnel_ms.unwrap_or(0),
            tunnel_every_ms: self.tunnel_every_ms.unwrap_or(60_000),
            clock_share: self.clock_share.unwrap_or(0.0),
            clock_drift_ppm: self.clock_drift_ppm.unwrap_or(0),
            clock_offset_ms: self.clock_offset_ms.unwrap_or(0),
        }
    }

    /// A flag that is given, though what it belongs to is not, and that. Who sets a share to 0 turns off what a scenario
    /// has, and need not name the rest.
    fn unused(&self) -> Option<(&'static str, &'static str)> {
        let (storm, dark) = (self.storm_share.is_some(), self.blackout_share.is_some());
        let (tunnels, clock) = (self.tunnel_ms.is_some(), self.clock_share.is_some());
        [
            (self.storm_every_ms.is_some(), storm, "storm-every-ms", "--storm-share"),
            (self.blackout_at_ms.is_some(), dark, "blackout-at-ms", "--blackout-share"),
            (self.blackout_ms.is_some(), dark, "blackout-ms", "--blackout-share"),
            (self.tunnel_every_ms.is_some(), tunnels, "tunnel-every-ms", "--tunnel-ms"),
            (self.clock_drift_ppm.is_some(), clock, "clock-drift-ppm", "--clock-share"),
            (self.clock_offset_ms.is_some(), clock, "clock-offset-ms", "--clock-share"),
        ]
        .into_iter()
        .find(|(given, needed, ..)| *given && !*needed)
        .map(|(_, _, flag, needs)| (flag, needs))
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub fn validate(&self) -> Result<(), Error> {
        let usage = |flag, detail: String| Err(Error::Usage { flag, detail });
        if let Some((flag, needs)) = self.unused() {
            return usage(flag, format!("says nothing without {needs}"));
        }
        let of = self.values();
        for (flag, share) in [
            ("storm-share", of.storm_share),
            ("blackout-share", of.blackout_share),
            ("clock-share", of.clock_share),
            ("duplicate-share", self.duplicate_share),
            ("reorder-share", self.reorder_share),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return usage(flag, format!("{share} is not 0 to 1"));
            }
        }
        if of.storm_every_ms == 0 {
            return usage("storm-every-ms", "must be above 0".into());
        }
        if of.tunnel_ms > 0 && of.tunnel_every_ms / 2 < of.tunnel_ms {
            let every = of.tunnel_every_ms;
            return usage("tunnel-ms", format!("{} is above half of --tunnel-every-ms {every}", of.tunnel_ms));
        }
        if of.clock_offset_ms.unsigned_abs() > MOST_OFFSET_MS {
            return usage("clock-offset-ms", "is above a year".into());
        }
        if of.clock_drift_ppm > MOST_PPM {
            return usage("clock-drift-ppm", format!("{} is above {MOST_PPM}", of.clock_drift_ppm));
        }
        Ok(())
    }

    /// What a report says of it: only what is on.
    pub(super) fn parameters(&self) -> BTreeMap<String, Value> {
        let of = self.values();
        let storm = of.storm_share > 0.0;
        let (dark, tunnels) = (of.blackout_share > 0.0, of.tunnel_ms > 0);
        let clock = of.clock_share > 0.0;
        [
            (storm, "storm_share", Value::from(of.storm_share)),
            (storm, "storm_every_ms", of.storm_every_ms.into()),
            (dark, "blackout_share", of.blackout_share.into()),
            (dark, "blackout_at_ms", of.blackout_at_ms.into()),
            (dark, "blackout_ms", of.blackout_ms.into()),
            (tunnels, "tunnel_ms", of.tunnel_ms.into()),
            (tunnels, "tunnel_every_ms", of.tunnel_every_ms.into()),
            (clock, "clock_share", of.clock_share.into()),
            (clock, "clock_drift_ppm", of.clock_drift_ppm.into()),
            (clock, "clock_offset_ms", of.clock_offset_ms.into()),
            (self.duplicate_share > 0.0, "duplicate_share", self.duplicate_share.into()),
            (self.reorder_share > 0.0, "reorder_share", self.reorder_share.into()),
        ]
        .into_iter()
        .filter(|(is_on, ..)| *is_on)
        .map(|(_, name, value)| (name.to_owned(), value))
        .collect()
    }

    /// What goes wrong in a fleet. All times of a week in µs fit.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shares are 0 to 1, and the product is at most the number of vehicles"
    )]
    pub(super) fn troubles(&self, seed: u64, fleet: u32) -> Troubles {
        let of = self.values();
        let us = |ms: u64| ms.saturating_mul(1_000).min(NEVER / 4);
        let dark = (of.blackout_share * f64::from(fleet)).round() as u32;
        Troubles {
            seed,
            storm: Share::new(of.storm_share),
            storm_every_us: us(of.storm_every_ms),
            dark,
            dark_us: (us(of.blackout_at_ms), us(of.blackout_at_ms) + us(of.blackout_ms)),
            tunnel_us: us(of.tunnel_ms),
            tunnel_every_us: us(of.tunnel_every_ms),
            clock: Share::new(of.clock_share),
            drift_ppm: of.clock_drift_ppm.into(),
            offset_ms: of.clock_offset_ms,
            duplicate: Share::new(self.duplicate_share),
            reorder: Share::new(self.reorder_share),
        }
    }
}

/// A share as a chance in 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Share(u64);

impl Share {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^32")]
    fn new(share: f64) -> Self {
        Self((share * 4_294_967_296.0) as u64)
    }

    fn takes(self, drawn: u64) -> bool {
        drawn >> 32 < self.0
    }
}

/// Why a vehicle is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    Storm,
    Blackout,
    Tunnel,
}

impl Absence {
    /// Every reason.
    pub(super) const ALL: [Self; 3] = [Self::Storm, Self::Blackout, Self::Tunnel];

    /// As figures name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Storm => "storm",
            Self::Blackout => "blackout",
            Self::Tunnel => "tunnel",
        }
    }
}

/// No time at all, µs.
pub(super) const NEVER: u64 = u64::MAX;

/// See the module. Times are µs after the start, vehicles are their places in the fleet, from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Troubles {
    seed: u64,
    storm: Share,
    storm_every_us: u64,
    /// The vehicles below it are in the region of the blackout.
    dark: u32,
    /// From, to.
    dark_us: (u64, u64),
    /// 0: no tunnels.
    tunnel_us: u64,
    tunnel_every_us: u64,
    clock: Share,
    drift_ppm: i64,
    offset_ms: i64,
    duplicate: Share,
    reorder: Share,
}

/// What is drawn for; apart, so that no draw is like another.
#[derive(Clone, Copy)]
enum Draw {
    Storm = 1,
    TunnelLength,
    TunnelBegin,
    Clock,
    Drift,
    Duplicate,
    Reorder,
}

impl Troubles {
    fn draw(&self, what: Draw, vehicle: u32, of: u64) -> u64 {
        mix(mix(mix(self.seed ^ ((what as u64) << 56)) ^ u64::from(vehicle)) ^ of)
    }

    /// The only tunnel of a vehicle in a slot of time: from, to.
    fn tunnel(&self, vehicle: u32, slot: u64) -> (u64, u64) {
        let length = self.tunnel_us / 2 + self.draw(Draw::TunnelLength, vehicle, slot) % self.tunnel_us;
        let room = self.tunnel_every_us - length;
        let from = slot * self.tunnel_every_us + self.draw(Draw::TunnelBegin, vehicle, slot) % room.max(1);
        (from, from + length)
    }

    /// When something may cut the vehicle off next, after a moment, or at the start or later; [`NEVER`] where nothing
    /// will. [`Self::away`] says whether it does.
    pub(super) fn next_cut(&self, vehicle: u32, after: Option<u64>) -> u64 {
        let later = |at: &u64| after.is_none_or(|after| *at > after);
        let now = after.unwrap_or(0);
        let mut next = NEVER;
        if self.storm.0 > 0 {
            next = next.min((now / self.storm_every_us + 1) * self.storm_every_us);
        }
        if vehicle < self.dark {
            next = next.min(Some(self.dark_us.0).filter(later).unwrap_or(NEVER));
        }
        if self.tunnel_us > 0 {
            let slot = now / self.tunnel_every_us;
            let begin = |slot| self.tunnel(vehicle, slot).0;
            next = next.min(Some(begin(slot)).filter(later).unwrap_or_else(|| begin(slot + 1)));
        }
        next
    }

    /// Why the vehicle is away at this moment, if it is, and until when: the end of the last absence of those that
    /// pass into each other.
    pub(super) fn away(&self, vehicle: u32, at: u64) -> Option<(Absence, u64)> {
        let (why, mut until) = self.cut(vehicle, at)?;
        while let Some((_, later)) = self.cut(vehicle, until).filter(|(_, later)| *later > until) {
            until = later;
        }
        Some((why, until))
    }

    fn cut(&self, vehicle: u32, at: u64) -> Option<(Absence, u64)> {
        if vehicle < self.dark && (self.dark_us.0..self.dark_us.1).contains(&at) {
            return Some((Absence::Blackout, self.dark_us.1));
        }
        if self.tunnel_us > 0 {
            let (from, to) = self.tunnel(vehicle, at / self.tunnel_every_us);
            if (from..to).contains(&at) {
                return Some((Absence::Tunnel, to));
            }
        }
        let storm = self.storm.0 > 0 && at > 0 && at.is_multiple_of(self.storm_every_us);
        (storm && self.storm.takes(self.draw(Draw::Storm, vehicle, at))).then_some((Absence::Storm, at))
    }

    /// By how much the vehicle's clock is off at a moment, ms.
    pub(super) fn skew_ms(&self, vehicle: u32, at: u64) -> i64 {
        if self.clock.0 == 0 || !self.clock.takes(self.draw(Draw::Clock, vehicle, 0)) {
            return 0;
        }
        let fast = self.draw(Draw::Drift, vehicle, 0) & 1 == 0;
        // A week in µs times a tenth in millionths fits.
        let drift = i64::try_from(at / 1_000).unwrap_or(0) * self.drift_ppm / 1_000_000;
        self.offset_ms + if fast { drift } else { -drift }
    }

    /// Whether a reading is published twice.
    pub(super) fn duplicates(&self, vehicle: u32, seq: u32) -> bool {
        self.duplicate.0 > 0 && self.duplicate.takes(self.draw(Draw::Duplicate, vehicle, seq.into()))
    }

    /// Whether a reading is published after the next one.
    pub(super) fn reorders(&self, vehicle: u32, seq: u32) -> bool {
        self.reorder.0 > 0 && self.reorder.takes(self.draw(Draw::Reorder, vehicle, seq.into()))
    }
}

#[cfg(test)]
mod tests;
