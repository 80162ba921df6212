"""What the suites of the frameworks share: Java programs that run beside a suite, and short forms of the client calls.

FRAMEWORKS_CLASSPATH says where the jars are. A program's output goes to a file in the working directory of the suite;
its last lines are printed when it has to be killed or ended by itself.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "common"))
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec  # noqa: E402
from harness import check, unique, wait  # noqa: E402

JAVA = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


# Errors that pass by themselves.
PASSING = {KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART,
           KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_COORDINATOR,
           KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE}


class Program:
    """A Java program that runs on. close() ends it with SIGTERM, kill() with SIGKILL."""

    def __init__(self, name, main, *args, properties=None):
        self.name, self.log = name, Path("%s.log" % unique(name))
        if properties is not None:
            path = Path("%s.properties" % unique(name))
            path.write_text("".join("%s=%s\n" % pair for pair in properties.items()))
            args = (path,) + args
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(JAVA + ["-cp", os.environ["FRAMEWORKS_CLASSPATH"], main]
                                            + [str(arg) for arg in args], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out)

    def text(self):
        return self.log.read_text(errors="replace")

    def alive(self):
        """True, or the case fails: for conditions that wait for something that the program does."""
        if self.process.poll() is not None:
            self.show()
            raise AssertionError("%s ended by itself: exit %d" % (self.name, self.process.returncode))
        return True

    def show(self, count=40):
        for line in self.text().splitlines()[-count:]:
            print("%s| %s" % (self.name, line[:400]), file=sys.stderr)

    def close(self, seconds=40):
        self.alive()
        self.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        try:
            self.process.wait(seconds)
            print("%s ended %.1f s after SIGTERM" % (self.name, time.monotonic() - begun), flush=True)
        except subprocess.TimeoutExpired:
            # The stacks of its threads tell what it waits for.
            self.process.send_signal(signal.SIGQUIT)
            time.sleep(2)
            self.show(1000)
            self.kill()
            raise AssertionError("%s did not end within %d s of SIGTERM" % (self.name, seconds)) from None

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.show()
        self.kill()


def free_port():
    """Below the range from which the system takes ports for connections."""
    for port in random.sample(range(10000, 32000), 1000):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port of 10000 to 32000 is free")


def settled(call, seconds=20):
    """What call gives, asked again where a topic is new or a coordinator loads: librdkafka leaves that to its user."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except KafkaException as error:
            if error.args[0].code() not in PASSING or time.monotonic() > end:
                raise
            time.sleep(0.1)


class Cluster:
    """Short forms of the client calls to one cluster."""

    def __init__(self, bootstrap):
        self.bootstrap, self.admin = bootstrap, AdminClient({"bootstrap.servers": bootstrap})

    def create(self, topic, partitions, **config):
        config = {name.replace("_", "."): str(value) for name, value in config.items()}
        self.admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(30)
        wait(lambda: self.partitions(topic) == partitions, 20, "leaders of " + topic)

    def topics(self):
        """By name. Never one topic alone: who asks for it may make it."""
        return self.admin.list_topics(timeout=20).topics

    def partitions(self, topic):
        """How many partitions have a leader."""
        found = self.topics().get(topic)
        return sum(1 for part in found.partitions.values() if part.leader >= 0) if found and not found.error else 0

    def config(self, topic):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        return {name: entry.value for name, entry in
                self.admin.describe_configs([resource])[resource].result(30).items()}

    def send(self, records):
        """Produces (topic, partition, key, value, headers) with acks=all."""
        errors = []
        producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True})
        for topic, partition, key, value, headers in records:
            producer.produce(topic, value, key, partition=partition, headers=headers,
                             on_delivery=lambda error, _: error and errors.append(error))
            producer.poll(0)
        check(producer.flush(60) == 0, "records were not acknowledged within 60 s")
        check(not errors, "produce: %s" % errors[:1])

    def ends(self, topic):
        def ask():
            asked = {TopicPartition(topic, part): OffsetSpec.latest() for part in self.topics()[topic].partitions}
            return {part.partition: answer.result(20).offset for part, answer in
                    self.admin.list_offsets(asked, request_timeout=20).items()} if asked else {}
        return settled(ask)

    def read(self, topic, offsets=None, seconds=60):
        """Every record from the beginning, or from offsets, to the end that the topic has now."""
        ends = self.ends(topic)
        at = {part: (offsets or {}).get(part, 0) for part in ends}
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unused", "enable.auto.commit": False,
                             "auto.offset.reset": "earliest", "enable.partition.eof": True})
        consumer.assign([TopicPartition(topic, part, offset) for part, offset in at.items()])
        found, open_parts = [], {part for part, end in ends.items() if at[part] < end}
        end = time.monotonic() + seconds
        while open_parts:
            check(time.monotonic() < end, "%s was not read within %d s: partitions %s" % (topic, seconds, open_parts))
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error():
                check(message.error().code() == KafkaError._PARTITION_EOF, "consume: %s" % message.error())
                open_parts.discard(message.partition())
                continue
            found.append(message)
        consumer.close()
        return found

    def committed(self, group, topic):
        """{partition: offset} of what the group has committed."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            asked = [TopicPartition(topic, part) for part in range(self.partitions(topic))]
            return {part.partition: part.offset for part in
                    settled(lambda: consumer.committed(asked, timeout=20)) if part.offset >= 0}
        finally:
            consumer.close()

    def commit(self, group, topic, offsets):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "enable.auto.commit": False})
        try:
            consumer.commit(offsets=[TopicPartition(topic, part, at) for part, at in offsets.items()],
                            asynchronous=False)
        finally:
            consumer.close()

    def consume(self, group, topic, done, seconds=60):
        """Reads on as a member of a group until done(records), commits and leaves."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "enable.auto.commit": False,
                             "auto.offset.reset": "earliest", "session.timeout.ms": 6000})
        consumer.subscribe([topic])
        found, end = [], time.monotonic() + seconds
        try:
            while not done(found):
                check(time.monotonic() < end, "%d records within %d s by group %s" % (len(found), seconds, group))
                message = consumer.poll(0.2)
                if message is not None:
                    check(not message.error(), "consume: %s" % message.error())
                    found.append(message)
            if found:
                consumer.commit(asynchronous=False)
        finally:
            consumer.close()
        return found
