"""MirrorMaker 2 between Apache Kafka (PEER) and the broker under test: topics, configs and offsets of groups, one way
under the same names, and both ways."""

import os
import struct

from programs import Cluster, Program
from harness import Suite, arguments, check, equal, restart_broker, unique, wait

MAIN = "org.apache.kafka.connect.mirror.MirrorMaker"
PARTITIONS = 3
HEADERS = [("trace", b"abc"), ("none", None), ("bytes", bytes(range(256)))]


def settings(kafka, ours, **more):
    """What docs/migration.md shows, with short intervals."""
    named = {
        "clusters": "kafka,kafscale",
        "kafka.bootstrap.servers": kafka, "kafscale.bootstrap.servers": ours,
        "replication.factor": 1,
        "sync.topic.acls.enabled": "false",
        "sync.group.offsets.enabled": "true",
        "offset.lag.max": 0,
        "refresh.topics.interval.seconds": 1, "refresh.groups.interval.seconds": 1,
        "sync.topic.configs.interval.seconds": 1, "sync.group.offsets.interval.seconds": 1,
        "emit.checkpoints.interval.seconds": 1,
    }
    # Topics of MirrorMaker's own have one replica on a Kafka of one broker.
    for topic in ("checkpoints.topic", "heartbeats.topic", "offset-syncs.topic", "offset.storage", "status.storage",
                  "config.storage"):
        named[topic + ".replication.factor"] = 1
    # The workers are found through groups: a session that is over soon lets the next worker begin soon.
    for cluster in ("kafka", "kafscale"):
        named.update({cluster + ".session.timeout.ms": 6000, cluster + ".heartbeat.interval.ms": 1000,
                      cluster + ".offset.storage.partitions": 1, cluster + ".status.storage.partitions": 1,
                      cluster + ".offset.flush.interval.ms": 1000,
                      cluster + ".scheduled.rebalance.max.delay.ms": 0})
    named.update({name.replace("__", "->"): value for name, value in more.items()})
    return named


def numbered(topic, first, count):
    return [(topic, number % PARTITIONS, b"key%d" % (number % 50) if number % 5 else None,
             b"value %d" % number if number % 7 else None, HEADERS[:number % 4] + [("number", b"%d" % number)])
            for number in range(first, first + count)]


def number_of(message):
    return int(dict(message.headers())["number"])


def shown(messages):
    """Everything of a record that has to come over, in order by partition."""
    return sorted((message.partition(), message.offset(), message.timestamp(), message.key(), message.value(),
                   message.headers()) for message in messages)


class Translation:
    """What MirrorMaker may take a group's offset for, from the pairs of offsets (source, target) that it wrote itself:
    the 64 pairs that it keeps of a partition, each time before and after another one came, and the best one below."""

    def __init__(self, source, topic):
        self.pairs = {part: [] for part in range(PARTITIONS)}
        name, = [name for name in source.topics() if name.startswith("mm2-offset-syncs.")]
        for message in source.read(name):
            length, = struct.unpack_from(">h", message.key())
            part, = struct.unpack_from(">i", message.key(), 2 + length)
            if message.key()[2:2 + length].decode() == topic:
                self.pairs[part].append(struct.unpack(">qq", message.value()))

    def allowed(self, part, offset):
        """All offsets that a committed offset may be translated to."""
        found, kept = set(), None
        for pair in self.pairs[part]:
            if kept is None:
                kept = [pair] * 64
            kept[0] = pair
            for bucket in range(1, 64):
                if (kept[bucket][0] ^ pair[0]) >> bucket == 0:
                    break
                kept[bucket] = pair
            below = next((held for held in kept if held[0] <= offset), None)
            if below:
                found.add(below[1] + (0 if below[0] == offset else 1))
        return found


class Mirror:
    def __init__(self, options):
        self.options, self.suite = options, Suite(options)
        self.kafka, self.ours = Cluster(os.environ["PEER"]), Cluster(options.bootstrap)
        self.count = 600 if options.quick else 6000

    def mirror(self, **more):
        return Program("mirror", MAIN, properties=settings(self.kafka.bootstrap, self.ours.bootstrap, **more))

    def arrived(self, program, target, topic, wanted):
        def ends():
            program.alive()
            return topic in target.topics() and target.partitions(topic) and sum(target.ends(topic).values())
        wait(lambda: (ends() or 0) >= wanted, 90, lambda: "%s of %d records of %s" % (ends(), wanted, topic))

    def switched(self, program, source, target, group, topic, there):
        """The group's offsets have come over; the group reads on at the target, loses nothing and reads again at
        most what the translation allows."""
        at = source.committed(group, topic)
        wait(lambda: program.alive() and set(target.committed(group, there)) == set(at), 60,
             lambda: "offsets of %s: %s there, %s here" % (group, target.committed(group, there), at))
        translation = Translation(source, topic)
        for part, offset in at.items():
            wait(lambda part=part, offset=offset: target.committed(group, there)[part] in
                 translation.allowed(part, offset), 20,
                 lambda part=part, offset=offset: "partition %d: %d became %d, allowed is %s" % (
                     part, offset, target.committed(group, there)[part], sorted(translation.allowed(part, offset))))
        found = target.committed(group, there)
        again = {part: at[part] - found[part] for part in at}
        check(all(count >= 0 for count in again.values()), "records would be lost: %s became %s" % (at, found))
        print("group %s: %s became %s, %d records again" % (group, at, found, sum(again.values())), flush=True)
        return at, found

    def read_on(self, program, source, target, group, topic, there, exact):
        at, found = self.switched(program, source, target, group, topic, there)
        if exact:
            wait(lambda: program.alive() and target.committed(group, there) == at, 30, lambda: "offsets of a group that "
                 "had read everything: %s became %s" % (at, target.committed(group, there)))
            return
        ends = source.ends(topic)
        wanted = sum(ends.values()) - sum(found.values())
        got = target.consume(group, there, lambda records: len(records) >= wanted)
        equal(len(got), wanted, "records that the group reads at the target")
        rest = {number_of(message) for message in source.read(topic, at)}
        check(rest <= {number_of(message) for message in got}, "the group lost records")

    def topics(self, source, prefix):
        """A topic with everything, and a compacted one."""
        events, table = unique(prefix + "-events"), unique(prefix + "-table")
        source.create(events, PARTITIONS, retention_ms=7200000, max_message_bytes=2000000)
        source.create(table, 1, cleanup_policy="compact", min_cleanable_dirty_ratio="0.3")
        source.send(numbered(events, 0, self.count))
        source.send([(table, 0, b"key%d" % (number % 10), b"%d" % number, None) for number in range(100)])
        return events, table

    def compare(self, source, target, topic, there):
        equal(shown(target.read(there)), shown(source.read(topic)), "records of " + there)

    def configs(self, target, events, table):
        wanted = {events: ("retention.ms", "7200000"), table: ("cleanup.policy", "compact")}
        for topic, (name, value) in wanted.items():
            wait(lambda topic=topic, name=name, value=value: target.config(topic)[name] == value, 30,
                 "%s of %s" % (name, topic))
        equal(target.partitions(events), PARTITIONS, "partitions of " + events)

    def case_migrate(self):
        """One way, under the same names: a copy, offsets included, and the groups read on here."""
        events, table = self.topics(self.kafka, "migrate")
        slow, quick = unique("slow"), unique("quick")
        names = {"kafka__kafscale.enabled": "true", "kafscale__kafka.enabled": "false",
                 "kafscale__kafka.emit.heartbeats.enabled": "false",
                 "kafka__kafscale.topics": "migrate-.*", "kafka__kafscale.groups": "slow-.*, quick-.*",
                 "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy"}
        with self.mirror(**names) as program:
            self.arrived(program, self.ours, events, self.count)
            self.arrived(program, self.ours, table, 100)
            self.configs(self.ours, events, table)
            # Groups read while the mirror runs: it translates what is committed after the pairs that it keeps.
            self.kafka.send(numbered(events, self.count, self.count))
            self.kafka.consume(slow, events, lambda records: len(records) >= self.count + self.count // 2)
            self.kafka.consume(quick, events, lambda records: len(records) >= 2 * self.count)
            self.arrived(program, self.ours, events, 2 * self.count)
            self.compare(self.kafka, self.ours, events, events)
            self.compare(self.kafka, self.ours, table, table)
            self.read_on(program, self.kafka, self.ours, slow, events, events, False)
            self.read_on(program, self.kafka, self.ours, quick, events, events, True)
            program.close()

    def case_both(self):
        """Both ways, under names with the source in front; more partitions; a group that moves back."""
        from_kafka, kafka_table = self.topics(self.kafka, "both")
        from_ours, our_table = self.topics(self.ours, "both")
        names = {"kafka__kafscale.enabled": "true", "kafscale__kafka.enabled": "true",
                 "kafka__kafscale.topics": "both-.*", "kafscale__kafka.topics": "both-.*",
                 "kafka__kafscale.groups": "billing-.*", "kafscale__kafka.groups": "billing-.*"}
        with self.mirror(**names) as program:
            for source, target, events, table, prefix in (
                    (self.kafka, self.ours, from_kafka, kafka_table, "kafka."),
                    (self.ours, self.kafka, from_ours, our_table, "kafscale.")):
                self.arrived(program, target, prefix + events, self.count)
                self.arrived(program, target, prefix + table, 100)
                self.configs(target, prefix + events, prefix + table)
                source.send(numbered(events, self.count, self.count))
                self.arrived(program, target, prefix + events, 2 * self.count)
                self.compare(source, target, events, prefix + events)
                self.compare(source, target, table, prefix + table)
                group = unique("billing")
                source.consume(group, events, lambda records: len(records) >= self.count + self.count // 2)
                self.read_on(program, source, target, group, events, prefix + events, False)
            made = {topic for cluster in (self.kafka, self.ours) for topic in cluster.topics()}
            check(not [topic for topic in made if topic.count("kafka.") + topic.count("kafscale.") > 1
                       and "both-" in topic], "topics went round: %s" % sorted(made))
            check("kafka.heartbeats" in self.ours.topics() and "kafscale.heartbeats" in self.kafka.topics(),
                  "no heartbeats: %s" % sorted(made))
            program.close()

    def case_restarts(self):
        """kill -9 of MirrorMaker and of the broker while records flow both ways: none is lost."""
        there, back = unique("restarts"), unique("restarts")
        self.kafka.create(there, PARTITIONS)
        self.ours.create(back, PARTITIONS)
        names = {"kafka__kafscale.enabled": "true", "kafscale__kafka.enabled": "true",
                 "kafka__kafscale.topics": "restarts-.*", "kafscale__kafka.topics": "restarts-.*"}

        def send(first):
            self.kafka.send(numbered(there, first, 1000))
            self.ours.send(numbered(back, first, 1000))

        def complete(program, count):
            for target, topic in ((self.ours, "kafka." + there), (self.kafka, "kafscale." + back)):
                def missing(target=target, topic=topic):
                    program.alive()
                    if topic not in target.topics():
                        return count
                    return count - len({number_of(message) for message in target.read(topic)})
                wait(lambda missing=missing: missing() == 0, 120,
                     lambda missing=missing: "%d records missing" % missing())
        with self.mirror(**names) as program:
            send(0)
            complete(program, 1000)
            send(1000)
        with self.mirror(**names) as program:
            send(2000)
            complete(program, 3000)
            restart_broker()
            send(3000)
            complete(program, 4000)
            program.close()
        for target, topic in ((self.ours, "kafka." + there), (self.kafka, "kafscale." + back)):
            print("%s: %d records twice" % (topic, sum(target.ends(topic).values()) - 4000), flush=True)

    def main(self):
        self.suite.case("mirror/migrate", self.case_migrate)
        self.suite.case("mirror/both-ways", self.case_both)
        if not self.options.quick:
            self.suite.case("mirror/restarts", self.case_restarts)
        self.suite.end()


if __name__ == "__main__":
    Mirror(arguments()).main()
