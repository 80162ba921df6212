"""kafka-python against a broker."""

import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "common"))
import kafka  # noqa: E402
from harness import BASE_TIME, Got, Library, Member, arguments, check, equal, unique, wait  # noqa: E402
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, OffsetSpec  # noqa: E402
from kafka import ConsumerRebalanceListener, TopicPartition, errors  # noqa: E402
from kafka.admin import ConfigResource, ConfigResourceType  # noqa: E402
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor  # noqa: E402
from kafka.coordinator.assignors.range import RangePartitionAssignor  # noqa: E402


class Producer:
    def __init__(self, **config):
        self.inner = KafkaProducer(max_request_size=4000000, **config)

    def send(self, topic, record, done):
        future = self.inner.send(topic, record.value, record.key, list(record.headers), record.partition,
                                 record.timestamp)
        future.add_callback(lambda meta: done(None, meta.offset if meta.offset >= 0 else None))
        future.add_errback(lambda error: done(error, None))

    def idle(self, seconds):
        time.sleep(seconds)

    def flush(self):
        self.inner.flush(120)

    def close(self):
        self.inner.close()


def got(record):
    return Got(record.partition, record.offset, record.timestamp, record.key, record.value, tuple(record.headers))


class Reader:
    def __init__(self, bootstrap, topic, partitions):
        self.inner = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="none", enable_auto_commit=False)
        parts = [TopicPartition(topic, index) for index in range(partitions)]
        self.inner.assign(parts)
        for part in parts:
            self.inner.seek(part, 0)

    def poll(self, seconds):
        return [got(record) for records in self.inner.poll(int(seconds * 1000)).values() for record in records]

    def close(self):
        self.inner.close()


class GroupMember(Member, ConsumerRebalanceListener):
    bootstrap = None

    def open(self):
        assignor = CooperativeStickyAssignor if self.strategy == "cooperative-sticky" else RangePartitionAssignor
        self.inner = KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.group, auto_commit_interval_ms=1000,
                                   auto_offset_reset="earliest", session_timeout_ms=6000, heartbeat_interval_ms=1000,
                                   partition_assignment_strategy=(assignor,), group_instance_id=self.instance)
        self.inner.subscribe([self.topic], listener=self)

    def on_partitions_assigned(self, parts):
        self.on_assign([part.partition for part in parts])

    # The client commits by itself before a rebalance and on close: a listener must not block.
    def on_partitions_revoked(self, parts):
        self.on_revoke([part.partition for part in parts])

    def on_partitions_lost(self, parts):
        self.on_revoke([part.partition for part in parts])

    def poll(self):
        return [got(record) for held in self.inner.poll(100).values() for record in held]

    def shut(self):
        self.inner.close()


class FetchLog(logging.Handler):
    """Counts what the client logs about its fetch sessions."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.incremental = 0

    def emit(self, record):
        self.incremental += str(record.msg).startswith("Node %s sent an incremental fetch response for session")


class KafkaPython(Library):
    name = "kafka_python"
    script = __file__
    nulls = False

    def __init__(self, options):
        super().__init__(options)
        GroupMember.bootstrap = self.bootstrap
        self.restarted()

    def restarted(self):
        # The old admin client waits out its backoff after a restart.
        self.admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)

    def create_topic(self, name, partitions):
        self.admin.create_topics({name: {"num_partitions": partitions, "replication_factor": 1}},
                                 wait_for_metadata=True)

    def producer(self, codec, acks, idempotent, restart=False):
        if restart:
            # As it comes: idempotence is on by default.
            return Producer(bootstrap_servers=self.bootstrap)
        return Producer(bootstrap_servers=self.bootstrap, compression_type=None if codec == "none" else codec,
                        acks=acks if acks == "all" else int(acks), enable_idempotence=idempotent)

    def reader(self, topic, partitions):
        return Reader(self.bootstrap, topic, partitions)

    def member(self, topic, group, strategy="range", instance=None):
        return GroupMember(topic, group, strategy, instance)

    def commit(self, group, topic, offsets):
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False)
        parts = {TopicPartition(topic, index): OffsetAndMetadata(offset, "noted", -1)
                 for index, offset in offsets.items()}
        consumer.assign(list(parts))
        consumer.commit(parts)
        consumer.close()

    def committed(self, group, topic, partitions):
        # This client does not try again by itself while the coordinator of a restarted broker loads.
        for attempt in range(100):
            try:
                asked = [TopicPartition(topic, index) for index in range(partitions)]
                found = self.admin.list_group_offsets({group: asked})
                break
            except (errors.NotCoordinatorError, errors.CoordinatorLoadInProgressError,
                    errors.CoordinatorNotAvailableError):
                if attempt == 99:
                    raise
                time.sleep(0.1)
        return {part.partition: held.offset for part, held in found[group].items()}

    def run(self):
        self.suite.case("fetch-session", self.case_fetch_session)
        super().run()

    def case_fetch_session(self):
        log = logging.getLogger("kafka.consumer.fetcher")
        handler, level = FetchLog(), log.level
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        try:
            topic = self.topic("session", 20)
            reader = Reader(self.bootstrap, topic, 20)
            seen = 0
            for round_ in range(5):
                # Each round writes to four other partitions: the session must report just those.
                producer = self.producer("none", "all", False)
                for index in range(4):
                    for _ in range(5):
                        producer.inner.send(topic, b"x", partition=round_ * 4 + index)
                producer.flush()
                producer.close()
                found = []
                end = time.monotonic() + 20
                while len(found) < 20 and time.monotonic() < end:
                    found += reader.poll(0.2)
                equal(sorted({got.partition for got in found}), list(range(round_ * 4, round_ * 4 + 4)), "partitions")
                equal(len(found), 20, "records of round %d" % round_)
                seen += len(found)
            reader.close()
            check(handler.incremental >= 4, "%d incremental fetch responses" % handler.incremental)
        finally:
            log.setLevel(level)
            log.removeHandler(handler)

    def admin_cases(self):
        self.suite.case("admin/cluster", self.case_cluster)
        self.suite.case("admin/topics", self.case_topics)
        self.suite.case("admin/offsets", self.case_offsets)
        self.suite.case("admin/groups", self.case_groups)

    def case_cluster(self):
        cluster = self.admin.describe_cluster()
        check(cluster["cluster_id"], "no cluster id")
        nodes = ["%s:%d" % (node["host"], node["port"]) for node in cluster["brokers"]]
        check(self.bootstrap in nodes, "the broker is not among %s" % nodes)
        check(self.admin.api_versions(), "no API versions")

    def expect_error(self, kind, action, *args):
        try:
            action(*args)
        except kind:
            return
        raise AssertionError("no %s" % kind.__name__)

    def case_topics(self):
        name = self.topic("admin", 3)
        check(name in self.admin.list_topics(), "the topic is not listed")
        equal(len(self.admin.describe_topics([name])[0]["partitions"]), 3, "partitions described")

        def config():
            asked = ConfigResource(ConfigResourceType.TOPIC, name)
            answer = self.admin.describe_configs([asked], config_filter="all")
            return next(iter(answer.values()))[name]
        for key in ("cleanup.policy", "retention.ms", "max.message.bytes"):
            check(key in config(), "no config " + key)
        self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "86400000"})])
        wait(lambda: str(config()["retention.ms"]["value"]) == "86400000", 10, "the changed config")
        self.admin.create_partitions({name: 5})
        wait(lambda: len(self.admin.describe_topics([name])[0]["partitions"]) == 5, 15, "five partitions")
        self.expect_error(errors.TopicAlreadyExistsError, self.create_topic, name, 3)
        self.expect_error(errors.InvalidPartitionsError, self.admin.create_partitions, {name: 2})
        self.admin.delete_topics([name])
        wait(lambda: name not in self.admin.list_topics(), 15, "the topic is still listed")
        self.expect_error(errors.UnknownTopicOrPartitionError, self.admin.delete_topics, [unique("none")])

    def case_offsets(self):
        topic = self.topic("offsets", 3)
        self.numbers(topic, 0, 90, 3)
        parts = [TopicPartition(topic, index) for index in range(3)]

        def ask(spec):
            found = self.admin.list_partition_offsets({part: spec for part in parts})
            return [found[part].offset for part in parts]
        equal(ask(OffsetSpec.EARLIEST), [0, 0, 0], "earliest")
        equal(ask(OffsetSpec.LATEST), [30, 30, 30], "latest")
        equal(ask(OffsetSpec.MAX_TIMESTAMP), [29, 29, 29], "max timestamp")
        equal(ask(BASE_TIME + 31), [11, 10, 10], "by timestamp")
        self.admin.delete_records({parts[0]: 7})
        equal(ask(OffsetSpec.EARLIEST), [7, 0, 0], "earliest after deletion")
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap)
        equal(consumer.end_offsets(parts), {part: 30 for part in parts}, "end offsets of the consumer")
        found = consumer.offsets_for_times({parts[1]: BASE_TIME + 31, parts[2]: BASE_TIME + 10**9})
        equal(found[parts[1]].offset, 10, "offset for a time")
        equal(found[parts[2]], None, "offset for a time after the end")
        consumer.close()

    def case_groups(self):
        topic, group = self.topic("groups", 3), unique("group")
        self.numbers(topic, 0, 30, 3)
        member, = self.start_members(1, topic, group, 3)
        wait(lambda: len(member.records) == 30, 20, "30 records")

        def listed():
            return {entry["group_id"] for entry in self.admin.list_groups()}

        def described():
            return self.admin.describe_groups([group])[group]
        check(group in listed(), "the group is not listed")
        equal(described()["group_state"], "Stable", "group state")
        equal(len(described()["members"]), 1, "members")
        refused = self.admin.delete_groups([group])
        check("NonEmptyGroup" in repr(refused), "deletion of a live group gave %s" % refused)
        member.close()
        equal(self.committed(group, topic, 3), {0: 10, 1: 10, 2: 10}, "offsets of the group")
        self.admin.alter_group_offsets(group, {TopicPartition(topic, 1): OffsetAndMetadata(4, "", -1)})
        equal(self.committed(group, topic, 3), {0: 10, 1: 4, 2: 10}, "changed offsets of the group")
        equal(described()["group_state"], "Empty", "state of the closed group")
        self.admin.delete_groups([group])
        check(group not in listed(), "the deleted group is still listed")


def main():
    options = arguments(extra=lambda parser: parser.add_argument("--member", nargs=2))
    if options.member:
        GroupMember.bootstrap = options.bootstrap
        GroupMember(*options.member).run()
        return
    print("kafka-python %s" % kafka.__version__)
    KafkaPython(options).run()


main()
