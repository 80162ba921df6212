"""MirrorMaker 2 between Apache Kafka (PEER) and the broker under test: topics, configs and offsets of groups, one way
under the same names, and both ways."""

import os
import re
import struct
import subprocess
import time
from pathlib import Path

from programs import Cluster, NewPartitions, Producer, Program
from harness import Suite, arguments, check, equal, restart_broker, unique, wait

MAIN = "org.apache.kafka.connect.mirror.MirrorMaker"
PARTITIONS = 3
HEADERS = [("trace", b"abc"), ("none", None), ("bytes", bytes(range(256)))]


PAGE = Path(__file__).resolve().parents[3] / "docs" / "migration.md"


def blocks(language):
    """The code blocks of docs/migration.md in a language, by the heading above them."""
    found = {}
    for part in re.split(r"^##+ ", PAGE.read_text(), flags=re.M)[1:]:
        texts = re.findall(r"^```%s\n(.*?)^```$" % language, part, re.M | re.S)
        if texts:
            found[part.splitlines()[0].lower()] = texts
    return found


def settings(kafka, ours, way, topics):
    """The configuration that docs/migration.md shows, with the addresses, short intervals and the topics of a case."""
    shown, named = blocks("properties"), {}
    for heading in ["mirrormaker 2: one way"] + (["mirrormaker 2: both ways"] if way == "both ways" else []):
        for line in shown[heading][0].splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.partition("=")
                named[name.strip()] = value.strip()
    for name in named:
        if name.endswith(".interval.seconds"):
            named[name] = 1
        if name.endswith("->kafscale.topics") or name.endswith("->kafka.topics"):
            named[name] = topics
    named.update({"kafka.bootstrap.servers": kafka, "kafscale.bootstrap.servers": ours})
    # The workers are found through groups: a session that is over soon lets the next worker begin soon.
    for cluster in ("kafka", "kafscale"):
        named.update({cluster + ".session.timeout.ms": 6000, cluster + ".heartbeat.interval.ms": 1000,
                      cluster + ".offset.flush.interval.ms": 1000, cluster + ".scheduled.rebalance.max.delay.ms": 0})
    return named


def numbered(topic, first, count):
    return [(topic, number % PARTITIONS, b"key%d" % (number % 50) if number % 5 else None,
             b"value %d" % number if number % 7 else None, HEADERS[:number % 4] + [("number", b"%d" % number)])
            for number in range(first, first + count)]


def number_of(message):
    return int(dict(message.headers())["number"])


def shown(messages):
    """Everything of a record that has to come over, in order by partition. The offset need not: transactions and
    compaction leave gaps in Kafka's log."""
    return [(message.partition(), message.timestamp(), message.key(), message.value(), message.headers())
            for message in sorted(messages, key=lambda message: (message.partition(), message.offset()))]


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

    def outcomes(self, part, offset, begin=0):
        """All offsets that a committed offset may become where MirrorMaker reads pairs from this one on."""
        pairs = self.pairs[part][begin:]
        found, kept = set(), pairs[:1] * 64
        for pair in pairs:
            kept[0] = pair
            for bucket in range(1, 64):
                if (kept[bucket][0] ^ pair[0]) >> bucket == 0:
                    break
                kept[bucket] = pair
            below = next((held for held in kept if held[0] <= offset), None)
            if below:
                found.add(below[1] + (0 if below[0] == offset else 1))
        return found

    def allows(self, part, offset, became):
        """Whether an offset may have become another. Where MirrorMaker began to read is not known."""
        return any(became in self.outcomes(part, offset, begin) for begin in range(len(self.pairs[part])))


class Mirror:
    def __init__(self, options):
        self.options, self.suite = options, Suite(options)
        self.kafka, self.ours = Cluster(os.environ["PEER"]), Cluster(options.bootstrap)
        self.count = 600 if options.quick else 6000

    def mirror(self, way, topics):
        return Program("mirror", MAIN, properties=settings(self.kafka.bootstrap, self.ours.bootstrap, way, topics))

    def arrived(self, program, target, topic, wanted):
        def ends():
            program.alive()
            return topic in target.topics() and target.partitions(topic) and sum(target.ends(topic).values())
        wait(lambda: (ends() or 0) >= wanted, 90, lambda: "%s of %d records of %s" % (ends(), wanted, topic))

    def translated(self, program, source, target, group, topic, there):
        """The group's offsets have come over, and each is one that it may be taken for."""
        at = source.committed(group, topic)
        wait(lambda: program.alive() and set(target.committed(group, there)) == set(at), 60,
             lambda: "offsets of %s: %s there, %s here" % (group, target.committed(group, there), at))

        def rest():
            """{partition: (offset, what it became, what it should)} that is not as it may be."""
            translation, found = Translation(source, topic), target.committed(group, there)
            return {part: (offset, found[part], sorted(translation.outcomes(part, offset))) for part, offset in
                    at.items() if not translation.allows(part, offset, found[part])}
        wait(lambda: program.alive() and not rest(), 20, lambda: "offsets of %s: %s" % (group, rest()))
        return at, target.committed(group, there)

    def caught_up(self, program, source, target, topic, there):
        """A group that has read everything has nothing to read at the target, and what comes then is what it reads."""
        group = unique("quick")
        source.commit(group, topic, source.ends(topic))
        wait(lambda: program.alive() and target.committed(group, there) == target.ends(there), 60,
             lambda: "a group at the end became %s, the end is %s" % (target.committed(group, there),
                                                                      target.ends(there)))

    def behind(self, program, source, target, topic, there, first):
        """A group that stopped at half of what was sent after the offsets first reads on at the target: it loses
        nothing, and reads again what lies between the translation and its offset."""
        group, ends = unique("slow"), source.ends(topic)
        source.commit(group, topic, {part: (first[part] + end) // 2 for part, end in ends.items()})
        at, found = self.translated(program, source, target, group, topic, there)
        wanted = sum(target.ends(there).values()) - sum(found.values())
        got = target.consume(group, there, lambda records: len(records) >= wanted)
        equal(len(got), wanted, "records that the group reads at the target")
        rest = {number_of(message) for message in source.read(topic, at)}
        check(rest <= {number_of(message) for message in got}, "the group lost records")
        print("group %s: %s became %s, %d records again" % (group, at, found, len(got) - len(rest)), flush=True)

    def flow(self, program, source, target, events, table, prefix=""):
        """What was there and what comes arrives, with configs and the offsets of groups."""
        self.arrived(program, target, prefix + events, self.count)
        self.arrived(program, target, prefix + table, 100)
        self.configs(target, prefix + events, prefix + table)
        # From here on MirrorMaker translates: it does not know pairs of offsets from before it began.
        self.caught_up(program, source, target, events, prefix + events)
        first = source.ends(events)
        source.send(numbered(events, self.count, self.count))
        self.arrived(program, target, prefix + events, 2 * self.count)
        self.compare(source, target, events, prefix + events)
        self.compare(source, target, table, prefix + table)
        self.behind(program, source, target, events, prefix + events, first)
        self.caught_up(program, source, target, events, prefix + events)

    def topics(self, source, prefix):
        """A topic with everything, and a compacted one."""
        events, table = unique(prefix + "-events"), unique(prefix + "-table")
        source.create(events, PARTITIONS, retention_ms=7200000, max_message_bytes=2000000,
                      # Which we refuse, and which the configuration leaves out.
                      compression_type="lz4" if source is self.kafka else "producer")
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

    def transactions(self, topic):
        """Kafka's side only: an aborted transaction, which must not come over, and a committed one, which must."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "transactional.id": unique("transaction")})
        producer.init_transactions(30)
        for first, end in ((-30, producer.abort_transaction), (self.count, producer.commit_transaction)):
            producer.begin_transaction()
            for _, part, key, value, headers in numbered(topic, first, 30):
                producer.produce(topic, value, key, partition=part, headers=headers)
            producer.flush(30)
            end(30)

    def case_migrate(self):
        """One way, under the same names: a copy, offsets included, and the groups read on here."""
        events, table = self.topics(self.kafka, "migrate")
        self.transactions(events)
        self.count += 30
        try:
            with self.mirror("one way", "migrate-.*") as program:
                self.flow(program, self.kafka, self.ours, events, table)
                program.close()
        finally:
            self.count -= 30

    def case_both(self):
        """Both ways, under names with the source in front; nothing goes round."""
        from_kafka, kafka_table = self.topics(self.kafka, "both")
        from_ours, our_table = self.topics(self.ours, "both")
        with self.mirror("both ways", "both-.*") as program:
            self.flow(program, self.kafka, self.ours, from_kafka, kafka_table, "kafka.")
            self.flow(program, self.ours, self.kafka, from_ours, our_table, "kafscale.")
            for source, target, events, prefix in ((self.kafka, self.ours, from_kafka, "kafka."),
                                                   (self.ours, self.kafka, from_ours, "kafscale.")):
                source.admin.create_partitions([NewPartitions(events, PARTITIONS + 1)])[events].result(30)
                source.send([(events, PARTITIONS, b"key", b"value", None)])
                self.arrived(program, target, prefix + events, 2 * self.count + 1)
                equal(target.ends(prefix + events)[PARTITIONS], 1, "records of the new partition of " + events)
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
        with self.mirror("both ways", "restarts-.*") as program:
            send(0)
            complete(program, 1000)
            send(1000)
        with self.mirror("both ways", "restarts-.*") as program:
            send(2000)
            complete(program, 3000)
            restart_broker()
            send(3000)
            complete(program, 4000)
            program.close()
        for target, topic in ((self.ours, "kafka." + there), (self.kafka, "kafscale." + back)):
            print("%s: %d records twice" % (topic, sum(target.ends(topic).values()) - 4000), flush=True)

    # What docs/migration.md shows besides.

    def shell(self, text, **more):
        place = Path(os.environ["KAFSCALE"]).parent
        env = dict(os.environ, OLD=self.kafka.bootstrap, NEW=self.ours.bootstrap, PATH="%s:%s" % (
            place, os.environ["PATH"]), **more)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False)
        check(done.returncode == 0, "exit %d of %s: %s" % (done.returncode, text, done.stderr.decode()[-500:]))
        return done.stdout.decode()

    @staticmethod
    def plain(messages):
        return [(message.partition(), message.key(), message.value()) for message in
                sorted(messages, key=lambda message: (message.partition(), message.offset()))]

    def case_dual(self):
        """As written: a producer and a shell that write to both; and consumers that begin here at a time."""
        self.kafka.create("orders", PARTITIONS)
        self.ours.create("orders", PARTITIONS)
        results = []
        # Before the records are written, and less than the margin.
        since = int(time.time() * 1000) - 100
        exec(blocks("python")["dual write"][0], {"OLD": self.kafka.bootstrap, "NEW": self.ours.bootstrap,  # noqa: S102
                                                 "results": results})
        equal(results, [[None, None]] * 1000, "answers")
        equal(self.plain(self.ours.read("orders")), self.plain(self.kafka.read("orders")), "orders")
        self.kafka.create("events", PARTITIONS)
        self.shell(blocks("sh")["dual write"][0])
        equal(self.plain(self.ours.read("events")), self.plain(self.kafka.read("events")), "events")
        equal(len(self.ours.read("events")), 1000, "events")
        self.ours.commit("billing", "orders", {part: end for part, end in self.ours.ends("orders").items() if end})
        read = self.shell(blocks("sh")["copy and replay"][2], SINCE=str(since))
        equal(sorted(line for line in read.splitlines() if line.startswith("order ")),
              sorted("order %d" % number for number in range(1000)), "the replay")

    def case_copy(self):
        for topic in ("history", "history-kcat"):
            self.kafka.create(topic, PARTITIONS)
            self.kafka.send([(topic, number % PARTITIONS, b"key %d" % (number % 50) if number % 3 else b"",
                              None if topic == "history" and number % 10 == 0 else b"value: %d" % number, None)
                             for number in range(300)])
        for topic, text in zip(("history", "history-kcat"), blocks("sh")["copy and replay"]):
            self.shell(text)
            equal(self.plain(self.ours.read(topic)), self.plain(self.kafka.read(topic)), topic)

    def main(self):
        self.suite.case("mirror/migrate", self.case_migrate)
        if not self.options.quick:
            self.suite.case("mirror/both-ways", self.case_both)
            self.suite.case("mirror/restarts", self.case_restarts)
        if os.environ.get("KAFSCALE"):
            self.suite.case("migration/dual-write", self.case_dual)
            self.suite.case("migration/copy", self.case_copy)
        self.suite.end()


if __name__ == "__main__":
    Mirror(arguments()).main()
