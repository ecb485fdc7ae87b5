//! Who a vehicle is at the broker: user name and password, as flags give them.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use service::Error;
use telemetry::VehicleId;

use crate::tls::VEHICLE;

/// MQTT writes a length in 16 bits.
const LONGEST: usize = u16::MAX as usize;

/// Flags of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[command(next_help_heading = "Security")]
pub struct Account {
    /// User name of a vehicle at the MQTT broker. {vehicle} in it stands for the vehicle.
    #[arg(long, env = "MOTORCADE_MQTT_USER", value_name = "PATTERN", default_value = VEHICLE)]
    pub mqtt_user: String,
    /// File with the password of --mqtt-user. {vehicle} in it stands for the vehicle, as in passwords/{vehicle}; without
    /// it all vehicles have the same.
    #[arg(long, env = "MOTORCADE_MQTT_PASSWORD_FILE", value_name = "PATTERN")]
    pub mqtt_password_file: Option<String>,
}

impl Account {
    /// Checks that user name and password of the first vehicle can be had.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub(crate) fn validate(&self, first: &VehicleId) -> Result<(), Error> {
        let usage = |flag, detail: String| Err(Error::Usage { flag, detail });
        if self.user(first).len() > LONGEST {
            return usage("mqtt-user", format!("is longer than {LONGEST} bytes"));
        }
        match self.file(first).map(|file| (read(&file), file)) {
            Some((Err(why), file)) => usage("mqtt-password-file", format!("{}: {why}", file.display())),
            Some((Ok(_), _)) | None => Ok(()),
        }
    }

    /// Reads the password that all vehicles have, if they have one.
    ///
    /// # Errors
    /// [`Error::Usage`] for a file that can't be used.
    pub(crate) fn open(&self) -> Result<Credentials, Error> {
        let shared = self.mqtt_password_file.as_ref().filter(|pattern| !pattern.contains(VEHICLE));
        let shared = shared.map(|file| read(Path::new(file)).map_err(|why| format!("{file}: {why}"))).transpose();
        let shared = shared.map_err(|detail| Error::Usage { flag: "mqtt-password-file", detail })?;
        Ok(Credentials { account: self.clone(), shared })
    }

    fn user(&self, vehicle: &VehicleId) -> String {
        self.mqtt_user.replace(VEHICLE, vehicle.as_str())
    }

    fn file(&self, vehicle: &VehicleId) -> Option<PathBuf> {
        Some(PathBuf::from(self.mqtt_password_file.as_ref()?.replace(VEHICLE, vehicle.as_str())))
    }
}

/// The password in a file, without the line's end.
fn read(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > LONGEST {
        return Err(format!("holds no password of 1 to {LONGEST} bytes"));
    }
    Ok(password.to_owned())
}

/// What vehicles introduce themselves with.
pub(crate) struct Credentials {
    account: Account,
    /// The password of all vehicles.
    shared: Option<String>,
}

/// Without the password: it is nobody's business.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Credentials {
    /// User name and password of a vehicle. A password of its own is read now; without one it is empty.
    ///
    /// # Errors
    /// Why that can't be read, without the name of the file: it is counted by its text.
    pub(crate) fn of(&self, vehicle: &VehicleId) -> Result<(String, String), String> {
        let password = match (&self.shared, self.account.file(vehicle)) {
            (Some(shared), _) => shared.clone(),
            (None, Some(file)) => read(&file).map_err(|why| format!("a vehicle's password can't be used: {why}"))?,
            (None, None) => String::new(),
        };
        Ok((self.account.user(vehicle), password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vehicle::vehicle_id;

    fn account(user: &str, file: Option<PathBuf>) -> Account {
        let mqtt_password_file = file.map(|file| file.to_str().unwrap().to_owned());
        Account { mqtt_user: user.to_owned(), mqtt_password_file }
    }

    #[test]
    fn a_vehicle_has_the_name_and_the_password_that_the_patterns_say() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("veh-00001"), "one\r\n").unwrap();
        std::fs::write(file("veh-00002"), "two").unwrap();
        std::fs::write(file("all"), "s p a c e \n").unwrap();
        let of = |account: Account, index| account.open().unwrap().of(&vehicle_id(index));
        let pair = |user: &str, password: &str| Ok((user.to_owned(), password.to_owned()));
        assert_eq!(of(account(VEHICLE, None), 7), pair("veh-00007", ""));
        let own = || account("car:{vehicle}", Some(file(VEHICLE)));
        assert_eq!([of(own(), 1), of(own(), 2)], [pair("car:veh-00001", "one"), pair("car:veh-00002", "two")]);
        assert_eq!(of(account("fleet", Some(file("all"))), 9), pair("fleet", "s p a c e "));
        let missing = of(own(), 3).unwrap_err();
        assert!(missing.contains("password") && !missing.contains("veh-00003"), "{missing}");
    }

    #[test]
    fn what_can_not_be_read_is_refused_by_the_flag_and_no_password_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("veh-00001"), "one").unwrap();
        std::fs::write(file("empty"), "\n").unwrap();
        let refused = |account: &Account| match account.validate(&vehicle_id(1)) {
            Ok(()) => None,
            Err(Error::Usage { flag, .. }) => Some(flag),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(refused(&account(VEHICLE, Some(file(VEHICLE)))), None);
        for unusable in ["empty", "missing", "missing-{vehicle}"] {
            assert_eq!(refused(&account(VEHICLE, Some(file(unusable)))), Some("mqtt-password-file"), "{unusable}");
        }
        assert!(account(VEHICLE, Some(file("missing"))).open().is_err());
        assert_eq!(refused(&account(&"x".repeat(LONGEST + 1), None)), Some("mqtt-user"));
        let shown = format!("{:?}", account("fleet", Some(file("veh-00001"))).open().unwrap());
        assert!(shown.contains("fleet") && !shown.contains("one"), "{shown}");
    }
}
