"""Kafka Streams counts words, at least once: repartition and changelog topics, restarts, a lost state directory."""

import random
import shutil
import struct
from collections import Counter
from pathlib import Path

from programs import Cluster, Program
from harness import Suite, arguments, check, equal, restart_broker, unique, wait

WORDS = ["word%d" % number for number in range(200)]


class Streams:
    def __init__(self, options):
        self.options, self.suite = options, Suite(options)
        self.cluster = Cluster(options.bootstrap)
        self.noise = random.Random(1)

    def begin(self):
        self.app, self.input, self.output = unique("word-count"), unique("lines"), unique("counts")
        self.state = Path(unique("state")).resolve()
        self.wanted = Counter()
        for topic in (self.input, self.output):
            self.cluster.create(topic, 3)
        self.repartition = "%s-words-repartition" % self.app
        self.changelog = "%s-counts-changelog" % self.app

    def program(self):
        program = Program("streams", "WordCount", self.options.bootstrap, self.app, self.input, self.output,
                          self.state)
        wait(lambda: program.alive() and "state RUNNING" in program.text(), 60, "Streams runs")
        return program

    def feed(self, count):
        records = []
        for number in range(count):
            words = self.noise.choices(WORDS, k=5)
            self.wanted.update(words)
            records.append((self.input, number % 3, None, " ".join(words).encode(), None))
        self.cluster.send(records)

    def counts(self, topic):
        """The last count of each word; checks that no word changes its partition."""
        found, place = {}, {}
        for message in self.cluster.read(topic):
            word = message.key().decode()
            check(place.setdefault(word, message.partition()) == message.partition(), "%s has two partitions" % word)
            found[word] = struct.unpack(">q", message.value())[0]
        return found

    def counted(self, program, exact=True):
        def right():
            program.alive()
            found = self.counts(self.output)
            return found == self.wanted if exact else all(found.get(word, 0) >= n for word, n in self.wanted.items())

        def differences():
            found = self.counts(self.output)
            return "counts: %s" % [(word, found.get(word), n) for word, n in self.wanted.items()
                                   if found.get(word) != n][:5]
        wait(right, 60, differences)

    def case_word_count(self):
        """It is restarted once in good order, without its state directory: the changelog has all of it."""
        self.begin()
        self.feed(2000)
        with self.program() as program:
            self.counted(program)
            equal(self.cluster.config(self.changelog)["cleanup.policy"], "compact", "changelog")
            equal(self.cluster.config(self.repartition)["cleanup.policy"], "delete", "repartition topic")
            equal(self.cluster.config(self.repartition)["retention.ms"], "-1", "repartition topic")
            self.feed(1000)
            program.close()
            check("closed true" in program.text(), "Streams did not close: " + program.text()[-300:])
        shutil.rmtree(self.state)
        self.feed(1000)
        with self.program() as program:
            self.counted(program)
            # What was counted from, not twice and nothing left out.
            equal(self.counts(self.changelog), dict(self.wanted), "the changelog")
            program.close()
        equal(sum(self.cluster.committed(self.app, self.input).values()), 4000, "committed offsets of the input")
        if not self.options.quick:
            # Streams deletes what it has read of a repartition topic.
            ends = self.cluster.ends(self.repartition)
            equal(sum(ends.values()), 20000, "records of the repartition topic")

    def twice(self):
        return sum(self.counts(self.output).values()) - sum(self.wanted.values())

    def case_kill(self):
        """kill -9 of Streams and of the broker: no word is lost; at least once may count some twice."""
        self.begin()
        self.feed(1000)
        with self.program() as program:
            self.counted(program)
            self.feed(2000)
        self.feed(1000)
        with self.program() as program:
            self.counted(program, exact=False)
            print("%d words were counted twice after kill -9 of Streams" % self.twice(), flush=True)
            restart_broker()
            self.feed(1000)
            self.counted(program, exact=False)
            program.close()
        print("%d of %d words were counted twice in the end" % (self.twice(), sum(self.wanted.values())), flush=True)
        equal(self.counts(self.changelog), self.counts(self.output), "the changelog and the output")

    def main(self):
        self.suite.case("streams/word-count", self.case_word_count)
        if not self.options.quick:
            self.suite.case("streams/kill", self.case_kill)
        self.suite.end()


if __name__ == "__main__":
    Streams(arguments()).main()
