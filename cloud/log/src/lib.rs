//! Kafka for all roles: consumer loop, producer, topic table, bounded history.
