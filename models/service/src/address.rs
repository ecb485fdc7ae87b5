//! Where something listens: `HOST:PORT`, read in one way by every flag that takes it.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use crate::Error;

/// A host and a port above 0. An IPv6 address stands in brackets, as the resolvers of MQTT and Kafka want it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// A text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not HOST:PORT (an IPv6 address stands in brackets, and there is no scheme)")]
pub struct InvalidAddress(pub String);

impl Address {
    /// Reads the value of a flag.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub fn of_flag(flag: &'static str, value: &str) -> Result<Self, Error> {
        value.parse().map_err(|error: InvalidAddress| Error::Usage { flag, detail: error.to_string() })
    }

    /// Reads the value of a flag that takes several, separated by commas; at least one.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag's name.
    pub fn list_of_flag(flag: &'static str, value: &str) -> Result<Vec<Self>, Error> {
        value.split(',').map(|address| Self::of_flag(flag, address.trim())).collect()
    }

    /// The host, an IPv6 address with its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let read = || {
            let (host, port) = text.rsplit_once(':')?;
            let well_formed = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
                Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
                None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            };
            // `parse` alone would take a sign.
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse().ok().filter(|port: &u16| *port > 0 && digits)?;
            well_formed.then(|| Self { host: host.to_owned(), port })
        };
        read().ok_or_else(|| InvalidAddress(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("127.0.0.1:1883", "127.0.0.1", 1883),
            ("kafka-0.kafka_headless.svc:9092", "kafka-0.kafka_headless.svc", 9092),
            ("[::1]:65535", "[::1]", 65535),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port(), address.to_string().as_str()), (host, port, text));
        }
        for bad in [
            "",
            "broker",
            "broker:",
            ":1883",
            "broker:0",
            "broker:+1",
            "broker:65536",
            "mqtt://broker:1883",
            "me@broker:1883",
            "::1:1883",
            "[::1]",
            "[]:1883",
            "[broker]:1883",
            "a b:1",
            "a:1,b:2",
            "broker:1883 ",
        ] {
            assert_eq!(bad.parse::<Address>(), Err(InvalidAddress(bad.to_owned())));
        }
    }

    #[test]
    fn a_flag_that_takes_several_takes_no_empty_one() {
        let hosts = |value| {
            Address::list_of_flag("kafka", value)
                .map(|all| all.iter().map(|address| address.host().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(hosts("a:1, [::1]:2").unwrap(), ["a", "[::1]"]);
        for bad in ["", "a:1,,b:2", "a:1,"] {
            let error = hosts(bad).unwrap_err();
            assert_eq!(error.exit_code(), 64);
            assert!(error.to_string().starts_with("--kafka: "), "{error}");
        }
    }
}
