"""Kafka Connect in distributed mode: a file goes through the broker into another file; its config, offset and status
topics lie in the broker."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

from programs import Cluster, Program, free_port
from harness import Suite, arguments, check, equal, restart_broker, unique, wait

# A worker waits twice for its herder (worker.sync.timeout.ms 3 s, task.shutdown.graceful.timeout.ms 5 s, 5 s for connectors
# and 10 s more), and twice for two pools of threads (10 s, 1 s), then it ends whatever they do: 68 s.
STOP_SECONDS = 75
WORKER = "org.apache.kafka.connect.cli.ConnectDistributed"


class Connect:
    def __init__(self, options):
        self.options, self.suite = options, Suite(options)
        self.cluster, self.name = Cluster(options.bootstrap), unique("connect")
        self.port, self.topic = free_port(), unique("lines")
        self.source, self.sink = Path("in.txt").resolve(), Path("out.txt").resolve()
        self.sent, self.worker = 0, None

    def properties(self):
        topics = {"%s.storage.topic" % kind: "%s-%s" % (self.name, kind) for kind in ("config", "offset", "status")}
        return {
            "bootstrap.servers": self.options.bootstrap, "group.id": self.name, **topics,
            "config.storage.replication.factor": 1, "offset.storage.replication.factor": 1,
            "status.storage.replication.factor": 1, "offset.storage.partitions": 5, "status.storage.partitions": 2,
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "offset.flush.interval.ms": 1000, "scheduled.rebalance.max.delay.ms": 0,
            "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000,
            "listeners": "http://127.0.0.1:%d" % self.port, "plugin.discovery": "service_load",
        }

    def ask(self, method, path, body=None):
        request = urllib.request.Request("http://127.0.0.1:%d%s" % (self.port, path), method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def answered(self, *request):
        """What ask gives, or None where the worker does not answer so yet."""
        self.worker.alive()
        try:
            return self.ask(*request)
        except (OSError, urllib.error.URLError):
            return None

    def start(self):
        self.worker = Program("connect", WORKER, properties=self.properties())
        wait(lambda: self.answered("GET", "/connectors") is not None, 90, "the worker answers")

    def running(self, connector, state="RUNNING"):
        told = self.answered("GET", "/connectors/%s/status" % connector)
        return told and told["connector"]["state"] == state and [task["state"] for task in told["tasks"]] == [state]

    def write(self, count):
        with open(self.source, "a") as out:
            for number in range(self.sent, self.sent + count):
                out.write("line %d\n" % number)
        self.sent += count

    def lines(self):
        return self.sink.read_text().splitlines() if self.sink.exists() else []

    def arrived(self, seconds=60):
        wanted = {"line %d" % number for number in range(self.sent)}

        def missing():
            return "%d of %d lines" % (len(wanted & set(self.lines())), len(wanted))
        wait(lambda: self.worker.alive() and wanted <= set(self.lines()), seconds, missing)
        return len(self.lines()) - len(wanted)

    def case_worker(self):
        self.start()
        told = self.ask("GET", "/")
        check(told.get("kafka_cluster_id"), "the worker does not know the cluster id: %s" % told)
        plugins = {plugin["class"].rsplit(".", 1)[-1] for plugin in self.ask("GET", "/connector-plugins")}
        check({"FileStreamSourceConnector", "FileStreamSinkConnector"} <= plugins, "plugins: %s" % plugins)
        for kind, partitions in (("config", 1), ("offset", 5), ("status", 2)):
            topic = "%s-%s" % (self.name, kind)
            # The worker answers before it has made all of them.
            wait(lambda topic=topic: topic in self.cluster.topics(), 30, "topic " + topic)
            equal(self.cluster.partitions(topic), partitions, "partitions of " + topic)
            equal(self.cluster.config(topic)["cleanup.policy"], "compact", "cleanup.policy of " + topic)

    def case_file(self):
        self.cluster.create(self.topic, 1)
        self.write(500)
        self.ask("PUT", "/connectors/source/config", {
            "connector.class": "FileStreamSource", "tasks.max": "1", "file": str(self.source), "topic": self.topic})
        made = self.ask("POST", "/connectors", {"name": "sink", "config": {
            "connector.class": "FileStreamSink", "tasks.max": "1", "file": str(self.sink), "topics": self.topic}})
        equal(made["name"], "sink", "the connector made")
        equal(sorted(self.ask("GET", "/connectors")), ["sink", "source"], "connectors")
        for connector in ("source", "sink"):
            wait(lambda: self.running(connector), 60, "%s runs" % connector)
        equal(self.arrived(), 0, "lines twice")
        equal(self.lines(), ["line %d" % number for number in range(self.sent)], "the file")

    def position(self):
        told = self.answered("GET", "/connectors/source/offsets")
        return told and told["offsets"] and told["offsets"][0]["offset"]["position"]

    def restart(self, graceful):
        if graceful:
            self.worker.close(STOP_SECONDS)
        else:
            self.worker.kill()
        self.write(200)
        self.start()
        for connector in ("source", "sink"):
            wait(lambda: self.running(connector), 60, "%s runs after the restart" % connector)
        return self.arrived()

    def case_restart(self):
        """The worker ends in good order and finds its connectors and their offsets in the broker."""
        size = self.source.stat().st_size
        wait(lambda: self.position() == size, 30, lambda: "position %s, not %d" % (self.position(), size))
        equal(self.restart(True), 0, "lines twice after a restart in good order")
        equal(self.lines(), ["line %d" % number for number in range(self.sent)], "the file")

    def case_kill(self):
        """kill -9 of the worker: nothing is lost; what was not committed comes twice, as Connect promises."""
        self.write(200)
        self.arrived()
        print("%d lines twice after kill -9 of the worker" % self.restart(False), flush=True)

    def case_broker(self):
        restart_broker()
        before = len(self.lines()) - self.sent
        self.write(200)
        print("%d lines twice after a restart of the broker" % (self.arrived(90) - before), flush=True)
        for connector in ("source", "sink"):
            wait(lambda: self.running(connector), 60, "%s runs" % connector)

    def case_rest(self):
        """Pause, resume, a changed configuration, an unknown connector, a bad configuration, deletion."""
        self.ask("PUT", "/connectors/source/pause")
        wait(lambda: self.running("source", "PAUSED"), 30, "source is paused")
        self.write(10)
        time.sleep(1)
        check("line %d" % (self.sent - 1) not in self.lines(), "a paused connector goes on")
        self.ask("PUT", "/connectors/source/resume")
        self.arrived()
        config = self.ask("GET", "/connectors/source/config")
        self.ask("PUT", "/connectors/source/config", {**config, "batch.size": "100"})
        wait(lambda: self.answered("GET", "/connectors/source/config")["batch.size"] == "100", 30, "the new config")
        wait(lambda: self.running("source"), 30, "source runs")
        self.write(10)
        self.arrived()
        for method, path, body, code in (("GET", "/connectors/none", None, 404),
                                         ("PUT", "/connectors/bad/config", {"connector.class": "NoSuchThing"}, 400)):
            try:
                self.ask(method, path, body)
                raise AssertionError("%s %s went through" % (method, path))
            except urllib.error.HTTPError as error:
                equal(error.code, code, "%s %s" % (method, path))
        for connector in ("source", "sink"):
            self.ask("DELETE", "/connectors/" + connector)
        wait(lambda: self.answered("GET", "/connectors") == [], 30, "no connectors")
        self.worker.close(STOP_SECONDS)

    def main(self):
        case = self.suite.case
        try:
            case("connect/worker", self.case_worker, always=True)
            case("connect/file", self.case_file, always=True)
            case("connect/restart", self.case_restart)
            if not self.options.quick:
                case("connect/kill", self.case_kill)
                case("connect/broker-restart", self.case_broker)
            case("connect/rest", self.case_rest)
        finally:
            if self.worker:
                if self.suite.failed:
                    self.worker.show()
                self.worker.kill()
        self.suite.end()


if __name__ == "__main__":
    Connect(arguments()).main()
