//! Readings of a simulated fleet, encoded and written into `telemetry`, as an edge would have done it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cloud_log::{KafkaConfig, OutRecord, Producer};
use simulator::vehicle::{FleetSeed, Vehicle, vehicle_id};
use telemetry::{
    Encoding, Kind, Record, SCHEMA, UnixMillis, VehicleId,
    kafka_topic::{TELEMETRY, header},
};

/// Event time between two readings of a vehicle, ms.
const INTERVAL_MS: i64 = 10_000;
/// Records of a paced fleet leave so often.
const BEAT: Duration = Duration::from_millis(5);

/// A fleet that drives on and on.
pub(super) struct Fleet {
    producer: Producer,
    vehicles: Vec<(VehicleId, Vehicle)>,
    /// Event time of the next round, ms; and its number.
    time: UnixMillis,
    seq: u64,
    next: usize,
}

impl Fleet {
    /// So many vehicles whose numbers begin at `first`; no reading of theirs lies in the future.
    pub(super) async fn new(kafka: &str, seed: u64, first: u32, vehicles: u32, start: UnixMillis) -> Result<Self> {
        let producer = Producer::connect(&KafkaConfig::new(kafka)).await?;
        let fleet = FleetSeed { seed, start };
        let vehicles = (first..first + vehicles).map(|index| (vehicle_id(index), Vehicle::new(fleet, index)));
        Ok(Self { producer, vehicles: vehicles.collect(), time: start, seq: 1, next: 0 })
    }

    /// Writes so many readings, as fast as it can, and waits until Kafka has them.
    pub(super) async fn write(&mut self, records: u64, encoding: Encoding) -> Result<()> {
        for _ in 0..records {
            let record = self.reading(encoding)?;
            self.producer.send(record).await?;
        }
        self.producer.flush().await
    }

    /// Writes so many readings a second.
    pub(super) async fn pace(&mut self, rate: u64, lasts: Duration, encoding: Encoding) -> Result<u64> {
        let (start, mut written) = (Instant::now(), 0_u64);
        while start.elapsed() < lasts {
            let due = u64::try_from(start.elapsed().as_micros() * u128::from(rate) / 1_000_000)?;
            while written < due {
                let record = self.reading(encoding)?;
                self.producer.send(record).await?;
                written += 1;
            }
            tokio::time::sleep(BEAT).await;
        }
        self.producer.flush().await?;
        Ok(written)
    }

    fn reading(&mut self, encoding: Encoding) -> Result<OutRecord> {
        let (id, vehicle) = self.vehicles.get_mut(self.next).context("a fleet without vehicles")?;
        let sample = vehicle.step(self.time, &[]);
        let record = Record {
            schema: SCHEMA,
            vehicle: id.clone(),
            boot: 1,
            seq: self.seq,
            time: self.time,
            kind: Kind::Full,
            signals: sample.signals,
            position: sample.position,
        };
        let payload = telemetry::encode(&record, encoding)?;
        let topic = format!("v1/{id}/telemetry");
        let out = OutRecord::new(TELEMETRY, id.as_str().as_bytes(), payload);
        self.next += 1;
        if self.next == self.vehicles.len() {
            self.next = 0;
            self.seq += 1;
            self.time += INTERVAL_MS;
        }
        // What an edge writes beside a reading.
        let headers = [
            (header::CONTENT_TYPE, encoding.content_type().as_bytes().to_vec()),
            (header::SCHEMA, SCHEMA.to_string().into_bytes()),
            (header::MQTT_TOPIC, topic.into_bytes()),
        ];
        Ok(OutRecord { headers: headers.map(|(name, value)| (name.to_owned(), value)).into(), ..out })
    }
}
