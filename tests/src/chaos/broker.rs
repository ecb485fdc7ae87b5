//! What the MQTT broker counts, from its `$SYS` tree.

use std::time::Duration;

use anyhow::{Context, Result};
use rumqttc::v5::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, mqttbytes::QoS};
use services::Services;

/// Its figures are ten seconds apart.
const PATIENCE: Duration = Duration::from_secs(25);
const DROPPED: &str = "$SYS/broker/publish/messages/dropped";
const UPTIME: &str = "$SYS/broker/uptime";

/// Messages that the broker has dropped since it was started, as it counts now and not some seconds ago.
pub(super) async fn dropped(services: &Services) -> Result<u64> {
    tokio::time::timeout(PATIENCE, ask(services)).await.context("the broker's figures")?
}

async fn ask(services: &Services) -> Result<u64> {
    let addresses = services.addresses();
    let edge = addresses.mqtt_edge;
    let mut options = MqttOptions::new("chaos.1", edge.ip().to_string(), edge.port());
    options.set_credentials(&addresses.mqtt_edge_user, &addresses.mqtt_edge_password);
    let (client, mut events) = AsyncClient::new(options, 4);
    for name in [DROPPED, UPTIME] {
        client.try_subscribe(name, QoS::AtMostOnce)?;
    }
    let (mut dropped, mut rounds) = (None, 0);
    // The first round is what was left for newcomers. The second begins with the time, and is there at once.
    while rounds < 2 {
        match figure(&mut events).await? {
            (true, _) => rounds += 1,
            (false, n) => dropped = Some(n),
        }
    }
    // A figure is told again only when it has changed.
    while let Ok(more) = tokio::time::timeout(Duration::from_millis(500), figure(&mut events)).await {
        if let (false, n) = more? {
            dropped = Some(n);
        }
    }
    dropped.context("the broker tells how many it has dropped")
}

/// The next figure: whether it is the time, and the number.
async fn figure(events: &mut EventLoop) -> Result<(bool, u64)> {
    loop {
        let Event::Incoming(Incoming::Publish(publish)) = events.poll().await? else { continue };
        if publish.topic == UPTIME.as_bytes() {
            return Ok((true, 0));
        }
        return Ok((false, std::str::from_utf8(&publish.payload)?.parse()?));
    }
}
