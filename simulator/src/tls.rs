//! TLS to the broker, with a certificate for each vehicle.
//!
//! Certificates to try it with: `services up --tls` and `services certificates --vehicles N`; or by hand (the vehicle is the common name):
//!
//! ```console
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=authority \
//!   -keyout ca.key -out ca.crt
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=veh-00001 \
//!   -CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:FALSE \
//!   -keyout veh-00001.key -out veh-00001.crt
//! ```

use std::path::PathBuf;

use native_tls::TlsConnector;
use serde::{Deserialize, Serialize};
use service::{Error, tls};
use telemetry::VehicleId;

/// What stands for the vehicle in the name of a file.
pub(crate) const VEHICLE: &str = "{vehicle}";

/// Flags of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[command(next_help_heading = "Security")]
pub struct Tls {
    /// Speak TLS to the MQTT broker. A vehicle of a load then takes 35 KB more, and its handshake milliseconds of two
    /// cores: see --connect-rate.
    #[arg(long, env = "MOTORCADE_MQTT_TLS")]
    pub mqtt_tls: bool,
    /// PEM file with the authorities of the broker's certificate [default: the system's, which take time and memory
    /// for each vehicle of a fleet with physics].
    #[arg(long, env = "MOTORCADE_MQTT_CA", value_name = "FILE")]
    pub mqtt_ca: Option<PathBuf>,
    /// PEM file with a vehicle's certificate, and those between it and its authority. {vehicle} in it stands for the
    /// vehicle, as in certificates/{vehicle}.crt; without it all vehicles show the same. Needs --mqtt-key.
    #[arg(long, env = "MOTORCADE_MQTT_CERT", value_name = "PATTERN")]
    pub mqtt_cert: Option<String>,
    /// PEM file with its key, PKCS#8.
    #[arg(long, env = "MOTORCADE_MQTT_KEY", value_name = "PATTERN")]
    pub mqtt_key: Option<String>,
}

impl Tls {
    /// Checks that what belongs together is there, and that the files of the first vehicle can be understood.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub(crate) fn validate(&self, first: &VehicleId) -> Result<(), Error> {
        tls::check_needs([
            ("mqtt-ca", self.mqtt_ca.is_some(), "--mqtt-tls", self.mqtt_tls),
            ("mqtt-cert", self.mqtt_cert.is_some(), "--mqtt-tls", self.mqtt_tls),
            ("mqtt-cert", self.mqtt_cert.is_some(), "--mqtt-key", self.mqtt_key.is_some()),
            ("mqtt-key", self.mqtt_key.is_some(), "--mqtt-cert", self.mqtt_cert.is_some()),
        ])?;
        if self.mqtt_tls { self.connector(first).map(drop) } else { Ok(()) }
    }

    /// Whether every vehicle has a certificate of its own.
    pub(crate) fn is_personal(&self) -> bool {
        [&self.mqtt_cert, &self.mqtt_key].into_iter().flatten().any(|pattern| pattern.contains(VEHICLE))
    }

    /// The files of a vehicle's certificate and key, if vehicles have any.
    pub(crate) fn files(&self, vehicle: &VehicleId) -> Option<(PathBuf, PathBuf)> {
        let of = |pattern: &String| PathBuf::from(pattern.replace(VEHICLE, vehicle.as_str()));
        Some((of(self.mqtt_cert.as_ref()?), of(self.mqtt_key.as_ref()?)))
    }

    /// How a vehicle speaks TLS; its files are read now.
    ///
    /// # Errors
    /// [`Error::Usage`] for a file that can't be used.
    pub(crate) fn connector(&self, vehicle: &VehicleId) -> Result<TlsConnector, Error> {
        let own = self.files(vehicle);
        let own = own.as_ref().map(|(certificate, key)| [("mqtt-cert", certificate.as_path()), ("mqtt-key", key)]);
        tls::connector("mqtt-tls", self.mqtt_ca.as_deref().map(|path| ("mqtt-ca", path)), own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vehicle::vehicle_id;

    fn refused_flag(tls: &Tls) -> Option<&'static str> {
        match tls.validate(&vehicle_id(1)) {
            Ok(()) => None,
            Err(Error::Usage { flag, .. }) => Some(flag),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_does_not_belong_together_is_refused_by_the_flag_name() {
        let pattern = |name: &str| Some(name.to_owned());
        let on = || Tls { mqtt_tls: true, ..Tls::default() };
        for (tls, refused) in [
            (Tls::default(), None),
            (on(), None),
            (Tls { mqtt_ca: Some("ca".into()), ..Tls::default() }, Some("mqtt-ca")),
            (Tls { mqtt_ca: Some("/nowhere/ca".into()), ..on() }, Some("mqtt-ca")),
            (Tls { mqtt_cert: pattern("Cargo.toml"), ..on() }, Some("mqtt-cert")),
            (Tls { mqtt_key: pattern("Cargo.toml"), ..on() }, Some("mqtt-key")),
            (Tls { mqtt_cert: pattern("{vehicle}"), mqtt_key: pattern("Cargo.toml"), ..on() }, Some("mqtt-cert")),
        ] {
            assert_eq!(refused_flag(&tls), refused, "{tls:?}");
        }
    }

    #[test]
    fn each_vehicle_has_files_of_its_own_where_the_pattern_says_so() {
        let pattern = |name: &str| Some(name.to_owned());
        let own = Tls { mqtt_cert: pattern("a/{vehicle}.crt"), mqtt_key: pattern("b/{vehicle}/key"), ..Tls::default() };
        let files = own.files(&vehicle_id(7));
        assert_eq!(files, Some(("a/veh-00007.crt".into(), "b/veh-00007/key".into())));
        let shared = Tls { mqtt_cert: pattern("crt"), mqtt_key: pattern("key"), ..Tls::default() };
        assert_eq!(shared.files(&vehicle_id(7)), shared.files(&vehicle_id(8)));
        assert!(own.is_personal() && !shared.is_personal());
    }
}
