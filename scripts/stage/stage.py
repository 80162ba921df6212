"""What the worst night and the upgrade are played on: real brokers, etcd and MinIO as processes, a producer whose every record
is counted, and the metrics of the brokers as a timeline.

Everything listens on loopback, on free ports, and ends with the stage.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUCKET = "night"
ACCESS, SECRET = "kafscale", "kafscale-secret"
# What is in a timeline, in its order: series of /metrics, summed over their labels.
SERIES = ["kafscale_s3_health_state", "kafscale_produce_refused_total", "kafscale_wal_backlog_objects", "kafscale_partitions",
          "kafscale_takeovers_total", "kafscale_cluster_brokers", "kafscale_keep_alive_errors_total", "kafscale_segments_damaged"]


class Failed(Exception):
    """A promise was broken, or something did not happen in time."""


class Skipped(Exception):
    """The system does not give what a story takes."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, seconds, condition):
    """Waits until it holds, and gives how long that took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            if condition():
                return time.monotonic() - began
        except (OSError, subprocess.SubprocessError):
            pass
        time.sleep(0.1)
    raise Failed(f"{what} did not happen within {seconds} s")


class Process:
    """A program with a log."""

    def __init__(self, stage, name, command, environment=None):
        self.name, self.log = name, stage.work / f"{name}.log"
        self.command, self.environment = command, {**stage.environment, **(environment or {})}
        self.child = None
        self.start()

    def start(self):
        with open(self.log, "a") as log:
            self.child = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment)

    def end(self, how=signal.SIGTERM, seconds=60):
        """Ends it by a signal; gives how long it took and its code."""
        began = time.monotonic()
        self.child.send_signal(how)
        code = self.child.wait(timeout=seconds)
        return time.monotonic() - began, code

    def text(self):
        return self.log.read_text(errors="replace")

    def kill(self):
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()


class Broker(Process):
    def __init__(self, stage, number, program, settings=None, name=None, ports=None):
        self.number, self.stage = number, stage
        self.kafka, self.admin = ports or (free_port(), free_port())
        environment = {
            "KAFSCALE_BROKER_ADDR": f"127.0.0.1:{self.kafka}", "KAFSCALE_METRICS_ADDR": f"127.0.0.1:{self.admin}",
            "KAFSCALE_BROKER_ID": str(number), "KAFSCALE_SHARDS": "2", "KAFSCALE_PIN": "false",
            "KAFSCALE_MEMORY_BYTES": "64MiB", "KAFSCALE_CACHE_SIZE": "64MiB", "KAFSCALE_FLUSH_INTERVAL_MS": "50",
            **(settings or {})}
        super().__init__(stage, name or f"broker-{number}", [program, "broker"], environment)

    def ready(self):
        return self.page("/readyz")[0] == 200

    def page(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_ready(self, seconds=60):
        def look():
            if self.child.poll() is not None:
                raise Failed(f"{self.name} has ended: {self.text()[-600:]}")
            return self.ready()
        return wait_for(f"{self.name} is ready", seconds, look)

    def metric(self, name):
        """The sum of all series whose name, with labels, begins so."""
        total = 0.0
        for line in self.page("/metrics")[1].splitlines():
            if line.startswith(name) and line[len(name):len(name) + 1] in (" ", "{", ""):
                total += float(line.rsplit(" ", 1)[1])
        return total


class Load:
    """A producer that writes a number every 20 ms and is told whether each was acknowledged; `end` waits for the last."""

    def __init__(self, stage, topic, bootstrap):
        self.stage, self.topic, self.sent = stage, topic, 0
        self.stopped = threading.Event()
        self.child = subprocess.Popen(
            [stage.program, "-b", bootstrap, "--request-timeout", "30s", "produce", topic, "--delivery-timeout", "30m"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=stage.environment)
        self.thread = threading.Thread(target=self.write, daemon=True)
        self.thread.start()

    def write(self):
        while not self.stopped.is_set():
            try:
                self.child.stdin.write(f"{self.sent}\n".encode())
                self.child.stdin.flush()
            except (BrokenPipeError, ValueError):
                return
            self.sent += 1
            time.sleep(0.02)

    def end(self):
        """How many records were sent; each of them was acknowledged."""
        self.stopped.set()
        self.thread.join(timeout=120)
        self.child.stdin.close()
        said = self.child.stderr.read().decode()
        if self.child.wait(timeout=300) != 0:
            raise Failed(f"the producer has failed: {said[-400:]}")
        return self.sent


class Stage:
    """A folder, the processes in it, and what was seen."""

    def __init__(self, program, keep=False, pictures=None):
        self.pictures = pictures
        self.program, self.keep = str(pathlib.Path(program).resolve()), keep
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="kafscale-stage-"))
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("KAFSCALE_")}
        self.processes, self.began = [], time.monotonic()
        self.timeline, self.seen = [], []
        self.watching = threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.watching.set()
        for process in reversed(self.processes):
            process.kill()
        if self.keep or kind:
            print(f"logs are in {self.work}", file=sys.stderr)
        else:
            shutil.rmtree(self.work, ignore_errors=True)

    def add(self, process):
        self.processes.append(process)
        return process

    def say(self, text):
        line = f"{time.monotonic() - self.began:7.1f} s  {text}"
        self.seen.append(line)
        print(line, flush=True)

    def check(self, holds, what):
        if not holds:
            raise Failed(what)

    def etcd(self, directory="etcd"):
        if not hasattr(self, "etcd_port"):
            self.etcd_port, self.etcd_peer = free_port(), free_port()
        bin = subprocess.run([ROOT / "scripts/install-etcd"], check=True, capture_output=True, text=True).stdout.strip()
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.etcd_peer}"
        etcd = self.add(Process(self, directory, [
            f"{bin}/etcd", "--name", "night", "--data-dir", str(self.work / f"{directory}.data"), "--log-level", "warn",
            "--logger", "zap", "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"night={peer}"], {"ETCD_UNSUPPORTED_ARCH": ""}))
        wait_for("etcd answers", 30, lambda: urllib.request.urlopen(f"{client}/version", timeout=2).status == 200)
        self.environment["KAFSCALE_ETCD_ENDPOINTS"] = client
        return etcd

    def minio(self):
        bin = subprocess.run([ROOT / "scripts/install-minio"], check=True, capture_output=True, text=True).stdout.strip()
        port, console = free_port(), free_port()
        (self.work / "minio.data" / BUCKET).mkdir(parents=True)
        minio = self.add(Process(self, "minio", [
            f"{bin}/minio", "server", "--quiet", "--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}",
            str(self.work / "minio.data")], {"MINIO_ROOT_USER": ACCESS, "MINIO_ROOT_PASSWORD": SECRET}))
        url = f"http://127.0.0.1:{port}"
        self.s3_answers = lambda: urllib.request.urlopen(f"{url}/minio/health/live", timeout=2).status == 200
        wait_for("MinIO answers", 60, self.s3_answers)
        self.environment.update(KAFSCALE_S3_BUCKET=BUCKET, KAFSCALE_S3_ENDPOINT=url, KAFSCALE_S3_REGION="us-east-1",
                                KAFSCALE_S3_ACCESS_KEY=ACCESS, KAFSCALE_S3_SECRET_KEY=SECRET)
        return minio

    def broker(self, number, program=None, settings=None, name=None, ports=None):
        broker = self.add(Broker(self, number, program or self.program, settings, name, ports))
        broker.wait_ready()
        return broker

    def picture(self, broker, view, name):
        """What the console of a broker shows now, as NAME.png in the folder of pictures; nothing where none is wanted."""
        if self.pictures is None:
            return
        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{name}.png"
        chromium = subprocess.run([ROOT / "scripts/install-chromium"], check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run([chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1360,860",
                        f"--user-data-dir={self.work / 'chromium'}", "--virtual-time-budget=5000", f"--screenshot={path}",
                        f"http://127.0.0.1:{broker.admin}/console/#/{view}"], check=True, capture_output=True, timeout=120)
        self.say(f"the console shows {name}.png")

    def run(self, *arguments, program=None, bootstrap=None, data=None, fails=False, seconds=300):
        """Runs a command of kafscale and gives what it prints."""
        command = [program or self.program, *arguments, *(["-b", bootstrap] if bootstrap else [])]
        ran = subprocess.run(command, input=data, capture_output=True, timeout=seconds, env=self.environment)
        if (ran.returncode != 0) != fails:
            raise Failed(f"{' '.join(arguments)} ended with {ran.returncode}: {(ran.stdout + ran.stderr).decode()[-800:]}")
        return (ran.stdout + ran.stderr).decode() if fails else ran.stdout.decode()

    def read_all(self, topic, bootstrap, program=None):
        """The numbers in a topic."""
        text = self.run("consume", topic, "--from-beginning", "--exit-at-end", bootstrap=bootstrap, program=program)
        return [int(line) for line in text.split()]

    def expect_once(self, topic, bootstrap, count):
        """Every acknowledged number is there, once."""
        numbers = sorted(self.read_all(topic, bootstrap))
        self.check(len(set(numbers)) == len(numbers), f"{len(numbers) - len(set(numbers))} records are there twice")
        self.check(numbers == list(range(count)), f"{count} records were acknowledged, {len(numbers)} are there")
        self.say(f"all {count} acknowledged records are there, each once")

    def watch(self, brokers, every=1.0):
        """Adds a row to the timeline now and then, until the stage ends."""
        def look():
            while not self.watching.wait(every):
                for broker in brokers():
                    try:
                        status, reason = broker.page("/readyz")
                        row = [broker.metric(name) for name in SERIES]
                        self.timeline.append((time.monotonic() - self.began, broker.name, status, reason.strip(), row))
                    except OSError:
                        self.timeline.append((time.monotonic() - self.began, broker.name, 0, "no answer", None))
        threading.Thread(target=look, daemon=True).start()

    def table(self):
        """The timeline where it changes, as Markdown."""
        lines = ["| s | broker | /readyz | " + " | ".join(f"`{name.removeprefix('kafscale_')}`" for name in SERIES) + " |",
                 "|---" * (3 + len(SERIES)) + "|"]
        last = {}
        for at, name, status, reason, row in self.timeline:
            state = (status, reason, None if row is None else (row[0], row[3], row[5], row[6] > 0, row[1] > 0))
            if last.get(name) == state:
                continue
            last[name] = state
            cells = ["–"] * len(SERIES) if row is None else [f"{value:.0f}" for value in row]
            lines.append(f"| {at:.0f} | {name} | {status or '–'} {reason} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def unlisted(text, provoked):
    """WARN and ERROR lines of a log that hold none of these parts."""
    loud = [line for line in text.splitlines() if re.search(r"\b(WARN|ERROR)\b", line)]
    return [line for line in loud if not any(part in line for part in provoked)]


def dump(path, document):
    path.write_text(json.dumps(document, indent=1) + "\n")
