"""What the console is shown: a broker with many topics, and clients that use some of them."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD = "operator", "let me in 7"
# Of a broker that is stopped on purpose clients would complain at length.
CLIENT = {"log_level": 0}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(what, done, seconds=30):
    end = time.monotonic() + seconds
    while True:
        try:
            if done():
                return
        except (OSError, IndexError):
            pass
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (seconds, what))
        time.sleep(0.1)


class Broker:
    """A broker on free ports, with a directory of its own."""

    def __init__(self, binary, **settings):
        # In memory, where there is room: a thousand topics are many small writes.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 1 << 30 else None
        self.work = Path(tempfile.mkdtemp(prefix="kafscale-console-", dir=memory))
        self.kafka, self.admin = "127.0.0.1:%d" % free_port(), "127.0.0.1:%d" % free_port()
        self.url = "http://" + self.admin
        env = {name: value for name, value in os.environ.items() if not name.startswith("KAFSCALE_")}
        env.update(KAFSCALE_BROKER_ADDR=self.kafka, KAFSCALE_METRICS_ADDR=self.admin, KAFSCALE_DATA_DIR=str(self.work / "data"),
                   KAFSCALE_UI_USERNAME=USER, KAFSCALE_UI_PASSWORD=PASSWORD, KAFSCALE_MEMORY_BYTES="256MiB",
                   KAFSCALE_CACHE_SIZE="128MiB", KAFSCALE_LAG_SAMPLE_INTERVAL_SEC="1", KAFSCALE_METRICS_TOPICS_MAX="5", **settings)
        self.log = open(self.work / "log", "wb")
        self.process = subprocess.Popen([binary, "broker"], env=env, stdout=self.log, stderr=subprocess.STDOUT)
        wait("the broker is ready", lambda: self.process.poll() is None and self.get("/readyz"))

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read().decode()

    def api(self, path):
        return json.loads(self.get("/api/v1/" + path))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.log.close()

    def text_of_log(self):
        return (self.work / "log").read_text(errors="replace")

    def remove(self):
        shutil.rmtree(self.work, ignore_errors=True)


def names(count):
    kinds = ["orders", "payments", "clicks", "inventory", "sessions", "audit", "metrics", "emails"]
    return ["%s.%s-%03d" % (kinds[i % len(kinds)], ["eu", "us", "ap"][i // len(kinds) % 3], i) for i in range(count)]


def create(broker, count):
    """So many topics, most of one partition; some are compacted."""
    admin = AdminClient({**CLIENT, "bootstrap.servers": broker.kafka})
    topics = []
    for i, name in enumerate(names(count)):
        config = {"cleanup.policy": "compact"} if i % 10 == 9 else {}
        topics.append(NewTopic(name, num_partitions=[8, 4, 1, 1][i % 4] if i < 40 else 1, config=config))
    for topic in topics[:1]:
        admin.create_topics([topic])[topic.topic].result(30)
    for at in range(1, count, 200):
        for made in admin.create_topics(topics[at:at + 200], operation_timeout=60, request_timeout=60).values():
            made.result(90)
    return admin


def record(i):
    return json.dumps({"id": i, "customer": "c-%05d" % (i * 7919 % 40000), "amount": round(random.random() * 200, 2), "currency": "EUR",
                       "items": [{"sku": "A%04d" % (i % 977), "count": 1 + i % 4}], "note": "order of a test"})


def fill(broker, topics):
    """Some records of each kind in the first topics: JSON, text, binary, tombstones, headers, each compressed otherwise."""
    for topic, codec in zip(topics, ["none", "gzip", "snappy", "lz4", "zstd"] * 10):
        producer = Producer({**CLIENT, "bootstrap.servers": broker.kafka, "compression.type": codec, "linger.ms": 5})
        for i in range(200):
            producer.produce(topic, key="key-%d" % (i % 20), value=record(i), headers=[("trace", "t-%d" % i), ("raw", b"\x00\xff")])
        producer.produce(topic, key="gone", value=None)
        producer.produce(topic, key=b"\xfe\xff", value=bytes(range(256)))
        producer.produce(topic, key="markup", value="<img src=x onerror=alert(1)><script>alert(2)</script>")
        assert producer.flush(30) == 0


def idle_group(broker, group, topic, partitions):
    """A group without members that has committed offset 5 everywhere."""
    consumer = Consumer({**CLIENT, "bootstrap.servers": broker.kafka, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, p, 5) for p in range(partitions)], asynchronous=False)
    consumer.close()


def produce_for_ever(kafka, topics, per_second):
    producer = Producer({**CLIENT, "bootstrap.servers": kafka, "linger.ms": 10, "compression.type": "lz4"})
    value, i, began = record(1) * 3, 0, time.monotonic()
    while True:
        # The first topics get most.
        topic = topics[int(len(topics) * random.random() ** 3)]
        try:
            producer.produce(topic, key="key-%d" % (i % 500), value=value)
        except BufferError:
            producer.poll(0.1)
        producer.poll(0)
        i += 1
        ahead = i / per_second - (time.monotonic() - began)
        if ahead > 0.02:
            time.sleep(ahead)


def consume_for_ever(kafka, group, topics):
    consumer = Consumer({**CLIENT, "bootstrap.servers": kafka, "group.id": group, "auto.offset.reset": "earliest", "client.id": group + "-worker",
                         "auto.commit.interval.ms": 1000})
    consumer.subscribe(topics)
    while True:
        consumer.consume(1000, 0.2)
