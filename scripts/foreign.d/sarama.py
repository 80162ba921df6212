"""Sarama's functional tests: five brokers of one cluster, each behind a proxy of Toxiproxy, as they expect.

The tests reach the proxies at 127.0.0.1:29091 to 29095, which brokers advertise as their own addresses. The cluster
is the one of `run-clients --target cluster`: a real etcd and our S3 server. The tests start, stop and ask brokers with
`docker compose`; they find a command of that name which does so to ours, and runs Kafka's tools without a container.
"""

import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

from common import CACHE, PINS, Failure, GoTests, kafka_scripts, metric, requests_at, run, run_clients

# What the tests may take Kafka for: it decides which versions of the protocol they try.
KAFKA = "4.1.0"
BROKERS, FIRST_PORT, CONTROL_PORT = 5, 29091, 8474
# Seconds that one test may take.
LIMIT = 240
# What the tests call: docker compose up|down|rm ..., stop|start|logs ... kafka-N, exec -T kafka-1 COMMAND...
DOCKER = """#!/bin/sh
if [ "$2" = --profile ]; then
    shift 3
    set -- compose "$@"
fi
case "$2" in
up | down | rm) exit 0 ;;
stop | start | logs)
    for last; do :; done
    exec %(python)s -c 'import sys, urllib.request as web
print(web.urlopen(web.Request(sys.argv[1], method="POST")).read().decode(), end="")' "%(control)s/$2/$last"
    ;;
exec)
    shift 4
    for word; do
        shift
        set -- "$@" "$(printf %%s "$word" | sed -e 's#/opt/kafka-[0-9.]*/bin#%(bin)s#g' -e 's#kafka-1:9091#%(broker)s#g')"
    done
    exec "$@"
    ;;
esac
exit 1
"""


class Proxied(run_clients.Cluster):
    """Brokers that advertise the address of their proxy."""

    def __init__(self, work, log, toxiproxy):
        log.unlink(missing_ok=True)
        super().__init__(work, log)
        self.toxiproxy, self.stopped, self.lost = toxiproxy, set(), 0
        ports = run_clients.free_ports(2 * BROKERS)
        self.ports = list(zip(ports[::2], ports[1::2]))

    def broker(self, number):
        port, other = self.ports[number]
        return self.spawn([self.binary, "broker"], {
            "KAFSCALE_BROKER_ID": str(number + 1),
            "KAFSCALE_BROKER_ADDR": "127.0.0.1:%d" % port,
            "KAFSCALE_BROKER_HOST": "127.0.0.1",
            "KAFSCALE_BROKER_PORT": str(FIRST_PORT + number),
            "KAFSCALE_METRICS_ADDR": "127.0.0.1:%d" % other,
            **self.place(),
            "KAFSCALE_SESSION_TTL_MS": "5000",
            "KAFSCALE_FLUSH_INTERVAL_MS": "20",
            "KAFSCALE_SHARDS": "1",
            "KAFSCALE_BROKER_RACK": str(number + 1),
            "KAFSCALE_AUTO_CREATE_TOPICS": "false",
            "KAFSCALE_MEMORY_BYTES": "512MiB", "KAFSCALE_CACHE_SIZE": "64MiB",
        })

    def start(self, limit=120):
        super().start(limit)
        proxies = [{"name": "kafka%d" % (number + 1), "listen": "127.0.0.1:%d" % (FIRST_PORT + number),
                    "upstream": "127.0.0.1:%d" % port, "enabled": True}
                   for number, (port, _) in enumerate(self.ports)]
        for port in [CONTROL_PORT] + [FIRST_PORT + number for number in range(BROKERS)]:
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    sock.bind(("127.0.0.1", port))
                except OSError:
                    raise Failure("port %d is taken, and the tests know no other" % port) from None
        config = self.work / "toxiproxy.json"
        config.write_text(json.dumps(proxies))
        self.stores.append(self.spawn([self.toxiproxy, "-host", "127.0.0.1", "-port", str(CONTROL_PORT),
                                       "-config", config], {"LOG_LEVEL": "error"}))
        self.wait(lambda: self.listens(CONTROL_PORT) and self.listens(FIRST_PORT + BROKERS - 1), limit)

    def stop_broker(self, number):
        """As docker does: politely, and after ten seconds not."""
        self.lost += requests_at(self.ports[number][1])
        self.stopped.add(number)
        process = self.brokers[number]
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start_broker(self, number):
        if number in self.stopped:
            self.brokers[number] = self.broker(number)
            self.wait(self.ready, 60)
            self.stopped.discard(number)

    def out_of_order(self, number):
        return metric(self.ports[number][1], 'kafscale_request_errors_total{api="Produce",code="45"}')

    def begin_test(self):
        self.before = [0 if number in self.stopped else self.out_of_order(number) for number in range(BROKERS)]

    def complaints(self, number):
        """What Kafka would have logged in this test, as far as the tests look at it."""
        return "OutOfOrderSequenceException\n" if self.out_of_order(number) > self.before[number] else ""

    def requests(self):
        live = [other for number, (_, other) in enumerate(self.ports) if number not in self.stopped]
        return self.lost + sum(requests_at(other) for other in live)

    def alive(self):
        return all(process.poll() is None for process in self.stores) and all(
            process.poll() is None for number, process in enumerate(self.brokers) if number not in self.stopped)


class Compose(http.server.BaseHTTPRequestHandler):
    """POST /stop/kafka-N, /start/kafka-N and /logs/kafka-N."""

    def do_POST(self):  # noqa: N802
        word, name = self.path.strip("/").split("/")
        number, cluster = int(name.split("-")[1]) - 1, self.server.cluster
        answer = {"stop": cluster.stop_broker, "start": cluster.start_broker, "logs": cluster.complaints}[word](number)
        self.send_response(200)
        self.end_headers()
        self.wfile.write((answer or "").encode())

    def log_message(self, *_):
        pass


class Suite:
    def __init__(self, work, logs):
        self.work, self.logs = work, logs
        self.tests = GoTests("sarama", "github.com/IBM/sarama", tags="functional")
        self.version, self.units = self.tests.version, self.tests.units
        self.toxiproxy = CACHE / "toxiproxy"
        run(["go", "build", "-mod=readonly", "-o", self.toxiproxy, "github.com/Shopify/toxiproxy/v2/cmd/server"],
            cwd=PINS / "sarama")

    def names(self):
        """The others are in the same package and need no broker."""
        files = sorted(self.tests.folder.glob("functional_*_test.go"))
        return [name for file in files for name in re.findall(r"^func (Test\w+)\(t \*testing.T\)", file.read_text(), re.M)]

    def broker(self, _, work, log):
        return Proxied(work, log, self.toxiproxy)

    def prepare(self, broker):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Compose)
        server.cluster, server.daemon_threads = broker, True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = self.work / "docker"
        kafka_scripts(place / "bin")
        stand_in = place / "docker"
        stand_in.write_text(DOCKER % {"control": "http://127.0.0.1:%d" % server.server_port, "bin": place / "bin",
                                      "python": sys.executable,
                                      "broker": "127.0.0.1:%d" % FIRST_PORT})
        stand_in.chmod(0o755)
        self.cluster = broker
        self.env = {"PATH": "%s:%s" % (place, os.environ["PATH"]), "KAFKA_VERSION": KAFKA}

    def run(self, names, limit=None):
        self.cluster.begin_test()
        return self.tests.run(names, self.logs, limit or LIMIT, self.env)
