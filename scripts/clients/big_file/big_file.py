"""A big file in and out again, with the broker killed in the middle, through kcat and Kafka's console producer.

The file is what this machine has under /usr, as a tar stream cut at the wanted size (and repeated if it is
smaller). It travels as base64 lines, so that no byte of it can be taken for a delimiter; what comes out must have
the same SHA-256, with as many records and offsets as there were lines.
"""

import base64
import hashlib
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "common"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "console"))
from harness import MIB, Suite, arguments, check, equal, restart_broker, unique, wait  # noqa: E402
from suite import tool_command  # noqa: E402


def make_file(path, size):
    with open(path, "wb") as out:
        while out.tell() < size:
            tar = subprocess.Popen(["tar", "-cf", "-", "--ignore-failed-read", "/usr"], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
            start = out.tell()
            while out.tell() < size:
                block = tar.stdout.read(min(MIB, size - out.tell()))
                if not block:
                    break
                out.write(block)
            tar.kill()
            tar.wait()
            check(out.tell() > start, "tar gave nothing")


def digest(path):
    total = hashlib.sha256()
    with open(path, "rb") as source:
        for block in iter(lambda: source.read(MIB), b""):
            total.update(block)
    return total.hexdigest()


class BigFile:
    def __init__(self, options):
        self.options, self.suite = options, Suite(options)
        self.size = (options.mb or (64 if options.quick else 1024)) * MIB
        self.path = Path("big-file")
        self.limit = 120 + self.size // MIB

    def case_make(self):
        make_file(self.path, self.size)
        self.wanted = digest(self.path)
        equal(self.path.stat().st_size, self.size, "size")

    def write(self, command, chunk):
        """Feeds the file to a producer as base64 lines and restarts the broker half way. Returns the line count."""
        producer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        errors, said = [], []
        reader = threading.Thread(target=lambda: said.append(producer.stderr.read().decode(errors="replace")))
        reader.start()

        def restarter():
            try:
                restart_broker()
            except Exception as error:
                errors.append(error)
        thread, lines = threading.Thread(target=restarter), 0
        begun = time.monotonic()
        try:
            with open(self.path, "rb") as source:
                for block in iter(lambda: source.read(chunk), b""):
                    producer.stdin.write(base64.b64encode(block) + b"\n")
                    lines += 1
                    if lines == self.size // chunk // 2:
                        thread.start()
            producer.stdin.close()
            producer.wait(self.limit)
        finally:
            producer.kill()
        thread.join()
        reader.join()
        check(not errors, "%s" % errors)
        equal(producer.returncode, 0, "exit of the producer (%s)" % said[0][-300:])
        check("Delivery failed" not in said[0] and "Error when sending" not in said[0], said[0][-600:])
        print("in: %.1f MB/s with a restart" % (self.size / 1e6 / (time.monotonic() - begun)))
        return lines

    def read(self, command, lines):
        """Compares what a consumer prints; each line is a base64 chunk."""
        consumer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said = []
        reader = threading.Thread(target=lambda: said.append(consumer.stderr.read().decode(errors="replace")))
        reader.start()
        timer = threading.Timer(self.limit, consumer.kill)
        timer.start()
        total, found, begun = hashlib.sha256(), 0, time.monotonic()
        try:
            for line in consumer.stdout:
                total.update(base64.b64decode(line))
                found += 1
            consumer.wait()
        finally:
            timer.cancel()
            consumer.kill()
        reader.join()
        equal(found, lines, "records (%s)" % said[0][-300:])
        equal(total.hexdigest(), self.wanted, "SHA-256")
        equal(consumer.returncode, 0, "exit of the consumer (%s)" % said[0][-300:])
        print("out: %.1f MB/s" % (self.size / 1e6 / (time.monotonic() - begun)))

    def end_offset(self, topic):
        command = ["kcat", "-b", self.options.bootstrap, "-Q", "-t", topic + ":0:-1"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
        return int(done.stdout.split()[-1])

    def topic(self, purpose):
        name = unique("big-file-" + purpose)
        command = ["kcat", "-b", self.options.bootstrap, "-L", "-t", name]
        wait(lambda: "partition 0, leader" in subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout, 20,
             "auto-creation of " + name)
        return name

    def case_kcat(self):
        topic = self.topic("kcat")
        # 48 KiB of the file are 64 KiB of base64.
        base = ["kcat", "-b", self.options.bootstrap, "-m", "30", "-t", topic, "-p", "0"]
        lines = self.write(base + ["-E", "-P", "-X", "enable.idempotence=true"], 48 * 1024)
        equal(self.end_offset(topic), lines, "end offset")
        self.read(base + ["-C", "-q", "-e", "-o", "beginning"], lines)

    def case_console(self):
        topic = unique("big-file-lines")
        subprocess.run(tool_command("kafka-topics", self.options.bootstrap, "--create", "--topic", topic,
                                    "--partitions", 1, "--replication-factor", 1), check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        # The tool gives up after three tries by default, unlike the client.
        lines = self.write(tool_command("kafka-console-producer", self.options.bootstrap, "--topic", topic,
                                        "--message-send-max-retries", 2147483647), 750)
        equal(self.end_offset(topic), lines, "end offset")
        self.read(tool_command("kafka-console-consumer", self.options.bootstrap, "--topic", topic, "--partition", 0,
                               "--offset", "earliest", "--max-messages", lines, "--timeout-ms", 60000), lines)

    def main(self):
        self.suite.case("make-file", self.case_make, always=True)
        self.suite.case("kcat", self.case_kcat)
        self.suite.case("console-producer", self.case_console)
        self.suite.end()


BigFile(arguments(extra=lambda parser: parser.add_argument("--mb", type=int, help="size of the file in MiB"))).main()
