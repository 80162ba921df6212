"""kcat (librdkafka as Debian ships it) against a broker. Topics come from auto-creation."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "common"))
from harness import MIB, Suite, arguments, check, equal, restart_broker, unique, wait  # noqa: E402

FORMAT = "%p %o %K %S %h\n%k%s\n"


class Kcat:
    def __init__(self, options):
        self.options, self.suite = options, Suite(options)
        self.base = ["kcat", "-b", options.bootstrap, "-m", "15"]
        self.topic_codecs = None

    def run(self, *args, data=None, seconds=60):
        command = self.base + [str(arg) for arg in args]
        done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds)
        errors = done.stderr.decode(errors="replace")
        check(done.returncode == 0, "kcat %s: exit %d: %s" % (" ".join(command[3:]), done.returncode, errors[-400:]))
        check("underflow" not in errors, "kcat could not parse an answer: %s" % errors[-400:])
        return done.stdout

    def topic(self, purpose):
        """Asks for a topic that does not exist and returns its name and number of partitions."""
        name = unique("kcat-" + purpose)

        def leaders():
            for topic in json.loads(self.run("-L", "-J", "-t", name))["topics"]:
                parts = topic["partitions"]
                if topic["topic"] == name and parts and all(part["leader"] >= 0 for part in parts):
                    return len(parts)
            return 0
        return name, wait(leaders, 15, "auto-creation of " + name)

    def read(self, topic, *more):
        """Every record as (partition, offset, key, value, headers), in order per partition."""
        data = self.run("-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", FORMAT, *more)
        found, at = [], 0
        while at < len(data):
            end = data.index(b"\n", at)
            partition, offset, key_size, size, headers = data[at:end].split(b" ", 4)
            at = end + 1
            parts = []
            for length in (int(key_size), int(size)):
                parts.append(None if length < 0 else data[at:at + length])
                at += max(length, 0)
            equal(data[at:at + 1], b"\n", "framing of kcat's output")
            at += 1
            found.append((int(partition), int(offset), parts[0], parts[1], headers.decode()))
        return sorted(found)

    # Codecs.

    def case_codec(self, codec, acks):
        if self.topic_codecs is None:
            self.topic_codecs = self.topic("codecs")
            self.wanted = [[] for _ in range(self.topic_codecs[1])]
        topic, partitions = self.topic_codecs
        common = ["-P", "-t", topic, "-X", "message.max.bytes=4000000"]
        common += ["-z", codec] if codec != "none" else []
        common += ["-X", "enable.idempotence=true"] if acks == "idempotent" else ["-X", "topic.acks=%s" % acks]
        tag = ("%s-%s-" % (codec, acks)).encode()
        large = os.urandom(MIB // 2) + bytes(MIB // 2)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "large"
            path.write_bytes(large)
            for part in range(partitions):
                # Keys, empty values and headers; then keys, null values; then no keys; then a large one.
                lines = [tag + b"%d" % number for number in range(40)]
                self.run(*common, "-p", part, "-K", "=", "-H", "trace=abc", "-H", "same=1", "-H", "same=2",
                         data=b"\n".join(b"k%d=%s" % (n, b"" if n % 7 == 3 else line)
                                         for n, line in enumerate(lines)) + b"\n")
                self.wanted[part] += [(b"k%d" % n, b"" if n % 7 == 3 else line, "trace=abc,same=1,same=2")
                                      for n, line in enumerate(lines)]
                self.run(*common, "-p", part, "-K", "=", "-Z", data=b"gone=\nkept=here\n")
                self.wanted[part] += [(b"gone", None, ""), (b"kept", b"here", "")]
                self.run(*common, "-p", part, data=b"plain\n" + b"x" * 10000 + b"\n")
                self.wanted[part] += [(None, b"plain", ""), (None, b"x" * 10000, "")]
                if part == 0:
                    self.run(*common, "-p", part, path)
                    self.wanted[part].append((None, large, ""))
        if acks == "0":
            total = sum(map(len, self.wanted))
            wait(lambda: len(self.read(topic)) >= total, 20, "%d records" % total)
        found = self.read(topic)
        for part in range(partitions):
            mine = [record for record in found if record[0] == part]
            equal([record[1] for record in mine], list(range(len(mine))), "partition %d: offsets" % part)
            equal(len(mine), len(self.wanted[part]), "partition %d: records" % part)
            for record, wanted in zip(mine, self.wanted[part]):
                equal(record[2:], wanted, "partition %d offset %d" % record[:2])

    def codec_case(self, codec, acks):
        try:
            self.case_codec(codec, acks)
        except BaseException:
            self.topic_codecs = None
            raise

    # Groups.

    def member(self, group, topic, *more):
        return GroupMember(self.base + ["-E", "-G", group, "-u", "-f", "%p %o %s\n", "-X", "auto.offset.reset=earliest",
                                        "-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=1000",
                                        "-X", "auto.commit.interval.ms=500", *more, topic])

    def numbers(self, topic, partitions, first, count):
        for part in range(partitions):
            data = b"".join(b"%d\n" % n for n in range(first, first + count) if n % partitions == part)
            self.run("-P", "-t", topic, "-p", part, data=data)

    def case_join_leave(self):
        topic, partitions = self.topic("group")
        check(partitions > 1, "auto-creation gave one partition: nothing to share")
        group = unique("group")
        first = self.member(group, topic)
        wait(lambda: len(first.assigned) == partitions, 30, first.state)
        self.numbers(topic, partitions, 0, 200)
        wait(lambda: len(first.records) >= 200, 20, first.state)
        second = self.member(group, topic)
        wait(lambda: len(first.assigned) + len(second.assigned) == partitions and second.assigned, 30, first.state)
        self.numbers(topic, partitions, 200, 200)
        wait(lambda: len(first.records) + len(second.records) >= 400, 20, "400 records by two")
        check(second.records, "the second consumer got nothing")
        second.close()
        wait(lambda: len(first.assigned) == partitions, 30, first.state)
        self.numbers(topic, partitions, 400, 200)
        wait(lambda: len(first.records) + len(second.records) >= 600, 20, "600 records")
        first.close()
        numbers = sorted(number for member in (first, second) for _, _, number in member.records)
        equal(numbers, list(range(600)), "each record once across rebalances")

    def case_death(self):
        topic, partitions = self.topic("death")
        group = unique("group")
        first = self.member(group, topic)
        wait(lambda: len(first.assigned) == partitions, 30, first.state)
        second = self.member(group, topic)
        wait(lambda: len(first.assigned) + len(second.assigned) == partitions and second.assigned, 30, first.state)
        second.process.kill()
        second.process.wait()
        begun = time.monotonic()
        wait(lambda: len(first.assigned) == partitions, 30, first.state)
        took = time.monotonic() - begun
        check(took > 3, "the dead member was dropped after %.1f s already" % took)
        self.numbers(topic, partitions, 0, 100)
        wait(lambda: len(first.records) >= 100, 20, first.state)
        first.close()

    def case_resume(self):
        topic, partitions = self.topic("resume")
        group = unique("group")
        self.numbers(topic, partitions, 0, 300)
        found = []
        for turn, count in enumerate((100, 120, 80)):
            if turn == 1:
                restart_broker()
            out = self.run("-G", group, "-q", "-c", count, "-f", "%s\n", "-X", "auto.offset.reset=earliest", topic)
            found += [int(line) for line in out.split()]
            equal(len(found), sum((100, 120, 80)[:turn + 1]), "records after turn %d" % turn)
        equal(sorted(found), list(range(300)), "each record once over three consumers in turn")

    def case_cooperative(self):
        topic, partitions = self.topic("cooperative")
        group, more = unique("group"), ("-X", "partition.assignment.strategy=cooperative-sticky")
        first = self.member(group, topic, *more)
        wait(lambda: len(first.assigned) == partitions, 30, first.state)
        second = self.member(group, topic, *more)
        wait(lambda: len(first.assigned) + len(second.assigned) == partitions and second.assigned, 30, first.state)
        self.numbers(topic, partitions, 0, 300)
        wait(lambda: len(first.records) + len(second.records) >= 300, 20, "300 records by two")
        second.close()
        wait(lambda: len(first.assigned) == partitions, 30, first.state)
        first.close()
        numbers = sorted(number for member in (first, second) for _, _, number in member.records)
        equal(numbers, list(range(300)), "each record once")

    # Queries.

    def case_metadata(self):
        topic, partitions = self.topic("metadata")
        found = json.loads(self.run("-L", "-J"))
        check(self.options.bootstrap in [broker["name"] for broker in found["brokers"]], "the broker is not listed")
        listed = {entry["topic"]: len(entry["partitions"]) for entry in found["topics"]}
        equal(listed.get(topic), partitions, "partitions of the topic listed")

    def case_offsets(self):
        topic, _ = self.topic("offsets")
        times = []
        for number in range(3):
            times.append(int(time.time() * 1000))
            self.run("-P", "-t", topic, "-p", 0, data=b"%d\n" % number)
            time.sleep(0.05)

        def query(when):
            text = self.run("-Q", "-t", "%s:0:%d" % (topic, when)).decode()
            return int(re.search(r"\[0\] offset (-?\d+)", text).group(1))
        equal(query(-2), 0, "earliest")
        equal(query(-1), 3, "latest")
        equal(query(times[1]), 1, "by timestamp")
        out = self.run("-C", "-t", topic, "-p", 0, "-o", "-2", "-e", "-q", "-f", "%o ")
        equal(out, b"1 2 ", "the last two")
        out = self.run("-C", "-t", topic, "-p", 0, "-o", "s@%d" % times[2], "-e", "-q", "-f", "%o ")
        equal(out, b"2 ", "from a time on")

    # Restart under load.

    def case_restart(self, idempotent):
        count, rate, restarts = (3000, 1000, 1) if self.options.quick else (30000, 1000, 3)
        topic, partitions = self.topic("restart")
        group = self.member(unique("group"), topic)
        wait(lambda: len(group.assigned) == partitions, 30, group.state)
        producer = subprocess.Popen(
            self.base + ["-E", "-P", "-t", topic, "-p", "0"]
            + (["-X", "enable.idempotence=true"] if idempotent else []),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        errors, begun, marks = [], time.monotonic(), [count * (n + 1) // (restarts + 2) for n in range(restarts)]

        def restarter():
            for mark in marks:
                try:
                    wait(lambda: sent[0] >= mark, 120, "no progress before a restart")
                    restart_broker()
                except Exception as error:
                    errors.append(error)
        sent = [0]
        thread = threading.Thread(target=restarter, daemon=True)
        thread.start()
        try:
            for number in range(count):
                producer.stdin.write(b"%d\n" % number)
                sent[0] = number
                ahead = begun + number / rate - time.monotonic()
                if ahead > 0.01:
                    producer.stdin.flush()
                    time.sleep(ahead)
            producer.stdin.close()
            text = producer.stderr.read().decode(errors="replace")
            producer.wait(150)
        finally:
            producer.kill()
        thread.join(120)
        check(not errors, "%s" % errors)
        equal(producer.returncode, 0, "exit of the producer (%s)" % text[-300:])
        check("Delivery failed" not in text, text[-300:])
        found = [int(record[3]) for record in self.read(topic)]
        if idempotent:
            equal(len(found), count, "records in the log")
            equal(found, list(range(count)), "each record once, in order")
        else:
            equal(sorted(set(found)), list(range(count)), "each acknowledged record is there")
            print("%d duplicates without idempotence" % (len(found) - count))
        wait(lambda: len({number for _, _, number in group.records}) == count, 60, group.state)
        group.close()

    def main(self):
        case = self.suite.case
        case("topic", self.topic, "topic")
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            for acks in ("all", "idempotent", "1", "0"):
                name = "idempotent" if acks == "idempotent" else "acks-" + acks
                case("codec/%s/%s" % (codec, name), self.codec_case, codec, acks)
        case("metadata", self.case_metadata)
        case("offsets", self.case_offsets)
        case("group/join-leave", self.case_join_leave)
        case("group/death", self.case_death)
        case("group/resume", self.case_resume)
        case("group/cooperative-sticky", self.case_cooperative)
        case("restart/default", self.case_restart, False)
        case("restart/idempotent", self.case_restart, True)
        self.suite.end()


class GroupMember:
    """A kcat process in a group; its assignment is what it writes about rebalances."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assigned, self.records, self.said = set(), [], []
        for target in (self.follow_records, self.follow_assignments):
            threading.Thread(target=target, daemon=True).start()

    def follow_records(self):
        for line in self.process.stdout:
            partition, offset, number = line.split()
            self.records.append((int(partition), int(offset), int(number)))

    def follow_assignments(self):
        for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip()
            self.said.append(line)
            if "rebalanced" not in line:
                continue
            parts = {int(index) for index in re.findall(r"\[(\d+)\]", line)}
            if "incremental" in line.lower() or "cooperative" in line.lower():
                self.assigned = self.assigned - parts if "revoke" in line else self.assigned | parts
            else:
                self.assigned = set() if "revoke" in line else parts

    def state(self):
        return "assigned %s, %d records, exit %s, said %s" % (sorted(self.assigned), len(self.records),
                                                              self.process.poll(), self.said[-3:])

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("kcat did not end within 20 s: " + self.state())


Kcat(arguments()).main()
