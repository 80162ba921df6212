"""librdkafka's own tests: `tests/test-runner` of the sources that the crate rdkafka-sys carries.

A unit is a number (0011): the runner selects by it and runs all variants. Tests that librdkafka marks as local
use its mock broker or none and are left out (`-L`). The runner's quick mode (`-Q`) is not used: in it most
sub-tests of many tests are left out without a word.
"""

import os
import re
import shutil
from pathlib import Path

from common import (CACHE, FAILED, PASSED, PINS, SKIPPED, Failure, Result, Single, bounded, kafka_scripts, need, run,
                    stamped)

# What the tests may take Kafka for: its protocol is the one that we serve.
KAFKA = "4.0.0"
# Seconds that one number may take.
LIMIT = 900
OUTCOMES = {"PASSED": PASSED, "FAILED": FAILED, "SKIPPED": SKIPPED}
ROW = re.compile(r"^\| +(\d{4}_\w+) +\| +(\w+) +\| +([0-9.]+)s +\|(.*)$", re.M)
# What stands in the runner's table: name, flags, and the rest of the entry.
ENTRY = re.compile(r"_TEST\((\w+),\s*([A-Z_0-9]\w*(?:\s*\|\s*\w+)*)(.*?)(?=_TEST\(|\Z)", re.S)


# Headers without which the runner leaves out a codec, or a test.
HEADERS = {"/usr/include/zstd.h": "libzstd-dev", "/usr/include/rapidjson/schema.h": "rapidjson-dev"}


def install_headers():
    absent = [package for header, package in HEADERS.items() if not os.path.exists(header)]
    if absent:
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise Failure("headers are absent: apt-get install " + " ".join(absent))
        run(["apt-get", "update"])
        run(["apt-get", "install", "-y", "--no-install-recommends"] + absent)


def install():
    need("cc", "install a C and C++ compiler and make")
    install_headers()
    pin = [PINS / "librdkafka" / name for name in ("Cargo.toml", "Cargo.lock", "configure.flags")]

    def build(directory):
        crates = directory / "crates"
        run(["cargo", "vendor", "--locked", "--manifest-path", pin[0], crates])
        shutil.move(crates / "rdkafka-sys" / "librdkafka", directory / "librdkafka")
        shutil.rmtree(crates)
        place = directory / "librdkafka"
        run(["./configure"] + pin[2].read_text().split(), cwd=place)
        for part in (["-C", "src", "librdkafka.a"], ["-C", "src-cpp", "librdkafka++.a"],
                     ["-C", "tests", "test-runner", "interceptor_test"]):
            run(["make", "-j2"] + part, cwd=place)
    return stamped(CACHE / "librdkafka", pin, build) / "librdkafka"


class Both:
    """What creates topics by itself, and beside it a broker that does not, for the tests of that scenario."""

    def __init__(self, first, strict):
        self.first, self.strict, self.log = first, strict, first.log

    def start(self):
        self.first.start()
        self.strict.start()

    def requests(self):
        return self.first.requests() + self.strict.requests()

    def alive(self):
        return self.first.alive() and self.strict.alive()

    def kill(self):
        self.first.kill()
        self.strict.kill()


class Suite:
    def __init__(self, work, logs):
        self.work, self.logs = work, logs
        self.tests = install() / "tests"
        self.version = run_version(self.tests.parent)
        self.kafka = work / "kafka"
        kafka_scripts(self.kafka / "bin")
        text = (self.tests / "test.c").read_text()
        table = text[text.index("struct test tests[] = {"):]
        self.table = {name: (flags, rest) for name, flags, rest in ENTRY.findall(table[:table.index("\n};")])}

    def names(self):
        return [name for name, (flags, _) in self.table.items()
                if "LOCAL" not in flags and "MANUAL" not in flags]

    def broker(self, kind, work, log):
        (work / "strict").mkdir()
        strict = Single(work / "strict", Path(str(log) + ".noautocreate"), KAFSCALE_AUTO_CREATE_TOPICS="false")
        return Both(kind(work, log, KAFSCALE_AUTO_CREATE_PARTITIONS="4"), strict)

    def prepare(self, broker):
        self.env = {}
        for scenario, address in (("default", broker.first.address), ("noautocreate", broker.strict.address)):
            conf = self.work / (scenario + ".conf")
            conf.write_text("bootstrap.servers=%s\ntest.timeout.multiplier=3\n" % address)
            self.env[scenario] = {"RDKAFKA_TEST_CONF": str(conf), "TEST_KAFKA_VERSION": KAFKA, "BROKERS": address,
                                  "KAFKA_PATH": str(self.kafka)}

    def scenario(self, name):
        return "noautocreate" if '"noautocreate"' in self.table[name][1] else "default"

    def units(self, names):
        """One number in one scenario."""
        units = {}
        for name in sorted(names):
            units.setdefault((name[:4], self.scenario(name)), []).append(name)
        return list(units.values())

    def run(self, names, limit=None):
        """All variants of the number in the scenario that are not local, whether they were asked for or not."""
        number, scenario = names[0][:4], self.scenario(names[0])
        text, code, seconds = bounded(["env", "-u", "CI", "./test-runner", "-p1", "-L", "-s", scenario],
                                      self.logs / ("%s-%s.log" % (number, scenario)), LIMIT,
                                      dict(self.env[scenario], TESTS=number), self.tests)
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        rows = {name: (outcome, float(spent), message.strip()) for name, outcome, spent, message in ROW.findall(text)}
        for name in self.names():
            if not name.startswith(number) or self.scenario(name) != scenario:
                continue
            if name in rows:
                outcome, spent, message = rows[name]
                yield Result(name, OUTCOMES.get(outcome, FAILED), spent, message or first_failure(text, outcome))
            else:
                # A failed test leaves threads behind, on which the runner aborts before it prints its table.
                why = "over %d s" % (limit or LIMIT) if code is None else "exit %s: %s" % (code, first_failure(text))
                done = re.search(r"=+ Test %s PASSED =+$" % name, text, re.M)
                yield Result(name, PASSED if done else FAILED, seconds, "" if done else why)


def first_failure(text, outcome="FAILED"):
    match = re.search(r"^### Test .*?failed at (\S+).*?\n(.*)$", text, re.M)
    return "%s %s" % match.groups() if match and outcome == "FAILED" else ""


def run_version(place):
    """0x020c01ff is 2.12.1."""
    digits = re.search(r"RD_KAFKA_VERSION\s+0x(\w{8})", (place / "src" / "rdkafka.h").read_text()).group(1)
    return ".".join(str(int(digits[at:at + 2], 16)) for at in (0, 2, 4))
