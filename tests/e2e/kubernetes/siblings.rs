//! The services' configurations in the cluster say what the tested ones say, but for addresses and paths.

use super::render::read;

/// Lines that say something, in their order.
fn directives(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'))
        .map(ToOwned::to_owned)
        .collect()
}

fn filled(path: &str, replacements: &[(&str, &str)]) -> Vec<String> {
    let mut text = read(path);
    for (from, to) in replacements {
        assert!(text.contains(from), "{path} no longer says {from:?}");
        text = text.replace(from, to);
    }
    directives(&text)
}

#[test]
fn mosquitto_is_configured_as_tested() {
    let expected = filled(
        "tests/services/conf/mosquitto.conf.in",
        &[
            ("user @USER@\n", "user mosquitto\n"),
            ("pid_file @DIR@/mosquitto.pid\n", ""),
            ("@VEHICLES_PORT@ 127.0.0.1", "1883"),
            ("@EDGE_PORT@ 127.0.0.1", "1884"),
            ("@DIR@/mosquitto-edge.passwords", "/run/mosquitto/mosquitto-edge.passwords"),
            ("@DIR@/", "/etc/mosquitto/"),
        ],
    );
    assert_eq!(directives(&read("k8s/base/mosquitto/mosquitto.conf")), expected);
    for list in ["mosquitto-vehicles.acl", "mosquitto-edge.acl"] {
        assert_eq!(read(&format!("k8s/base/mosquitto/{list}")), read(&format!("tests/services/conf/{list}")), "{list}");
    }
    let base = read("k8s/base/mosquitto.yaml");
    assert!(base.contains("name: vehicles\n              containerPort: 1883\n"));
    assert!(base.contains("name: edge\n              containerPort: 1884\n"));
}

#[test]
fn kafka_is_configured_as_tested() {
    let expected = filled(
        "tests/services/conf/kafka.properties.in",
        &[
            (
                "listeners=PLAINTEXT://127.0.0.1:@BROKER_PORT@,CONTROLLER://127.0.0.1:@CONTROLLER_PORT@",
                "listeners=PLAINTEXT://:9092,CONTROLLER://127.0.0.1:9093",
            ),
            ("advertised.listeners=PLAINTEXT://127.0.0.1:@BROKER_PORT@", "advertised.listeners=PLAINTEXT://kafka:9092"),
            ("@CONTROLLER_PORT@", "9093"),
            ("@DIR@/kafka", "/var/lib/kafka/log"),
        ],
    );
    assert_eq!(directives(&read("k8s/overlays/local/kafka.properties")), expected);
}

#[test]
fn mongod_is_configured_as_tested() {
    let expected = filled(
        "tests/services/conf/mongod.conf.in",
        &[("\"@DIR@/mongod\"", "/data/db"), ("bindIp: 127.0.0.1", "bindIpAll: true"), ("@PORT@", "27017")],
    );
    assert_eq!(directives(&read("k8s/overlays/local/mongod.conf")), expected);
}
