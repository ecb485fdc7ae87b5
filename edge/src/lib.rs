//! The edge bridge: MQTT to Kafka, acknowledging only what Kafka has.
