"""kafka-python's integration tests, of the source archive on PyPI.

The archive lacks two files: `test/__init__.py`, and `test/service.py`, which starts brokers. Ours is running, so a
stand-in of a few lines serves.
"""

import re
import shutil
import sys
import tarfile
from pathlib import Path

from common import CACHE, FAILED, PASSED, PINS, SKIPPED, Failure, Result, bounded, run, stamped

KAFKA = "4.3.0"
# Seconds that one test may take, and a file of them.
TEST_LIMIT, LIMIT = 90, 900
FILES = ["producer", "consumer", "admin"]
OUTCOMES = {"PASSED": PASSED, "FAILED": FAILED, "ERROR": FAILED, "SKIPPED": SKIPPED, "XFAIL": SKIPPED, "XPASS": FAILED}
LINE = re.compile(r"^(test/integration/\S+::\S+) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)", re.M)
SPENT = re.compile(r"^([0-9.]+)s (call|setup|teardown) +(\S+)$", re.M)
REASON = re.compile(r"^(?:FAILED|ERROR|SKIPPED) (?:\[\d+\] )?(\S+?)(?::\d+)?(?: - |: )(.*)$", re.M)


def install():
    pin = PINS / "kafka_python"

    def build(directory):
        run([sys.executable, "-m", "venv", directory / "venv"])
        pip = [directory / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
        run(pip + ["install", "-q", "-r", pin / "tools.txt"])
        run(pip + ["download", "-q", "--no-deps", "--no-binary", ":all:", "--require-hashes",
                   "-r", pin / "suite.txt", "-d", directory])
        archive, = directory.glob("kafka_python-*.tar.gz")
        with tarfile.open(archive) as files:
            files.extractall(directory, filter="data")
        source = directory / archive.name[:-len(".tar.gz")]
        (source / "test" / "__init__.py").touch()
        shutil.copy(pin / "service.py", source / "test" / "service.py")
        # The tests want Kafka's folder to exist and look at nothing in it.
        (source / "servers").mkdir()
        source.rename(directory / "source")
    return stamped(CACHE / "kafka_python", [pin / name for name in ("tools.txt", "suite.txt", "service.py")], build)


class Suite:
    def __init__(self, work, logs):
        self.logs, self.place = logs, install()
        self.source = self.place / "source"
        self.version = re.search(r"^Version: (.*)$", (self.source / "PKG-INFO").read_text(), re.M).group(1)

    def broker(self, kind, work, log):
        # As in the configuration that the suite gives to Apache Kafka.
        return kind(work, log, KAFSCALE_AUTO_CREATE_PARTITIONS="4", KAFSCALE_GROUP_SESSION_TIMEOUT_MIN_MS="1000")

    def prepare(self, broker):
        self.env = {"KAFKA_VERSION": KAFKA, "KAFKA_ROOT": str(self.source / "servers"),
                    "KAFKA_URI": "kafka://%s" % broker.address, "PYTHONDONTWRITEBYTECODE": "1"}

    def pytest(self, log, *rest):
        command = [self.place / "venv" / "bin" / "python", "-m", "pytest", "-p", "no:cacheprovider", *rest]
        return bounded(command, self.logs / log, LIMIT, getattr(self, "env", {"KAFKA_VERSION": KAFKA}), self.source)

    def names(self):
        files = ["test/integration/test_%s_integration.py" % name for name in FILES]
        text, code, _ = self.pytest("names.log", "--collect-only", "-q", *files)
        if code != 0:
            raise Failure("the tests cannot be collected: see %s" % (self.logs / "names.log"))
        return [line.split("/")[-1] for line in text.splitlines() if "::" in line]

    def units(self, names):
        files = dict.fromkeys(name.split("::")[0] for name in names)
        return [[name for name in names if name.split("::")[0] == file] for file in files]

    def run(self, names, limit=None):
        log = names[0].split("::")[0] + ".log"
        text, code, seconds = self.pytest(log, "-vv", "-rA", "--durations=0", "--durations-min=0", "--tb=short",
                                          "--timeout", str(TEST_LIMIT),
                                          *["test/integration/" + name for name in names])
        spent = {}
        for took, _, name in SPENT.findall(text):
            spent[name] = spent.get(name, 0.0) + float(took)
        reasons = dict(REASON.findall(text))
        seen = {}
        for name, word in LINE.findall(text):
            # An error in the teardown comes after PASSED.
            seen[name] = OUTCOMES[word]
        for name in names:
            full = "test/integration/" + name
            if full in seen:
                reason = "" if seen[full] == PASSED else reasons.get(full, "")
                yield Result(name, seen[full], spent.get(full, 0.0), reason)
            else:
                why = "over %d s" % LIMIT if code is None else "it did not run: exit %s" % code
                yield Result(name, FAILED, seconds, why)
