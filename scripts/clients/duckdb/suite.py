"""DuckDB on what `kafscale export` writes: every record, as it was produced by confluent-kafka.

Beside HOST:PORT it needs EXPORT_CMD, the command `kafscale export` with the settings of the broker in its
environment, and on an embedded store STOP_CMD and START_CMD: a data directory has one user at a time.
"""

import base64
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "common"))
import confluent_kafka as ck  # noqa: E402
import duckdb  # noqa: E402
from confluent_kafka import admin as cka  # noqa: E402
from harness import BASE_TIME, Suite, arguments, check, equal, test_records, unique, wait  # noqa: E402

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PARTITIONS = 3


def headers_of(found):
    return tuple((header["key"], header["value"]) for header in found)


class DuckDb:
    def __init__(self, options):
        self.options, self.suite = options, Suite(options)
        self.embedded = "STOP_CMD" in os.environ
        self.sql = duckdb.connect()
        self.admin = cka.AdminClient({"bootstrap.servers": options.bootstrap})
        self.topic, self.records, self.acked = unique("duckdb"), [], {}
        self.words, self.parquet = unique("duckdb-words"), None

    def run(self):
        self.suite.case("produce", self.case_produce, always=True)
        self.broker("STOP_CMD")
        try:
            self.suite.case("parquet/export", self.case_export, always=True)
            for name in ["rows", "counts", "headers", "times", "origin", "text", "partitions", "offsets", "time-range"]:
                self.suite.case("parquet/" + name, getattr(self, "case_" + name.replace("-", "_")))
            self.suite.case("json/rows", self.case_json)
            self.suite.case("json/documents", self.case_documents)
            self.suite.case("refused", self.case_refused)
        finally:
            self.broker("START_CMD")
        self.suite.end()

    def broker(self, name):
        if self.embedded:
            done = subprocess.run(os.environ[name], shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True)
            check(done.returncode == 0, name + ": " + done.stdout)

    def export(self, topic, *arguments, code=0):
        command = shlex.split(os.environ["EXPORT_CMD"]) + ["--topic", topic, *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said = done.stderr.decode()
        check(done.returncode == code, "%s: exit %d: %s" % (arguments, done.returncode, said))
        return done.stdout.decode() if "-" in arguments else said

    def files(self, *arguments, topic=None):
        """Exports to a new directory and gives what DuckDB calls all of its files."""
        place = unique("export")
        self.export(topic or self.topic, "--output", place, *arguments)
        return "'%s/*.%s'" % (place, "jsonl*" if "json" in arguments else "parquet")

    def rows(self, query):
        return self.sql.sql(query).fetchall()

    def wanted(self, partition=None):
        """What was produced, by partition and offset."""
        found = sorted(self.acked.items())
        return [(at, record) for at, record in found if partition is None or at[0] == partition]

    def case_produce(self):
        topics = [cka.NewTopic(name, PARTITIONS, 1) for name in (self.topic, self.words)]
        for future in self.admin.create_topics(topics).values():
            future.result(30)
        wait(lambda: self.topic in self.admin.list_topics(timeout=10).topics, 15, "the topic")
        for codec in CODECS:
            records = [(self.topic, record) for record in test_records("duckdb-" + codec)]
            if codec == "zstd":
                lines = [(number, b'{"amount":%d,"who":"w%d"}' % (number, number % 7)) for number in range(300)]
                records += [(self.words, (number % PARTITIONS, BASE_TIME, b"k%d" % number, line, ()))
                            for number, line in lines]
            self.produce(codec, records)
        equal(len(self.acked), 60 * len(CODECS), "records acknowledged")

    def produce(self, codec, records):
        producer = ck.Producer({"bootstrap.servers": self.options.bootstrap, "compression.type": codec,
                                "message.max.bytes": 8 << 20, "linger.ms": 5})
        failed = []

        def report(topic, record):
            def told(error, message):
                if error:
                    failed.append(error)
                elif topic == self.topic:
                    self.acked[(message.partition(), message.offset())] = record
            return told
        for topic, record in records:
            partition, timestamp, key, value, headers = record
            producer.produce(topic, partition=partition, key=key, value=value, headers=list(headers),
                             timestamp=timestamp, on_delivery=report(topic, record))
            producer.poll(0)
        equal(producer.flush(60), 0, "records not delivered")
        equal(failed, [], "failures")

    def case_export(self):
        self.parquet = self.files()

    def case_rows(self):
        found = self.rows("""SELECT partition, "offset", epoch_ms(timestamp), timestamp_type, key, value, headers
                             FROM %s ORDER BY ALL""" % self.parquet)
        found = [((row[0], row[1]), (row[2], row[3], row[4], row[5], headers_of(row[6]))) for row in found]
        wanted = [(at, (it.timestamp, "CreateTime", it.key, it.value, it.headers)) for at, it in self.wanted()]
        equal(found, wanted, "rows")

    def case_counts(self):
        found = self.rows("""SELECT partition, count(*), min("offset"), max("offset"), count(key), count(value)
                             FROM %s GROUP BY partition ORDER BY partition""" % self.parquet)
        wanted = []
        for partition in range(PARTITIONS):
            records = [record for _, record in self.wanted(partition)]
            wanted.append((partition, len(records), 0, len(records) - 1, sum(it.key is not None for it in records),
                           sum(it.value is not None for it in records)))
        equal(found, wanted, "counts")

    def case_headers(self):
        found = self.rows("""SELECT count(*) FROM (SELECT unnest(headers) AS h FROM %s)
                             WHERE h.key = 'trace' AND decode(h.value) = 'abc'""" % self.parquet)
        wanted = sum(record.headers == (("trace", b"abc"),) for _, record in self.wanted())
        equal(found, [(wanted,)], "records with the header trace")
        equal(self.rows("""SELECT sum(len(headers)), count(*) FILTER (WHERE len(headers) = 0) FROM %s"""
                        % self.parquet),
              [(sum(len(it.headers) for _, it in self.wanted()), sum(not it.headers for _, it in self.wanted()))],
              "headers")

    def case_times(self):
        found = self.rows("SELECT typeof(min(timestamp)), epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM %s"
                          % self.parquet)
        equal(found, [("TIMESTAMP WITH TIME ZONE", BASE_TIME, BASE_TIME + 59)], "times")

    def case_origin(self):
        found = self.rows("""SELECT file_name, decode(key), decode(value) FROM parquet_kv_metadata(%s)"""
                          % self.parquet)
        files = {}
        for name, key, value in found:
            files.setdefault(name, {})[key] = value
        equal(sorted(tell["kafscale.partition"] for tell in files.values()), ["0", "1", "2"], "partitions")
        for tell in files.values():
            equal((tell["kafscale.topic"], tell["kafscale.first_offset"], tell["kafscale.last_offset"]),
                  (self.topic, "0", str(len(self.wanted(int(tell["kafscale.partition"]))) - 1)), "origin")

    def case_text(self):
        files = self.files("--text", "--compression", "snappy", "--file-bytes", "2KiB", topic=self.words)
        equal(self.rows("SELECT sum((value->>'amount')::BIGINT), count(DISTINCT value->>'who'), max(key) FROM %s"
                        % files), [(sum(range(300)), 7, "k99")], "sums over values")
        check(self.rows("SELECT count(*) FROM glob(%s)" % files)[0][0] > PARTITIONS, "no file was rolled")
        said = self.export(self.topic, "--text", "--output", unique("export"), code=1)
        check("is not UTF-8; without --text" in said, said)

    def case_partitions(self):
        files = self.files("--partitions", "2,0")
        equal(self.rows("SELECT DISTINCT partition FROM %s ORDER BY 1" % files), [(0,), (2,)], "partitions")

    def case_offsets(self):
        files = self.files("--from", "7", "--to", "21")
        equal(self.rows("""SELECT partition, min("offset"), max("offset"), count(*) FROM %s GROUP BY 1 ORDER BY 1"""
                        % files), [(it, 7, 20, 14) for it in range(PARTITIONS)], "offsets")

    def case_time_range(self):
        # Every codec went through the same timestamps again: they do not rise with the offset.
        files = self.files("--from", "@%d" % (BASE_TIME + 10), "--to", "@%d" % (BASE_TIME + 20))
        found = self.rows("""SELECT partition, "offset" FROM %s ORDER BY ALL""" % files)
        wanted = [at for at, it in self.wanted() if 10 <= it.timestamp - BASE_TIME < 20]
        check(len(wanted) == 10 * len(CODECS), "the case tests something")
        equal(found, wanted, "records of ten milliseconds")

    def case_json(self):
        lines = self.export(self.topic, "--format", "json", "--output", "-").splitlines()
        found = {(row["partition"], row["offset"]): row for row in map(json.loads, lines)}
        equal(sorted(found), [at for at, _ in self.wanted()], "offsets")
        for at, record in self.wanted():
            row = found[at]
            equal((row["topic"], row["timestamp"]), (self.topic, record.timestamp), "topic and time of %s" % (at,))
            for name, wanted in [("key", record.key), ("value", record.value)]:
                equal(self.of_json(row[name]), wanted, "%s of %s" % (name, at))
            equal(tuple((it["key"], self.of_json(it["value"])) for it in row["headers"]), record.headers, "headers")
        files = self.files("--format", "json", "--compression", "zstd")
        # The largest record is a line of 1.3 MB.
        equal(self.rows("""SELECT count(*), max("offset"), count(key) FROM read_json(%s, maximum_object_size=16777216)"""
                        % files),
              [(len(self.acked), max(at[1] for at in self.acked),
                sum(it.key is not None for _, it in self.wanted()))], "DuckDB on JSON")

    @staticmethod
    def of_json(value):
        if isinstance(value, dict):
            return base64.b64decode(value["base64"], validate=True)
        return value if value is None else value.encode()

    def case_documents(self):
        files = self.files("--format", "json", "--encoding", "json", topic=self.words)
        equal(self.rows("SELECT sum(value.amount), count(DISTINCT value.who) FROM read_json(%s)" % files), [(sum(range(300)), 7)],
              "DuckDB on documents")

    def case_refused(self):
        for arguments, code, text in [
            (["--output", "-"], 2, "Parquet is written to files"),
            (["--output", "x", "--from", "100000"], 1, "begin at `earliest`"),
            (["--output", "x", "--partitions", "9"], 1, "no 9"),
            (["--output", os.path.dirname(self.parquet.strip("'"))], 1, "--append"),
        ]:
            done = subprocess.run(shlex.split(os.environ["EXPORT_CMD"]) + ["--topic", self.topic, *arguments],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True)
            equal((done.returncode, text in done.stderr), (code, True), "%s: %s" % (arguments, done.stderr))


print("DuckDB %s" % duckdb.__version__, flush=True)
DuckDb(arguments()).run()
