"""A peer of `make bench-model`: scoring as a Python team writes it by hand, in micro-batches, at least once.

    python3 -m venv VENV && . VENV/bin/activate && pip install -r tests/peers/scoring/requirements.txt
    make bench-model FLAGS='--peer python="exec python3 tests/peers/scoring/loop.py" \
        --peer quix="exec python3 tests/peers/scoring/quix.py"'

How the one in Java is built and run stands in streams/src/main/java/Peer.java.

Kafka -> JSON -> numpy -> ONNX Runtime -> Kafka. Offsets are committed once Kafka has the batch's scores. JSON is read and
written by Python's own module, or by the one that is named: `loop.py orjson`. What it finds in its environment stands in
`--help` of `bench model`.
"""

import importlib
import os
import signal
import sys

from confluent_kafka import Consumer, KafkaException, Producer

from network import Network

BATCH = 256  # readings at most
GATHER_S = 0.005  # as our scorer does at a low rate


def failed(error, _message):
    raise KafkaException(error)


def run(json):
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    network = Network(os.environ["ONNX"])
    kafka = {"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"]}
    consumer = Consumer(
        kafka
        | {
            "group.id": os.environ["GROUP"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
        }
    )
    # A score that could not be delivered ends the loop before anything is committed.
    delivery = {"on_delivery": failed, "delivery.report.only.error": True}
    producer = Producer(kafka | delivery | {"acks": "all", "enable.idempotence": True, "linger.ms": 1})
    consumer.subscribe([os.environ["KAFKA_TOPIC"]])
    out = os.environ["OUT_TOPIC"]
    while not stop:
        batch = consumer.consume(BATCH, GATHER_S)
        if not batch:
            continue
        for message in batch:
            if message.error():
                raise KafkaException(message.error())
        records = [json.loads(message.value()) for message in batch]
        scores = network.score([record["signals"] for record in records])
        for message, record, score in zip(batch, records, scores):
            source = {"partition": message.partition(), "offset": message.offset()}
            told = {"vehicle": record["vehicle"], "source": source, "score": score}
            producer.produce(out, json.dumps(told), message.key())
        producer.flush()
        consumer.commit(asynchronous=True)
    consumer.close()


if __name__ == "__main__":
    run(importlib.import_module(sys.argv[1] if len(sys.argv) > 1 else "json"))
