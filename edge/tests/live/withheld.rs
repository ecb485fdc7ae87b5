//! When nothing takes what arrives, the edge withholds PUBACKs and says so; what the limit forgets too early; an early stop.

use services::Kind;

use crate::{Edge, Flags, Site, all_acked, kafka, process::until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_edge_is_not_ready_while_neither_kafka_nor_the_spool_takes_anything() {
    let mut site = Site::start().await;
    let spool = site.folder.path().join("spool").display().to_string();
    let flags = site.flags().with("spool", spool).with("spool-after-ms", "300");
    let edge = site.start_edge("edge", &flags).ready();
    let vehicles = [site.vehicle("veh-1")];
    let readyz = || edge.ask("/readyz");
    vehicles[0].go_on_to(100);
    all_acked(&vehicles, 100);
    assert_eq!(readyz(), (200, "ready\n".to_owned()));

    // Without Kafka, the spool has it, and the broker its PUBACKs.
    site.services.kill(Kind::Kafka).await;
    vehicles[0].go_on_to(200);
    until("readings in the spool", || (edge.metric("edge_spool_records") >= 100.0).then_some(()));
    assert_eq!(readyz().0, 200);

    edge.disk_takes_nothing();
    vehicles[0].go_on_to(300);
    let body = until("it is not ready", || Some(readyz()).filter(|(status, _)| *status == 503)).1;
    assert!(body.contains("Kafka is away") && body.contains("PUBACKs are withheld"), "{body}");
    assert!(edge.metric("edge_spool_refusals_total") > 0.0);
    assert_eq!(edge.ask("/healthz").0, 200, "a restart would mend nothing");

    site.services.restart(Kind::Kafka).await.unwrap();
    until("it is ready again", || (readyz().0 == 200).then_some(()));
    all_acked(&vehicles, 300);
    assert_eq!(kafka::readings(site.kafka()).len(), 300);
    assert!(edge.metric("edge_limit_forgotten_early_total") < 0.5, "there is no limit");
    site.services.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vehicles_that_the_limit_forgets_too_early_are_counted() {
    let site = Site::start().await;
    let limited = site.flags().with("vehicle-rate", "1000").with("max-vehicles", "1");
    let edge = site.start_edge("edge", &limited).ready();
    let vehicles = ["veh-1", "veh-2", "veh-3"].map(|name| site.vehicle(name));
    vehicles.iter().for_each(|vehicle| vehicle.go_on_to(100));
    until("vehicles are forgotten", || (edge.metric("edge_limit_forgotten_early_total") > 0.0).then_some(()));
    site.services.stop().await;
}

#[test]
fn an_edge_that_still_waits_for_kafka_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let closed = format!("127.0.0.1:{}", services::free_port().unwrap());
    let flags = Flags::none().with("kafka", closed).with("connect-timeout-ms", "50000");
    let edge = Edge::start(folder.path(), "edge", &flags);
    until("it tries to reach Kafka", || edge.log().contains("refused").then_some(()));
    let (out, _) = edge.stop();
    let tally: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&tally["event"], &tally["tally"]["received"]), (&"tally".into(), &0.into()), "{out}");
}
