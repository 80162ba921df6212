"""What the foreign suites share: results, bounded processes, and brokers whose requests can be counted."""

import importlib.machinery
import importlib.util
import os
import re
import subprocess
import time
import urllib.request
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PINS = ROOT / "scripts" / "foreign.d" / "pins"
CACHE = Path(os.environ.get("KAFSCALE_CACHE_DIR") or Path.home() / ".cache" / "kafscale") / "foreign"


def load_run_clients():
    """scripts/run-clients as a module: its brokers, ports and installers serve here too."""
    loader = importlib.machinery.SourceFileLoader("run_clients", str(ROOT / "scripts" / "run-clients"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_clients", loader))
    loader.exec_module(module)
    return module


run_clients = load_run_clients()
Failure, tail, stamped, need, run = (run_clients.Failure, run_clients.tail, run_clients.stamped, run_clients.need,
                                     run_clients.run)

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
Result = namedtuple("Result", "name outcome seconds message")


def bounded(command, log, limit, env=None, cwd=None):
    """Runs a command with its output in a file; ends it and all that it started after `limit` seconds.
    Returns its output, its exit code (None if it was ended) and its seconds."""
    begun = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                   env=dict(os.environ, **(env or {})), cwd=cwd, start_new_session=True)
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            run_clients.end_group(process)
    return Path(log).read_text(errors="replace"), code, time.monotonic() - begun


def metric(port, prefix):
    """The sum of the metrics of the broker with this metrics port whose names and labels begin so."""
    with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=10) as answer:
        return sum(float(line.split()[-1]) for line in answer.read().decode().splitlines() if line.startswith(prefix))


def requests_at(port):
    """Kafka requests that this broker has answered."""
    return metric(port, "kafscale_requests_total")


class Single(run_clients.KafScale):
    """One broker on its embedded store, with more settings."""

    def __init__(self, work, log, **settings):
        super().__init__(work, log)
        Path(log).unlink(missing_ok=True)
        (work / "data").mkdir()
        self.more = settings

    def requests(self):
        return requests_at(self.other)

    def alive(self):
        return self.process.poll() is None


class Three(run_clients.Cluster):
    """Three brokers on a real etcd and our S3 server, with more settings."""

    def __init__(self, work, log, **settings):
        super().__init__(work, log)
        Path(log).unlink(missing_ok=True)
        self.more = settings

    def requests(self):
        return sum(requests_at(other) for _, other in self.ports)

    def alive(self):
        return self.process.poll() is None


KAFKA_TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
}


def kafka_scripts(place):
    """Apache Kafka's scripts that suites call, on the jars of the console suite."""
    place.mkdir(parents=True)
    for name, tool in KAFKA_TOOLS.items():
        script = place / (name + ".sh")
        script.write_text("#!/bin/sh\nexec java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "
                          "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '%s/*' %s \"$@\"\n"
                          % (run_clients.install_jars("console"), tool))
        script.chmod(0o755)


GO_RESULT = re.compile(r"^ *--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)$", re.M)
GO_OUTCOMES = {"PASS": PASSED, "FAIL": FAILED, "SKIP": SKIPPED}


class GoTests:
    """The tests of one package of a pinned Go module. A unit is a test with its sub-tests, in a process of its own."""

    def __init__(self, pin, module, package="", tags=""):
        need("go", "install Go 1.26 or newer")
        self.program = CACHE / (pin + ".test")
        self.program.parent.mkdir(parents=True, exist_ok=True)
        # go.sum beside the pin holds the checksums; where nothing has changed this takes a second.
        run(["go", "test", "-c", "-mod=readonly", "-tags", tags, "-o", self.program, module + package],
            cwd=PINS / pin)
        described = run(["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}} {{.Version}}", module], cwd=PINS / pin)
        folder, self.version = described.split()
        self.folder = Path(folder + package)

    def names(self):
        listed = run([self.program, "-test.list", "^Test"], cwd=self.folder).split()
        return [name for name in listed if name.startswith("Test")]

    @staticmethod
    def units(names):
        tops = dict.fromkeys(name.split("/")[0] for name in names)
        return [[name for name in names if name.split("/")[0] == top] for top in tops]

    def run(self, names, logs, limit, env):
        top = names[0].split("/")[0]
        text, code, seconds = bounded([self.program, "-test.v", "-test.run", "^%s$" % top], logs / (top + ".log"), limit,
                                      env, self.folder)
        results = [Result(name, GO_OUTCOMES[word], float(spent), "" if word == "PASS" else go_reason(text))
                   for word, name, spent in GO_RESULT.findall(text)]
        if not any(result.name == top for result in results):
            why = "over %d s" % limit if code is None else "exit %s" % code
            results.append(Result(top, FAILED, seconds, why))
        return results


def go_reason(text):
    """The first line that a test has logged."""
    match = re.search(r"^ +\S+_test\.go:\d+: .*$", text, re.M)
    return match.group(0).strip() if match else ""
