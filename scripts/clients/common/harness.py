"""What the Python suites share: cases, test records, waiting, restarting, and the cases that every library runs.

A suite prints `RUN case`, then `ok case 0.12s` or `FAIL case 0.12s: reason`, and ends with 1 if any failed.
"""

import argparse
import os
import random
import subprocess
import sys
import threading
import time
import traceback
from collections import namedtuple

Rec = namedtuple("Rec", "partition timestamp key value headers")
Got = namedtuple("Got", "partition offset timestamp key value headers")
MIB = 1 << 20
# Now, not a date in the past: a broker may delete what is older than its retention.
BASE_TIME = int(time.time()) * 1000


def arguments(argv=None, extra=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap", help="host:port of a broker")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", default="", help="only cases whose name contains this text")
    if extra:
        extra(parser)
    options = parser.parse_args(argv)
    return options


def unique(name):
    return "%s-%08x" % (name, random.SystemRandom().getrandbits(32))


def show(value):
    if isinstance(value, (bytes, str)) and len(value) > 60:
        return "%r... (%d long)" % (value[:40], len(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return "%s(%s)" % (type(value).__name__, ", ".join("%s=%s" % (k, show(v)) for k, v in value._asdict().items()))
    text = repr(value)
    return text if len(text) < 300 else text[:300] + "..."


def equal(found, wanted, what):
    if found != wanted:
        if isinstance(found, list) and isinstance(wanted, list) and len(found) + len(wanted) > 20:
            at = next((n for n, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted)))
            raise AssertionError("%s: %d found, %d wanted, the first difference at %d: found %s, wanted %s" % (
                what, len(found), len(wanted), at, show(found[at:at + 5]), show(wanted[at:at + 5])))
        raise AssertionError("%s: found %s, wanted %s" % (what, show(found), show(wanted)))


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def wait(condition, seconds, message):
    """Waits until condition() is true and returns what it gave."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (seconds, message() if callable(message) else message))
        time.sleep(0.02)


def restart_broker(pause=0.0):
    """Kills the broker with kill -9 and returns when it answers again."""
    command = os.environ.get("RESTART_CMD")
    check(command, "RESTART_CMD is not set: run this through scripts/run-clients")
    done = subprocess.run("%s --pause %s" % (command, pause), shell=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    check(done.returncode == 0, "restart: " + done.stdout.strip())
    print(done.stdout.strip(), flush=True)


class Suite:
    def __init__(self, options):
        self.options, self.failed, self.ran = options, 0, 0

    def case(self, name, function, *args, always=False):
        """Runs a case if its name is wanted; always=True for what the other cases need."""
        if self.options.case not in name and not always:
            return
        print("RUN " + name, flush=True)
        begun = time.monotonic()
        self.ran += 1
        try:
            function(*args)
        except BaseException as error:
            self.failed += 1
            traceback.print_exc()
            reason = " ".join(("%s: %s" % (type(error).__name__, error)).split())
            print("FAIL %s %.2fs: %s" % (name, time.monotonic() - begun, reason[:600]), flush=True)
            if not isinstance(error, Exception):
                raise
        else:
            print("ok %s %.2fs" % (name, time.monotonic() - begun), flush=True)

    def end(self):
        if not self.ran:
            print("no case matches", flush=True)
        # Not sys.exit: a thread of a failed case may still be polling.
        sys.stdout.flush()
        os._exit(1 if self.failed or not self.ran else 0)


HEADERS = [
    (),
    (("trace", b"abc"),),
    (("same", b""), ("same", None), ("bytes", bytes(range(256)))),
]


def test_records(tag, count=60, large=MIB, partitions=3, nulls=True):
    """Records that cover every shape: null, empty, small and large, text and bytes, with and without headers."""
    noise = random.Random(tag)
    records = []
    for index in range(count):
        key = [None, b"", ("key-%s-%d" % (tag, index)).encode(), bytes([0, 255, index])][index % 4]
        value = [None, b"", ("value-%s-%d" % (tag, index)).encode(), b"again and again " * 640,
                 noise.randbytes(1000)][index % 5]
        if index == count // 2:
            value = noise.randbytes(large // 2) + b"\0" * (large - large // 2)
        headers = HEADERS[index % 3]
        if not nulls:
            # For clients that refuse a record without key and value, and a header without a value.
            key = b"" if value is None and key is None else key
            headers = tuple((name, held or b"") for name, held in headers)
        records.append(Rec(index % partitions, BASE_TIME + index, key, value, headers))
    return records


class Sequences:
    """Compares what was consumed with what was produced: each partition in order, offsets dense."""

    def __init__(self, partitions):
        self.wanted = [[] for _ in range(partitions)]
        self.next = [0] * partitions
        self.position = [0] * partitions

    def add(self, records):
        for record in records:
            self.wanted[record.partition].append(record)

    def missing(self):
        return sum(len(wanted) - at for wanted, at in zip(self.wanted, self.next))

    def take(self, got):
        partition = got.partition
        check(self.next[partition] < len(self.wanted[partition]),
              "partition %d: a record too many: %s" % (partition, show(got)))
        record = self.wanted[partition][self.next[partition]]
        equal(got.offset, self.position[partition], "partition %d: offset" % partition)
        for field in ("timestamp", "key", "value", "headers"):
            equal(getattr(got, field), getattr(record, field),
                  "partition %d offset %d: %s" % (partition, got.offset, field))
        self.next[partition] += 1
        self.position[partition] += 1

    def read_all(self, reader, seconds=30):
        end = time.monotonic() + seconds
        while self.missing():
            for got in reader.poll(0.2):
                self.take(got)
            check(time.monotonic() < end, "%d records did not arrive within %d s, positions %s"
                  % (self.missing(), seconds, self.position))
        for got in reader.poll(0.1):
            self.take(got)


class Member(threading.Thread):
    """A consumer in a group, polled by a thread of its own. A subclass gives open, poll, shut and commit."""

    def __init__(self, topic, group, strategy="range", instance=None):
        super().__init__(daemon=True)
        self.topic, self.group, self.strategy, self.instance = topic, group, strategy, instance
        self.assigned, self.events, self.records = set(), [], []
        self.error, self.ending, self.ready = None, threading.Event(), threading.Event()

    def run(self):
        try:
            self.open()
            while not self.ending.is_set():
                self.records.extend(self.poll())
                self.ready.set()
            self.shut()
        except Exception as error:
            self.error = error
            self.ready.set()
            traceback.print_exc()

    def on_assign(self, partitions):
        self.events.append(("assign", sorted(partitions)))
        self.assigned |= set(partitions)

    def on_revoke(self, partitions):
        self.events.append(("revoke", sorted(partitions)))
        self.assigned -= set(partitions)

    def close(self):
        self.ending.set()
        self.join(30)
        check(not self.is_alive(), "a consumer did not close within 30 s")
        check(self.error is None, "a consumer failed: %r" % self.error)


def spread(members, partitions):
    """All partitions are assigned, each to one member, evenly."""
    for member in members:
        if member.error:
            raise AssertionError("a consumer failed: %r" % member.error)
    sizes = [len(member.assigned) for member in members]
    everything = set().union(*(member.assigned for member in members))
    return len(everything) == sum(sizes) == partitions and max(sizes) - min(sizes) <= 1


def state(members):
    return lambda: "assignments %s" % [sorted(member.assigned) for member in members]


class Library:
    """The cases that every client library runs. A suite gives:

    create_topic(name, partitions), producer(codec, acks, idempotent, restart), reader(topic, partitions),
    member(topic, group, strategy, instance), committed(group, topic, partitions), commit(group, topic, offsets).
    """

    name = "?"
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    idempotent = True
    strategies = ["cooperative-sticky"]
    static = True
    nulls = True
    session_seconds = 6
    script = None

    def __init__(self, options):
        self.options, self.bootstrap = options, options.bootstrap
        self.suite = Suite(options)
        self.topics = {}

    def topic(self, purpose, partitions=3):
        name = unique("%s-%s" % (self.name, purpose))
        self.create_topic(name, partitions)
        return name

    def run(self):
        self.suite.case("topic", self.case_topic)
        self.codec_cases()
        self.suite.case("group/join-leave", self.case_join_leave)
        self.suite.case("group/death", self.case_death)
        self.suite.case("group/resume", self.case_resume)
        for strategy in self.strategies:
            self.suite.case("group/" + strategy, self.case_cooperative, strategy)
        if self.static:
            self.suite.case("group/static", self.case_static)
        self.admin_cases()
        self.restart_cases()
        self.suite.end()

    def admin_cases(self):
        pass

    def restarted(self):
        pass

    def restart_cases(self):
        self.suite.case("restart/idempotent", self.case_restart, True)

    def case_topic(self):
        self.create_topic(unique(self.name + "-topic"), 3)

    # Codecs. One reader stays on through all of them, so that its fetch session is incremental.

    def codec_cases(self):
        topic = reader = sequences = None

        def one(codec, acks, idempotent):
            nonlocal topic, reader, sequences
            if topic is None:
                topic = self.topic("codecs")
                reader, sequences = self.reader(topic, 3), Sequences(3)
            try:
                produce_and_compare(codec, acks, idempotent)
            except Exception:
                topic = None
                raise

        def produce_and_compare(codec, acks, idempotent):
            records = test_records("%s-%s-%s" % (codec, acks, idempotent), nulls=self.nulls)
            sequences.add(records)
            producer = self.producer(codec, acks, idempotent)
            results = []
            for record in records:
                producer.send(topic, record, lambda error, offset: results.append(error))
            producer.flush()
            producer.close()
            equal(len(results), len(records), "delivery reports")
            errors = [error for error in results if error]
            check(not errors, "%d records failed, the first: %s" % (len(errors), errors and errors[0]))
            sequences.read_all(reader)

        for codec in self.codecs:
            # acks=0 last: it may lose what a leader that has just been elected does not take yet.
            for acks in ("all", "1", "0"):
                self.suite.case("codec/%s/acks-%s" % (codec, acks), one, codec, acks, False)
            if self.idempotent:
                self.suite.case("codec/%s/idempotent" % codec, one, codec, "all", True)

        def again():
            check(topic, "no topic: the codec cases failed")
            sequences.next, sequences.position = [0] * 3, [0] * 3
            fresh = self.reader(topic, 3)
            sequences.read_all(fresh, 60)
            fresh.close()
            reader.close()
        self.suite.case("codec/read-again", again)

    # Groups.

    def numbers(self, topic, first, count, partitions):
        producer = self.producer("none", "all", False)
        errors = []
        for number in range(first, first + count):
            producer.send(topic, Rec(number % partitions, BASE_TIME + number, None, b"%d" % number, ()),
                          lambda error, offset: error and errors.append(error))
        producer.flush()
        producer.close()
        check(not errors, "produce: %s" % errors[:1])

    def start_members(self, count, topic, group, partitions, **options):
        members = [self.member(topic, group, **options) for _ in range(count)]
        for member in members:
            member.start()
        wait(lambda: spread(members, partitions), 30, state(members))
        return members

    def case_join_leave(self):
        topic, group = self.topic("group", 4), unique("group")
        first, = self.start_members(1, topic, group, 4)
        self.numbers(topic, 0, 200, 4)
        wait(lambda: len(first.records) >= 200, 20, lambda: "%d of 200 records" % len(first.records))
        second = self.member(topic, group)
        second.start()
        both = [first, second]
        wait(lambda: spread(both, 4), 30, state(both))
        self.numbers(topic, 200, 200, 4)
        wait(lambda: len(first.records) + len(second.records) >= 400, 20, "400 records by two")
        check(len(second.records) == 100, "the second consumer got %d of 100 records" % len(second.records))
        second.close()
        wait(lambda: spread([first], 4), 30, state([first]))
        self.numbers(topic, 400, 200, 4)
        wait(lambda: len(first.records) + len(second.records) >= 600, 20, "600 records")
        time.sleep(0.3)
        first.close()
        found = sorted(int(got.value) for member in both for got in member.records)
        equal(found, list(range(600)), "each record once across rebalances")

    def case_death(self):
        topic, group = self.topic("death", 4), unique("group")
        first, = self.start_members(1, topic, group, 4)
        child = subprocess.Popen([sys.executable, self.script, self.bootstrap, "--member", topic, group],
                                 stdout=subprocess.DEVNULL)
        try:
            wait(lambda: len(first.assigned) == 2, 30, state([first]))
        finally:
            child.kill()
            child.wait()
        begun = time.monotonic()
        wait(lambda: spread([first], 4), self.session_seconds + 20, state([first]))
        took = time.monotonic() - begun
        # The broker counts from the last heartbeat, at most one interval (here 1 s) before the kill.
        check(took > self.session_seconds - 3, "the dead member was dropped after %.1f s already" % took)
        self.numbers(topic, 0, 100, 4)
        wait(lambda: len(first.records) >= 100, 20, lambda: "%d of 100 records" % len(first.records))
        first.close()

    def case_resume(self):
        topic, group = self.topic("resume", 3), unique("group")
        self.numbers(topic, 0, 300, 3)
        self.commit(group, topic, {0: 10, 1: 57, 2: 100})
        equal(self.committed(group, topic, 3), {0: 10, 1: 57, 2: 100}, "committed offsets")
        restart_broker()
        self.restarted()
        equal(self.committed(group, topic, 3), {0: 10, 1: 57, 2: 100}, "committed offsets after a restart")
        member, = self.start_members(1, topic, group, 3)
        wanted = sorted([(0, n) for n in range(10, 100)] + [(1, n) for n in range(57, 100)])
        wait(lambda: len(member.records) >= len(wanted), 20, lambda: "%d records" % len(member.records))
        time.sleep(0.3)
        member.close()
        equal(sorted((got.partition, got.offset) for got in member.records), wanted, "offsets after the commit")
        equal(self.committed(group, topic, 3), {0: 100, 1: 100, 2: 100}, "offsets committed on close")

    def case_cooperative(self, strategy):
        topic, group = self.topic("cooperative", 6), unique("group")
        first, = self.start_members(1, topic, group, 6, strategy=strategy)
        before = set(first.assigned)
        second = self.member(topic, group, strategy=strategy)
        second.start()
        both = [first, second]
        wait(lambda: spread(both, 6), 30, state(both))
        revoked = [set(parts) for kind, parts in first.events if kind == "revoke" and parts]
        check(all(len(parts) <= 3 for parts in revoked), "the first consumer lost more than its share: %s" % revoked)
        check(first.assigned <= before, "the first consumer did not keep its partitions")
        self.numbers(topic, 0, 300, 6)
        wait(lambda: len(first.records) + len(second.records) >= 300, 20, "300 records by two")
        second.close()
        wait(lambda: spread([first], 6), 30, state([first]))
        first.close()
        found = sorted(int(got.value) for member in both for got in member.records)
        equal(found, list(range(300)), "each record once")

    def case_static(self):
        topic, group = self.topic("static", 4), unique("group")
        first = self.member(topic, group, instance="one")
        second = self.member(topic, group, instance="two")
        for member in (first, second):
            member.start()
        wait(lambda: spread([first, second], 4), 30, state([first, second]))
        time.sleep(1)
        kept, events = set(second.assigned), len(first.events)
        second.close()
        again = self.member(topic, group, instance="two")
        again.start()
        wait(lambda: again.assigned == kept, 15, state([first, again]))
        time.sleep(1.5)
        equal(first.events[events:], [], "the other member saw a rebalance although a static member came back")
        self.numbers(topic, 0, 200, 4)
        wait(lambda: len(first.records) + len(again.records) >= 200, 20, "200 records by two")
        # A second consumer under the same instance id fences the first of that id.
        usurper = self.member(topic, group, instance="two")
        usurper.start()
        wait(lambda: again.error or again.ending.is_set(), 20, "the older of two equal instance ids was not fenced")
        check("fenced" in repr(again.error).lower(), "wanted a fenced error, found %r" % again.error)
        wait(lambda: usurper.assigned == kept, 15, state([first, usurper]))
        usurper.close()
        first.close()

    # Restart under load.

    def case_restart(self, idempotent):
        quick = self.options.quick
        count, rate, restarts = (3000, 1000, 1) if quick else (24000, 1000, 3)
        partitions = 3
        topic, group = self.topic("restart", partitions), unique("group")
        member, = self.start_members(1, topic, group, partitions)
        producer = self.producer("none", "all" if idempotent else None, idempotent, restart=True)
        acked, errors = {}, []

        def restarter():
            try:
                for turn in range(restarts):
                    mark = count * (turn + 1) // (restarts + 2)
                    wait(lambda: len(acked) >= mark, 120, "no progress before a restart")
                    restart_broker()
            except Exception as error:
                errors.append(error)
        thread = threading.Thread(target=restarter, daemon=True)
        thread.start()
        begun = time.monotonic()
        for number in range(count):
            def done(error, offset, number=number):
                if error:
                    errors.append("record %d: %s" % (number, error))
                else:
                    acked[number] = offset
            producer.send(topic, Rec(number % partitions, BASE_TIME + number, None, b"%d" % number, ()), done)
            ahead = begun + number / rate - time.monotonic()
            if ahead > 0.02:
                producer.idle(ahead)
            # Not all at once into the client's buffer while the broker is away: the later restarts need load too.
            while number - len(acked) > 3000 and not errors:
                producer.idle(0.01)
        producer.flush()
        producer.close()
        thread.join(180)
        check(not thread.is_alive(), "the broker did not restart")
        check(not errors, "%d errors, the first: %s" % (len(errors), errors and errors[0]))
        equal(len(acked), count, "acknowledged records")
        # What the log holds.
        reader, found = self.reader(topic, partitions), [[] for _ in range(partitions)]
        end, last = time.monotonic() + 60, time.monotonic()
        while time.monotonic() < end and (sum(map(len, found)) < count or time.monotonic() < last + 1):
            for got in reader.poll(0.2):
                equal(got.offset, len(found[got.partition]), "partition %d: offset" % got.partition)
                found[got.partition].append(int(got.value))
                last = time.monotonic()
        reader.close()
        for number, offset in acked.items():
            log = found[number % partitions]
            check(offset is None or (offset < len(log) and log[offset] == number),
                  "record %d was acknowledged at offset %s, where the log has %s"
                  % (number, offset, log[offset] if offset < len(log) else "nothing"))
        for partition in range(partitions):
            wanted = list(range(partition, count, partitions))
            log = found[partition]
            check(set(log) == set(wanted), "partition %d: %d acknowledged records are gone"
                  % (partition, len(set(wanted) - set(log))))
            if idempotent:
                equal(len(log), len(wanted), "partition %d: records (duplicates?)" % partition)
                equal(log, wanted, "partition %d: order" % partition)
            else:
                print("partition %d: %d duplicates without idempotence" % (partition, len(log) - len(wanted)))
        # What the group saw: everything, in order, with duplicates only where it went back to a commit.
        wait(lambda: len({got.value for got in member.records}) == count or member.error, 60,
             lambda: "the group saw %d of %d records" % (len({got.value for got in member.records}), count))
        check(member.error is None, "the consumer failed: %r" % member.error)
        highest = [-1] * partitions
        for got in member.records:
            check(got.offset <= highest[got.partition] + 1, "the group skipped from offset %d to %d of partition %d"
                  % (highest[got.partition], got.offset, got.partition))
            highest[got.partition] = max(highest[got.partition], got.offset)
        print("the group saw %d records twice" % (len(member.records) - sum(map(len, found))))
        member.close()
