"""A peer of `make bench-model`: the same network in Quix Streams, one record at a time, which is that library's way.

At least once, as Quix Streams does it by default. How it is run stands in loop.py.
"""

import os
import tempfile

from quixstreams import Application, message_context

from network import Network


def run():
    network = Network(os.environ["ONNX"])
    application = Application(
        broker_address=os.environ["KAFKA_BOOTSTRAP"],
        consumer_group=os.environ["GROUP"],
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        # Unused, but made: by default where one stands.
        state_dir=tempfile.mkdtemp(prefix="quix-peer-"),
        loglevel="WARNING",
        consumer_extra_config={"fetch.wait.max.ms": 10},
        producer_extra_config={"linger.ms": 5, "acks": "all"},
    )
    readings = application.topic(os.environ["KAFKA_TOPIC"], value_deserializer="json", key_deserializer="bytes")
    scores = application.topic(os.environ["OUT_TOPIC"], value_serializer="json", key_serializer="bytes")

    def score(record):
        (loss,) = network.score([record["signals"]])
        source = message_context()
        return {
            "vehicle": record["vehicle"],
            "source": {"partition": source.partition, "offset": source.offset},
            "score": loss,
        }

    application.dataframe(readings).apply(score).to_topic(scores)
    application.run()


if __name__ == "__main__":
    run()
