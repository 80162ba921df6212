"""confluent-kafka (librdkafka) against a broker."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "common"))
import confluent_kafka as ck  # noqa: E402
from confluent_kafka import admin as cka  # noqa: E402
from harness import BASE_TIME, Got, Library, Member, arguments, check, equal, unique, wait  # noqa: E402


class Producer:
    def __init__(self, config):
        self.inner = ck.Producer(config)

    def send(self, topic, record, done):
        def report(error, message):
            done(error, None if error else message.offset())
        while True:
            try:
                self.inner.produce(topic, partition=record.partition, key=record.key, value=record.value,
                                   headers=list(record.headers), timestamp=record.timestamp, on_delivery=report)
                break
            except BufferError:
                self.inner.poll(0.1)
        self.inner.poll(0)

    def idle(self, seconds):
        self.inner.poll(seconds)

    def flush(self):
        left = self.inner.flush(120)
        check(left == 0, "%d records were not delivered within 120 s" % left)

    def close(self):
        pass


def got(message):
    if message.error():
        raise ck.KafkaException(message.error())
    return Got(message.partition(), message.offset(), message.timestamp()[1], message.key(), message.value(),
               tuple(message.headers() or ()))


class Reader:
    def __init__(self, bootstrap, topic, partitions):
        self.inner = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": unique("reader"),
                                  "enable.auto.commit": False, "auto.offset.reset": "error"})
        self.inner.assign([ck.TopicPartition(topic, index, 0) for index in range(partitions)])

    def poll(self, seconds):
        return [got(message) for message in self.inner.consume(500, seconds)]

    def close(self):
        self.inner.close()


class GroupMember(Member):
    bootstrap = None

    def open(self):
        config = {"bootstrap.servers": self.bootstrap, "group.id": self.group, "enable.auto.commit": False,
                  "auto.offset.reset": "earliest", "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000,
                  "partition.assignment.strategy": self.strategy}
        if self.instance:
            config["group.instance.id"] = self.instance
        self.inner = ck.Consumer(config)
        self.committed_at = time.monotonic()
        self.inner.subscribe([self.topic], on_assign=lambda _, parts: self.on_assign([p.partition for p in parts]),
                             on_revoke=self.revoked, on_lost=self.lost)

    def revoked(self, _, parts):
        self.commit()
        self.on_revoke([p.partition for p in parts])

    def lost(self, _, parts):
        self.on_revoke([p.partition for p in parts])

    def poll(self):
        messages = [got(message) for message in self.inner.consume(200, 0.1)
                    if not (message.error() and message.error().code() == ck.KafkaError._MAX_POLL_EXCEEDED)]
        if time.monotonic() - self.committed_at > 1:
            self.commit(True)
        return messages

    def commit(self, later=False):
        self.committed_at = time.monotonic()
        try:
            self.inner.commit(asynchronous=later)
        except ck.KafkaException as error:
            # Nothing new to commit, or the coordinator is being restarted.
            if error.args[0].code() != ck.KafkaError._NO_OFFSET:
                print("commit: %s" % error, flush=True)

    def shut(self):
        self.commit()
        self.inner.close()


class Confluent(Library):
    name = "confluent"
    script = __file__

    def __init__(self, options):
        super().__init__(options)
        GroupMember.bootstrap = self.bootstrap
        self.admin = cka.AdminClient({"bootstrap.servers": self.bootstrap})

    def create_topic(self, name, partitions):
        for future in self.admin.create_topics([cka.NewTopic(name, partitions, 1)]).values():
            future.result(30)
        wait(lambda: self.leaders(name) == partitions, 15, "leaders of " + name)

    def leaders(self, name):
        topic = self.admin.list_topics(name, timeout=10).topics[name]
        return sum(1 for partition in topic.partitions.values() if partition.leader >= 0)

    def producer(self, codec, acks, idempotent, restart=False):
        config = {"bootstrap.servers": self.bootstrap, "compression.type": codec, "message.max.bytes": 4000000}
        if acks is not None:
            config["acks"] = acks
        if idempotent:
            config["enable.idempotence"] = True
        return Producer(config)

    def reader(self, topic, partitions):
        return Reader(self.bootstrap, topic, partitions)

    def member(self, topic, group, strategy="range", instance=None):
        return GroupMember(topic, group, strategy, instance)

    def with_consumer(self, group, action):
        consumer = ck.Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "enable.auto.commit": False})
        try:
            return action(consumer)
        finally:
            consumer.close()

    def commit(self, group, topic, offsets):
        wanted = [ck.TopicPartition(topic, index, offset) for index, offset in offsets.items()]
        done = self.with_consumer(group, lambda consumer: consumer.commit(offsets=wanted, asynchronous=False))
        check(not any(part.error for part in done), "commit: %s" % done)

    def committed(self, group, topic, partitions):
        asked = [ck.TopicPartition(topic, index) for index in range(partitions)]
        parts = self.with_consumer(group, lambda consumer: consumer.committed(asked, timeout=30))
        return {part.partition: part.offset for part in parts}

    def restart_cases(self):
        self.suite.case("restart/default", self.case_restart, False)
        self.suite.case("restart/idempotent", self.case_restart, True)

    # Admin.

    def admin_cases(self):
        self.suite.case("admin/cluster", self.case_cluster)
        self.suite.case("admin/topics", self.case_topics)
        self.suite.case("admin/offsets", self.case_offsets)
        self.suite.case("admin/groups", self.case_groups)

    def case_cluster(self):
        cluster = self.admin.describe_cluster().result(30)
        check(cluster.cluster_id, "no cluster id")
        addresses = ["%s:%d" % (node.host, node.port) for node in cluster.nodes]
        check(self.bootstrap in addresses, "the broker is not among %s" % addresses)
        check(cluster.controller is not None, "no controller")

    def case_topics(self):
        name = self.topic("admin", 3)
        check(name in self.admin.list_topics(timeout=10).topics, "the topic is not listed")
        described = self.admin.describe_topics(ck.TopicCollection([name]))[name].result(30)
        equal(len(described.partitions), 3, "partitions described")
        check(str(described.topic_id) not in ("", "AAAAAAAAAAAAAAAAAAAAAA"), "the topic has no id")
        resource = cka.ConfigResource(cka.ConfigResource.Type.TOPIC, name)
        configs = self.admin.describe_configs([resource])[resource].result(30)
        for key in ("cleanup.policy", "retention.ms", "max.message.bytes"):
            check(key in configs, "no config " + key)
        change = cka.ConfigResource(cka.ConfigResource.Type.TOPIC, name, incremental_configs=[
            cka.ConfigEntry("retention.ms", "86400000", incremental_operation=cka.AlterConfigOpType.SET)])
        self.admin.incremental_alter_configs([change])[change].result(30)
        wait(lambda: self.admin.describe_configs([resource])[resource].result(30)["retention.ms"].value == "86400000",
             10, "the changed config")
        self.admin.create_partitions([cka.NewPartitions(name, 5)])[name].result(30)
        wait(lambda: self.leaders(name) == 5, 15, "five partitions")
        self.expect_error(self.admin.create_topics([cka.NewTopic(name, 3, 1)])[name],
                          ck.KafkaError.TOPIC_ALREADY_EXISTS)
        self.expect_error(self.admin.create_partitions([cka.NewPartitions(name, 2)])[name],
                          ck.KafkaError.INVALID_PARTITIONS)
        self.admin.delete_topics([name])[name].result(30)
        wait(lambda: name not in self.admin.list_topics(timeout=10).topics, 15, "the topic is still listed")
        self.expect_error(self.admin.delete_topics(["no-such-topic"])["no-such-topic"],
                          ck.KafkaError.UNKNOWN_TOPIC_OR_PART)

    def expect_error(self, future, code):
        try:
            future.result(30)
        except ck.KafkaException as error:
            equal(error.args[0].code(), code, "error code (%s)" % error)
        else:
            raise AssertionError("no error, wanted code %d" % code)

    def case_offsets(self):
        topic = self.topic("offsets", 3)
        self.numbers(topic, 0, 90, 3)
        parts = [ck.TopicPartition(topic, index) for index in range(3)]

        def ask(spec):
            return [self.admin.list_offsets({part: spec})[part].result(30).offset for part in parts]
        equal(ask(cka.OffsetSpec.earliest()), [0, 0, 0], "earliest")
        equal(ask(cka.OffsetSpec.latest()), [30, 30, 30], "latest")
        equal(ask(cka.OffsetSpec.max_timestamp()), [29, 29, 29], "max timestamp")
        # Record n has timestamp base + n and lies in partition n % 3 at offset n / 3.
        equal(ask(cka.OffsetSpec.for_timestamp(BASE_TIME + 31)), [11, 10, 10], "by timestamp")
        equal(ask(cka.OffsetSpec.for_timestamp(BASE_TIME + 10**9)), [-1, -1, -1], "by a timestamp after the end")
        deleted = self.admin.delete_records([ck.TopicPartition(topic, 0, 7)])
        for future in deleted.values():
            equal(future.result(30).low_watermark, 7, "low watermark after deletion")
        equal(ask(cka.OffsetSpec.earliest()), [7, 0, 0], "earliest after deletion")

    def case_groups(self):
        topic, group = self.topic("groups", 3), unique("group")
        self.numbers(topic, 0, 30, 3)
        member, = self.start_members(1, topic, group, 3)
        wait(lambda: len(member.records) == 30, 20, "30 records")
        listed = {entry.group_id: entry for entry in self.admin.list_consumer_groups().result(30).valid}
        check(group in listed, "the group is not listed")
        described = self.admin.describe_consumer_groups([group])[group].result(30)
        equal(described.state, ck.ConsumerGroupState.STABLE, "group state")
        equal(len(described.members), 1, "members")
        equal(sorted(part.partition for part in described.members[0].assignment.topic_partitions), [0, 1, 2],
              "assignment described")
        self.expect_error(self.admin.delete_consumer_groups([group])[group],
                          ck.KafkaError.NON_EMPTY_GROUP)
        member.close()
        ask = ck.ConsumerGroupTopicPartitions(group, [ck.TopicPartition(topic, index) for index in range(3)])

        def offsets():
            done = self.admin.list_consumer_group_offsets([ask])[group].result(30)
            return [part.offset for part in done.topic_partitions]
        equal(offsets(), [10, 10, 10], "offsets of the group")
        change = ck.ConsumerGroupTopicPartitions(group, [ck.TopicPartition(topic, 1, 4)])
        self.admin.alter_consumer_group_offsets([change])[group].result(30)
        equal(offsets(), [10, 4, 10], "changed offsets of the group")
        equal(self.admin.describe_consumer_groups([group])[group].result(30).state, ck.ConsumerGroupState.EMPTY,
              "state of the closed group")
        self.admin.delete_consumer_groups([group])[group].result(30)
        check(group not in {entry.group_id for entry in self.admin.list_consumer_groups().result(30).valid},
              "the deleted group is still listed")
        self.expect_error(self.admin.delete_consumer_groups([group])[group],
                          ck.KafkaError.GROUP_ID_NOT_FOUND)


def main():
    options = arguments(extra=lambda parser: parser.add_argument("--member", nargs=2))
    if options.member:
        GroupMember.bootstrap = options.bootstrap
        GroupMember(*options.member).run()
        return
    print("librdkafka %s, confluent-kafka %s" % (ck.libversion()[0], ck.version()))
    Confluent(options).run()


main()
