"""Runs a broker, a Prometheus and a span collector, and checks dashboard, alert rules and metrics page against them.

scripts/monitoring-test installs what it needs and starts it.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from prometheus_client.openmetrics.parser import text_string_to_metric_families

HERE = pathlib.Path(__file__).resolve().parent
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
# Findings of promtool's linter that are names of the original KafScale, which people scrape already.
KNOWN_LINT = re.compile(r'use base unit|metric names should not contain abbreviated units|counter metrics should|no help text')
# Prometheus scrapes each second, and the dashboard's interval is set to this.
INTERVAL = "15s"
DEADLINE = 90.0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Spans(trace_service_pb2_grpc.TraceServiceServicer):
    """A collector that keeps what it is sent."""

    def __init__(self):
        self.lock, self.spans, self.resources = threading.Lock(), [], []

    def Export(self, request, context):  # noqa: N802, the name is gRPC's
        with self.lock:
            for resource in request.resource_spans:
                self.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


class Checks:
    """What was checked, and what failed."""

    def __init__(self):
        self.done, self.failed = 0, []

    def __call__(self, holds, what):
        self.done += 1
        if not holds:
            self.failed.append(what)
            print(f"FAIL {what}", file=sys.stderr)


def fetch(url, accept=None, timeout=10):
    request = urllib.request.Request(url, headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def wait_for(what, condition):
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        try:
            found = condition()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit(f"monitoring-test: {what} did not happen within {DEADLINE:.0f} s")


def load(broker, bootstrap):
    """Writes and reads, so that every histogram has something in it; leaves a group behind the end."""
    client = [broker, "--bootstrap-server", bootstrap]
    lines = "\n".join(f"line {number}" for number in range(2000)).encode()
    run = lambda *args, data=None: subprocess.run([*client, *args], input=data, check=True, stdout=subprocess.DEVNULL, timeout=60)
    run("topic", "create", "orders", "--partitions", "4")
    run("produce", "orders", data=lines)
    run("consume", "orders", "--group", "billing", "--from-beginning", "--exit-at-end")
    run("produce", "orders", data=lines)


def check_page(check, promtool, url):
    kind, text = fetch(url)
    check(kind.startswith("text/plain; version=0.0.4"), f"the page without Accept is {kind}")
    lint = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, timeout=60)
    findings = [line for line in lint.stderr.decode().splitlines() if line and not KNOWN_LINT.search(line)]
    check(not findings, f"promtool check metrics: {findings[:5]}")
    kind, text = fetch(url, OPEN_METRICS)
    check(kind.startswith("application/openmetrics-text; version=1.0.0"), f"OpenMetrics was asked for and {kind} given")
    try:
        families = list(text_string_to_metric_families(text))
        check(len(families) > 80, f"only {len(families)} metrics")
    except ValueError as error:
        check(False, f"the page is no OpenMetrics: {error}")


class Prometheus:
    def __init__(self, url):
        self.url = url

    def query(self, expr):
        """The result of an instant query; what is wrong with the query ends the check."""
        data = urllib.parse.urlencode({"query": expr}).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query", data=data, timeout=30) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{expr}: {error.read().decode()[:200]}") from error


def check_dashboard(check, prometheus):
    path = HERE / "grafana-dashboard.json"
    generated = subprocess.run([sys.executable, HERE / "dashboard.py"], capture_output=True, check=True).stdout.decode()
    check(path.read_text() == generated, f"{path.name} is not what dashboard.py prints: run it again")
    dashboard, queries = json.loads(path.read_text()), 0
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"].replace("$__rate_interval", INTERVAL).replace("$job", ".*").replace("$instance", ".*")
            queries += 1
            try:
                result = prometheus.query(expr)
                check(result, f"panel {panel['title']!r} shows nothing: {expr}")
                labels = re.findall(r"{{(\w+)}}", target["legendFormat"])
                named = all(label in row["metric"] for row in result for label in labels)
                check(named, f"the legend of {panel['title']!r} names a label that its series do not have")
            except ValueError as error:
                check(False, str(error))
    check(queries > 50, f"only {queries} queries in the dashboard")


def check_alerts(check, prometheus, promtool):
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts-test.yml"]):
        ran = subprocess.run([promtool, *command], cwd=HERE, capture_output=True, timeout=60)
        check(ran.returncode == 0, f"promtool {' '.join(command)}: {(ran.stdout + ran.stderr).decode()[-800:]}")
    rules, tests = (HERE / "alerts.yml").read_text(), (HERE / "alerts-test.yml").read_text()
    names = re.findall(r"alert: (\w+)", rules)
    for name in names:
        for way in ("fires", "is silent"):
            check(f"name: {name} {way}\n" in tests, f"{name} has no test in which it {way}")
    for page in set(re.findall(r"runbook: (\S+)", rules)):
        check((HERE.parents[2] / page).is_file(), f"alerts name {page}, which is not there")
    exprs = re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n {8}(?:for|labels)", rules)
    check(len(exprs) == len(names), "an expression was not found")
    for selector in sorted({s for expr in exprs for s in re.findall(r"kafscale_\w+(?:\{[^}]*\})?", expr)}):
        check(prometheus.query(f"count({selector})"), f"the broker has no series {selector} that an alert asks for")


def check_spans(check, collector):
    def complete():
        with collector.lock:
            names = {span.name for span in collector.spans}
        return {"flush", "s3.put"} <= names

    wait_for("a span of a flush", complete)
    with collector.lock:
        spans, resources = list(collector.spans), list(collector.resources)
    check(resources[0].get("service.name") == "kafscale", f"the resource of spans is {resources[0]}")
    flushes = {span.span_id: span for span in spans if span.name == "flush"}
    below = [span for span in spans if span.name == "s3.put" and span.parent_span_id in flushes]
    check(below, "no PUT lies below a flush")
    attributes = {a.key for a in next(iter(flushes.values())).attributes}
    check({"sequence", "bytes", "partitions"} <= attributes, f"a flush has the attributes {attributes}")
    check(all(span.end_time_unix_nano > span.start_time_unix_nano for span in flushes.values()), "a flush takes no time")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--prometheus", required=True)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    broker, promtool = os.path.abspath(args.broker), os.path.join(args.prometheus, "promtool")
    work = pathlib.Path(tempfile.mkdtemp(prefix="kafscale-monitoring-"))
    kafka, admin, web, otlp = (free_port() for _ in range(4))
    collector, processes, check = Spans(), [], Checks()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    server.add_insecure_port(f"127.0.0.1:{otlp}")
    server.start()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KAFSCALE_")}
    start = lambda log, command: processes.append(
        subprocess.Popen(command, stdout=open(work / log, "w"), stderr=subprocess.STDOUT, env=environment))
    (work / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 5s}\n"
        f"rule_files: ['{HERE / 'alerts.yml'}']\n"
        f"scrape_configs: [{{job_name: kafscale, static_configs: [{{targets: ['127.0.0.1:{admin}']}}]}}]\n")
    try:
        start("broker.log", [
            broker, "broker", "--data-dir", str(work / "data"), "--broker-addr", f"127.0.0.1:{kafka}", "--shards", "2",
            "--metrics-addr", f"127.0.0.1:{admin}", "--otlp-endpoint", f"http://127.0.0.1:{otlp}", "--pin", "false",
            "--lag-sample-interval-sec", "1", "--backup-interval-ms", "5000"])
        wait_for("the start of the broker", lambda: fetch(f"http://127.0.0.1:{admin}/readyz"))
        start("prometheus.log", [
            os.path.join(args.prometheus, "prometheus"), f"--config.file={work / 'prometheus.yml'}",
            f"--storage.tsdb.path={work / 'tsdb'}", f"--web.listen-address=127.0.0.1:{web}"])
        prometheus = Prometheus(f"http://127.0.0.1:{web}")
        wait_for("the start of Prometheus", lambda: fetch(f"{prometheus.url}/-/ready"))
        load(broker, f"127.0.0.1:{kafka}")
        check_page(check, promtool, f"http://127.0.0.1:{admin}/metrics")
        # Rates need two scrapes, and the lag a look.
        wait_for("lag in Prometheus", lambda: prometheus.query("kafscale_consumer_group_lag_seconds > 0"))
        load_again = subprocess.run(
            [broker, "--bootstrap-server", f"127.0.0.1:{kafka}", "produce", "orders"], input=b"one more\n", check=True)
        check(load_again.returncode == 0, "a record is produced")
        wait_for("two scrapes with rates", lambda: prometheus.query("rate(kafscale_produce_records_total[15s]) > 0"))
        check(prometheus.query("up == 1"), "Prometheus does not take the page")
        check_dashboard(check, prometheus)
        check_alerts(check, prometheus, promtool)
        check_spans(check, collector)
        processes[0].terminate()
        check(processes[0].wait(timeout=60) == 0, "the broker does not end well")
        lines = (work / "broker.log").read_text().splitlines()
        loud = [line for line in lines if re.search(r"\b(WARN|ERROR)\b", line)]
        check(not loud, f"the broker has logged {loud[:3]}")
    finally:
        for process in processes:
            process.kill()
            process.wait()
        server.stop(None)
        if args.keep or check.failed:
            print(f"monitoring-test: logs are in {work}", file=sys.stderr)
        else:
            shutil.rmtree(work)
    print(f"monitoring-test: {check.done} checks, {len(check.failed)} failed")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
