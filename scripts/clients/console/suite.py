"""Kafka's own console tools against a broker. KAFKA_CLASSPATH says where their jars are."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "common"))
from harness import Suite, arguments, check, equal, unique, wait  # noqa: E402

TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-e2e-latency": "org.apache.kafka.tools.EndToEndLatency",
    "kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    # No scripts: Kafka's own system tests run these by class.
    "client-compatibility-test": "org.apache.kafka.tools.ClientCompatibilityTest",
    "log-compaction-tester": "org.apache.kafka.tools.LogCompactionTester",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
    "kafka-features": "org.apache.kafka.tools.FeatureCommand",
    "kafka-client-metrics": "org.apache.kafka.tools.ClientMetricsCommand",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-delegation-tokens": "org.apache.kafka.tools.DelegationTokenCommand",
}


def tool_command(name, bootstrap, *args):
    # This tool takes what it is to do first.
    first = [args[0]] if name == "kafka-cluster" else []
    args = args[len(first):]
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", os.environ["KAFKA_CLASSPATH"], TOOLS[name],
            *first, "--bootstrap-server", bootstrap] + [str(arg) for arg in args]


class Console:
    def __init__(self, options):
        self.options, self.suite = options, Suite(options)
        self.name = unique("console")

    def tool(self, name, *args, data=b"", wanted=0, seconds=90):
        """The output of a tool, after its warnings; wanted=None for any exit code."""
        done = subprocess.run(tool_command(name, self.options.bootstrap, *args), input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=seconds)
        errors = done.stderr.decode(errors="replace")
        if wanted is not None and done.returncode != wanted:
            raise AssertionError("%s %s: exit %d, wanted %d: %s %s" % (
                name, " ".join(map(str, args)), done.returncode, wanted, done.stdout[-300:], errors[-500:]))
        # A tool that went through with an exception in its log did not go through.
        if wanted == 0:
            check(not re.search(r"^(Exception|Caused by|java\.|org\..*Exception)", errors, re.M), errors[-500:])
        return done.stdout.decode(errors="replace") + (errors if wanted != 0 else "")

    def case_api_versions(self):
        out = self.tool("kafka-broker-api-versions")
        check(self.options.bootstrap in out, "the broker is not named")
        for api in ("Produce(0)", "Fetch(1)", "ListOffsets(2)", "Metadata(3)", "JoinGroup(11)", "CreateTopics(19)"):
            check(re.search(re.escape(api) + r": .*usable", out), "no usable %s in: %s" % (api, out[:300]))

    def case_create(self):
        self.tool("kafka-topics", "--create", "--topic", self.name, "--partitions", 3, "--replication-factor", 1,
                  "--config", "retention.ms=86400000")
        check(self.name in self.tool("kafka-topics", "--list").split(), "the topic is not listed")
        out = self.tool("kafka-topics", "--create", "--topic", self.name, wanted=1)
        check("already exists" in out, "creating it again says: " + out[-300:])
        self.tool("kafka-topics", "--create", "--if-not-exists", "--topic", self.name)

    def case_describe(self):
        out = self.tool("kafka-topics", "--describe", "--topic", self.name)
        check(re.search(r"PartitionCount:\s*3\b", out), out)
        equal(len(re.findall(r"Partition: \d+\s+Leader: \d+", out)), 3, "partitions with a leader")
        check("retention.ms=86400000" in out, "the config is not shown: " + out)
        out = self.tool("kafka-topics", "--describe", "--topic", "no-such-topic", wanted=1)
        check("does not exist" in out, out[-300:])

    def case_alter(self):
        self.tool("kafka-topics", "--alter", "--topic", self.name, "--partitions", 5)
        out = wait(lambda: [text for text in [self.tool("kafka-topics", "--describe", "--topic", self.name)]
                            if re.search(r"PartitionCount:\s*5\b", text)], 10, "five partitions")
        check(out, "")

    def case_configs(self):
        topic = ("--entity-type", "topics", "--entity-name", self.name)
        out = self.tool("kafka-configs", "--describe", "--all", *topic)
        for key in ("cleanup.policy", "retention.ms", "max.message.bytes"):
            check(key + "=" in out, "no %s in: %s" % (key, out[:300]))
        self.tool("kafka-configs", "--alter", "--add-config", "retention.ms=3600000", *topic)
        out = self.tool("kafka-configs", "--describe", *topic)
        check("retention.ms=3600000" in out, out)
        self.tool("kafka-configs", "--alter", "--delete-config", "retention.ms", *topic)
        out = self.tool("kafka-configs", "--describe", *topic)
        check("retention.ms=" not in out, "the config is still set: " + out)
        self.tool("kafka-configs", "--describe", "--all", "--entity-type", "brokers", "--entity-name", self.node())

    def node(self):
        out = self.tool("kafka-topics", "--describe", "--topic", self.name)
        return re.search(r"Leader: (\d+)", out).group(1)

    def produce(self, codec, acks, idempotent, topic, data):
        self.tool("kafka-console-producer", "--topic", topic, "--compression-codec", codec,
                  "--command-property", "acks=" + acks,
                  "--command-property", "enable.idempotence=" + ("true" if idempotent else "false"),
                  "--command-property", "max.request.size=4000000",
                  "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
                  "--reader-property", "null.marker=NULL", data=data)

    def case_codec(self, codec, acks):
        topic = unique("console-" + codec)
        self.tool("kafka-topics", "--create", "--topic", topic, "--partitions", 1, "--replication-factor", 1)
        lines = ["%s\t%s\t%s" % (["trace:abc,same:1,same:2", "NULL"][n % 2], ["key%d" % n, "NULL", ""][n % 3],
                                 ["value %d" % n, "", "NULL", "x" * 5000, "é ü"][n % 5]) for n in range(60)]
        lines[30] = "trace:abc,same:1,same:2\tbig\t" + "0123456789abcdef" * (1 << 16)
        data = "".join(line + "\n" for line in lines)
        self.produce(codec, acks if acks != "idempotent" else "all", acks == "idempotent", topic, data.encode())
        shown = ["print.key", "print.headers", "print.offset", "print.partition", "print.value"]
        properties = [part for name in shown for part in ("--formatter-property", name + "=true")]
        out = self.tool("kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages", len(lines),
                        "--timeout-ms", 20000, *properties, "--formatter-property", "null.literal=NULL",
                        "--formatter-property", "headers.separator=,")
        found = [line for line in out.split("\n") if line.startswith("Partition:")]
        equal(len(found), len(lines), "records")
        for number, (line, wanted) in enumerate(zip(found, lines)):
            headers, key, value = wanted.split("\t")
            headers = "NO_HEADERS" if headers == "NULL" else headers
            equal(line, "Partition:0\tOffset:%d\t%s\t%s\t%s" % (number, headers, key, value), "record %d" % number)

    def case_get_offsets(self):
        data = b"".join(b"NULL\tkey%d\tvalue%d\n" % (n, n) for n in range(100))
        self.produce("none", "all", True, self.name, data)

        def offsets(*more):
            out = self.tool("kafka-get-offsets", "--topic", self.name, *more)
            return [int(line.split(":")[2]) for line in out.splitlines() if line.startswith(self.name + ":")]
        equal(sum(offsets()), 100, "end offsets")
        equal(sum(offsets("--time", "earliest")), 0, "earliest")
        check(max(offsets("--time", "max-timestamp")) > 0, "no offset with the highest timestamp")
        equal(len(offsets("--partitions", "0")), 1, "one partition")

    def describe_group(self, group, *more):
        return self.tool("kafka-consumer-groups", "--describe", "--group", group, *more, wanted=None)

    def lag(self, group):
        """{partition: (committed, end, lag)} as kafka-consumer-groups shows it."""
        rows = re.findall(r"^%s\s+%s\s+(\d+)\s+(\d+|-)\s+(\d+|-)\s+(\d+|-)" % (group, self.name),
                          self.describe_group(group), re.M)
        return {int(row[0]): row[1:] for row in rows}

    def case_groups(self):
        group = unique("console-group")
        out = self.tool("kafka-console-consumer", "--topic", self.name, "--group", group, "--from-beginning",
                        "--max-messages", 100, "--timeout-ms", 20000)
        equal(sorted(out.split()), sorted("value%d" % n for n in range(100)), "records of the group")
        check(group in self.tool("kafka-consumer-groups", "--list").split(), "the group is not listed")
        lag = self.lag(group)
        equal(sum(int(row[0]) for row in lag.values() if row[0] != "-"), 100, "committed in all (%s)" % lag)
        equal([row[2] for row in lag.values() if row[2] not in ("0", "-")], [], "lag")
        out = self.describe_group(group, "--state")
        check("Empty" in out, "state: " + out)
        out = self.tool("kafka-consumer-groups", "--reset-offsets", "--group", group, "--topic", self.name,
                        "--to-earliest", "--execute")
        check(group in out, out)
        equal({row[0] for row in self.lag(group).values()}, {"0"}, "committed after the reset")
        self.tool("kafka-consumer-groups", "--reset-offsets", "--group", group, "--topic", self.name + ":0,1",
                  "--shift-by", 3, "--execute")
        equal(sum(int(row[0]) for row in self.lag(group).values()), 6, "committed after the shift")
        live = subprocess.Popen(tool_command("kafka-console-consumer", self.options.bootstrap, "--topic", self.name,
                                             "--group", group), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait(lambda: re.search(r"console-consumer", self.describe_group(group, "--members")), 60, "a live member")
            out = self.tool("kafka-consumer-groups", "--delete", "--group", group, wanted=None)
            check("GroupNotEmptyException" in out, "deletion of a live group says: " + out[-400:])
        finally:
            live.terminate()
            live.wait(30)
        wait(lambda: "Empty" in self.describe_group(group, "--state"), 30, "an empty group")
        self.tool("kafka-consumer-groups", "--delete", "--group", group)
        check(group not in self.tool("kafka-consumer-groups", "--list").split(), "the deleted group is still listed")

    def case_delete_records(self):
        path = Path("offsets.json")
        path.write_text('{"version": 1, "partitions": [{"topic": "%s", "partition": 0, "offset": 5}]}' % self.name)
        self.tool("kafka-delete-records", "--offset-json-file", path)
        out = self.tool("kafka-get-offsets", "--topic-partitions", self.name + ":0", "--time", "earliest")
        check(out.strip().endswith(":5"), "earliest after deletion: " + out)

    def case_log_dirs(self):
        out = self.tool("kafka-log-dirs", "--describe", "--topic-list", self.name)
        told = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
        rows = [row for broker in told["brokers"] for found in broker["logDirs"] for row in found["partitions"]]
        out = self.tool("kafka-topics", "--describe", "--topic", self.name)
        count = int(re.search(r"PartitionCount:\s*(\d+)", out).group(1))
        wanted = ["%s-%d" % (self.name, number) for number in range(count)]
        equal(sorted(row["partition"] for row in rows), wanted, "partitions")
        check(all(row["size"] >= 0 and row["offsetLag"] == 0 and not row["isFuture"] for row in rows), rows)
        equal([found["error"] for broker in told["brokers"] for found in broker["logDirs"]],
              [None] * len(told["brokers"]), "errors")

    def case_leader_election(self):
        one = ("--topic", self.name, "--partition", 0)
        for kind in ("preferred", "unclean"):
            out = self.tool("kafka-leader-election", "--election-type", kind, *one)
            check("Valid replica already elected" in out, kind + ": " + out)
        self.tool("kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions")
        out = self.tool("kafka-leader-election", "--election-type", "preferred", "--topic", "no-such-topic",
                        "--partition", 0, wanted=1)
        check("UnknownTopicOrPartition" in out or "not exist" in out, out[-300:])

    def case_reassign(self):
        """Partition 0 goes to every broker in turn, throttled, and the throttles go when it is there."""
        out = self.tool("kafka-broker-api-versions")
        nodes = sorted(int(node) for node in re.findall(r"\(id: (\d+) ", out))
        check(nodes, "no nodes in: " + out[:300])
        path = Path("reassign.json")
        plan = ("--reassignment-json-file", path)

        def write(node):
            path.write_text(json.dumps({"version": 1, "partitions": [
                {"topic": self.name, "partition": 0, "replicas": [node]}]}))
        if os.environ.get("TARGET") == "direct":
            # The nodes are shards of one broker: a partition stays on the one that its hash names.
            out = self.tool("kafka-topics", "--describe", "--topic", self.name)
            own = int(re.search(r"Partition: 0\s+Leader: (\d+)", out).group(1))
            for other in set(nodes) - {own}:
                write(other)
                out = self.tool("kafka-reassign-partitions", "--execute", *plan, wanted=None)
                check("does not serve this partition" in out, out[-500:])
            nodes = [own]
        throttle, topic = 1000000, ("--entity-type", "topics", "--entity-name", self.name)
        for node in nodes:
            broker = ("--entity-type", "brokers", "--entity-name", node)
            write(node)
            out = self.tool("kafka-reassign-partitions", "--execute", "--throttle", throttle, *plan)
            check("Successfully started partition reassignment" in out, out)
            check("The inter-broker throttle limit was set to %d B/s" % throttle in out, out)
            out = self.tool("kafka-configs", "--describe", *broker)
            check("leader.replication.throttled.rate=%d " % throttle in out, out)
            wait(lambda: "is completed" in self.tool("kafka-reassign-partitions", "--verify", *plan), 60,
                 "a finished reassignment")
            out = self.tool("kafka-topics", "--describe", "--topic", self.name)
            check(re.search(r"Partition: 0\s+Leader: %d\s+Replicas: %d\b" % (node, node), out), out)
            for entity in broker, topic:
                out = self.tool("kafka-configs", "--describe", *entity)
                check("throttled" not in out, out)
        check("No partition reassignments found" in self.tool("kafka-reassign-partitions", "--list"), "still moving")

    def case_acls(self):
        out = self.tool("kafka-acls", "--list", wanted=None)
        check("SecurityDisabledException" in out, out[-300:])

    def create(self, name, *more):
        topic = unique("console-" + name)
        self.tool("kafka-topics", "--create", "--topic", topic, "--partitions", 2, "--replication-factor", 1, *more)
        return topic

    def case_verifiable(self):
        """Each record that was acknowledged is consumed, once and in order, and what is committed is the end."""
        topic, group, count = self.create("verifiable"), unique("console-verifiable"), 2000
        out = self.tool("kafka-verifiable-producer", "--topic", topic, "--max-messages", count, "--acks", -1)
        sent = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        acked = sorted((it["partition"], it["offset"]) for it in sent if it["name"] == "producer_send_success")
        equal(len(acked), count, "acknowledged")
        out = self.tool("kafka-verifiable-consumer", "--topic", topic, "--group-id", group, "--max-messages", count,
                        "--reset-policy", "earliest")
        told = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        seen = {}
        for event in told:
            for part in event.get("partitions", []) if event["name"] == "records_consumed" else []:
                equal(part["minOffset"], seen.get(part["partition"], 0), "the next offset of %d" % part["partition"])
                seen[part["partition"]] = part["maxOffset"] + 1
        ends = {}
        for partition, offset in acked:
            ends[partition] = offset + 1
        equal(seen, ends, "consumed to the end")
        commits = [event for event in told if event["name"] == "offsets_committed"]
        check(commits and all(event["success"] for event in commits), "commits: %s" % commits)
        out = self.tool("kafka-groups", "--list", "--group-type", "classic")
        check(re.search(r"^%s\s+Classic\s+consumer" % group, out, re.M), "the group is not in: " + out)

    def case_perf(self):
        topic, count = self.create("perf"), 20000
        out = self.tool("kafka-producer-perf-test", "--topic", topic, "--num-records", count, "--record-size", 200,
                        "--throughput", -1)
        check("%d records sent" % count in out, out[-300:])
        out = self.tool("kafka-consumer-perf-test", "--topic", topic, "--num-records", count, "--timeout", 30000)
        equal(int(out.splitlines()[-1].split(", ")[4]), count, "records consumed")
        out = self.tool("kafka-e2e-latency", "--topic", topic, "--num-records", 100, "--producer-acks", "all",
                        "--record-size", 100)
        check(re.search(r"Percentiles: 50th = \d+", out), out[-300:])

    def case_compatibility(self):
        """What Kafka's system tests ask of a broker of any version."""
        nodes = len(set(re.findall(r"\(id: (\d+) ", self.tool("kafka-broker-api-versions"))))
        out = self.tool("client-compatibility-test", "--topic", unique("console-compat"), "--num-cluster-nodes", nodes,
                        "--expect-record-too-large-exception", "False",
                        *[part for name in ("offsets-for-times", "cluster-id", "create-topics", "describe-acls",
                                            "describe-configs", "idempotent-producer")
                          for part in ("--%s-supported" % name, "True")])
        check("SUCCESS." in out, out[-300:])

    def case_compaction(self):
        """Kafka's tester of compaction: the last value of each key is what a consumer ends with."""
        out = self.tool("log-compaction-tester", "--messages", 5000, "--duplicates", 5, "--percent-deletes", 10,
                        "--sleep", 1)
        check(", 0 mismatches" in out and "Data verification is completed" in out, out[-300:])
    def case_quotas(self):
        """Quotas of every kind of entity: set, shown, changed, removed."""
        client, user = unique("client"), unique("user")
        rates = "producer_byte_rate=1048576,consumer_byte_rate=2097152,request_percentage=250,controller_mutation_rate=50"
        for entity, shown in [
                (("--entity-type", "clients", "--entity-name", client), "client-id '%s'" % client),
                (("--entity-type", "clients", "--entity-default"), "the default client-id"),
                (("--entity-type", "users", "--entity-name", user), "user-principal '%s'" % user),
                (("--entity-type", "users", "--entity-name", user, "--entity-type", "clients", "--entity-name", client),
                 "user-principal '%s', client-id '%s'" % (user, client))]:
            self.tool("kafka-configs", "--alter", "--add-config", rates, *entity)
            out = self.tool("kafka-configs", "--describe", *entity)
            line = next((line for line in out.splitlines() if "Quota configs for " + shown + " are " in line), "")
            for part in ("producer_byte_rate=1048576.0", "consumer_byte_rate=2097152.0", "request_percentage=250.0",
                         "controller_mutation_rate=50.0"):
                check(part in line, "no %s for %s in: %s" % (part, shown, out))
            self.tool("kafka-configs", "--alter", "--delete-config", "producer_byte_rate", *entity)
            out = self.tool("kafka-configs", "--describe", *entity)
            check("producer_byte_rate" not in out and "consumer_byte_rate=2097152.0" in out, out)
        out = self.tool("kafka-configs", "--describe", "--entity-type", "clients")
        check("client-id '%s'" % client in out and "the default client-id" in out, out)
        rest = "consumer_byte_rate,request_percentage,controller_mutation_rate"
        for entity in [("--entity-type", "clients", "--entity-name", client), ("--entity-type", "clients", "--entity-default"),
                       ("--entity-type", "users", "--entity-name", user),
                       ("--entity-type", "users", "--entity-name", user, "--entity-type", "clients", "--entity-name", client)]:
            self.tool("kafka-configs", "--alter", "--delete-config", rest, *entity)
            equal(self.tool("kafka-configs", "--describe", *entity).strip(), "", "what is left")
        address = ("--entity-type", "ips", "--entity-name", "127.1.2.3")
        self.tool("kafka-configs", "--alter", "--add-config", "connection_creation_rate=5", *address)
        out = self.tool("kafka-configs", "--describe", *address)
        check("Quota configs for ip '127.1.2.3' are connection_creation_rate=5.0" in out, out)
        self.tool("kafka-configs", "--alter", "--delete-config", "connection_creation_rate", *address)
        out = self.tool("kafka-configs", "--alter", "--add-config", "producer_byte_rate=0", "--entity-type", "clients",
                        "--entity-name", client, wanted=1)
        check("greater than 0" in out, out[-300:])

    def case_transactions(self):
        out = self.tool("kafka-transactions", "list")
        check(out.startswith("TransactionalId"), out)
        equal(len(out.splitlines()), 1, "lines of a list without transactions")
        out = self.tool("kafka-transactions", "describe", "--transactional-id", "nobody", wanted=1)
        check("not be found" in out or "NOT_FOUND" in out or "not exist" in out, out[-300:])
        self.produce("none", "all", True, self.name, b"NULL\tkey\tvalue\n")
        out = "".join(self.tool("kafka-transactions", "describe-producers", "--topic", self.name, "--partition", n)
                      for n in range(3))
        check(re.search(r"^\d+\s+\d+\s+(-1|\d+)\s+\d+\s+\d+\s+None", out, re.M), "no producer in: " + out)

    def case_other_configs(self):
        """Settings of what is neither a topic nor a broker, where none is set."""
        out = self.tool("kafka-configs", "--describe", "--entity-type", "broker-loggers", "--entity-name", self.node())
        check(re.search(r"^\s*root=(OFF|ERROR|WARN|INFO|DEBUG|TRACE)\b", out, re.M), out[:500])
        logger = ("--entity-type", "broker-loggers", "--entity-name", self.node())
        before = re.search(r"^\s*root=(\w+)", out, re.M).group(1)
        self.tool("kafka-configs", "--alter", "--add-config", "root=ERROR", *logger)
        out = self.tool("kafka-configs", "--describe", *logger)
        check(re.search(r"^\s*root=ERROR\b", out, re.M), out[:500])
        if before != "OFF":
            self.tool("kafka-configs", "--alter", "--add-config", "root=" + before, *logger)
        if os.environ.get("TARGET") != "kafka":
            self.tool("kafka-configs", "--alter", "--add-config", "store.s3=DEBUG,broker.control=WARN", *logger)
            out = self.tool("kafka-configs", "--describe", *logger)
            check(re.search(r"^\s*store.s3=DEBUG\b", out, re.M), out[:900])
            self.tool("kafka-configs", "--alter", "--delete-config", "store.s3,broker.control", *logger)
            out = self.tool("kafka-configs", "--describe", *logger)
            check(before == "DEBUG" or not re.search(r"^\s*store.s3=DEBUG\b", out, re.M), out[:900])
        for level in "root=LOUD", "no.such.logger=INFO":
            out = self.tool("kafka-configs", "--alter", "--add-config", level, *logger, wanted=1)
            # The tool itself asks which loggers there are.
            check("not a supported log level" in out or "Invalid broker logger(s)" in out, out[-300:])
        self.tool("kafka-configs", "--describe", "--entity-type", "client-metrics")
        self.tool("kafka-configs", "--describe", "--entity-type", "groups")
        self.tool("kafka-configs", "--describe", "--entity-type", "groups", "--entity-name", "a-group")
        self.tool("kafka-configs", "--describe", "--entity-type", "users")
        self.tool("kafka-configs", "--describe", "--entity-type", "ips")
        self.tool("kafka-configs", "--describe", "--entity-type", "brokers")
        self.tool("kafka-configs", "--describe", "--entity-type", "topics")
        self.tool("kafka-client-metrics", "--list")
        self.tool("kafka-client-metrics", "--describe")

    def case_features(self):
        out = self.tool("kafka-features", "describe")
        check(re.search(r"^Feature: group.version\s+SupportedMinVersion: 0\s", out, re.M), out)
        out = self.tool("kafka-features", "upgrade", "--feature", "no.such.feature=1", wanted=1)
        check("feature" in out, out[-300:])

    def case_cluster(self):
        self.tool("kafka-cluster", "cluster-id")
        out = self.tool("kafka-cluster", "unregister", "--id", 987654, wanted=1)
        check("BrokerIdNotRegisteredException" in out, out[-300:])
        out = self.tool("kafka-metadata-quorum", "describe", "--status", wanted=None)
        # There is no quorum of controllers, as in Kafka on ZooKeeper, whose brokers say so in the same way.
        check("UnsupportedVersionException" in out or os.environ.get("TARGET") == "kafka" and "LeaderId" in out, out[-300:])
        out = self.tool("kafka-delegation-tokens", "--describe", "--command-config", os.devnull, wanted=1)
        check("elegation" in out, out[-300:])

    def case_delete(self):
        self.tool("kafka-topics", "--delete", "--topic", self.name)
        wait(lambda: self.name not in self.tool("kafka-topics", "--list").split(), 20, "the topic is still listed")
        self.tool("kafka-topics", "--delete", "--topic", "no-such-topic", wanted=1)

    def main(self):
        case = self.suite.case
        case("broker-api-versions", self.case_api_versions)
        case("topics/create-list", self.case_create, always=True)
        case("topics/describe", self.case_describe)
        case("topics/alter", self.case_alter)
        case("configs", self.case_configs)
        combinations = [(codec, acks) for codec in ("none", "gzip", "snappy", "lz4", "zstd")
                        for acks in ("0", "1", "all", "idempotent")]
        if self.options.quick:
            combinations = [("none", "0"), ("gzip", "1"), ("zstd", "idempotent")]
        for codec, acks in combinations:
            case("codec/%s/%s" % (codec, "idempotent" if acks == "idempotent" else "acks-" + acks),
                 self.case_codec, codec, acks)
        case("get-offsets", self.case_get_offsets)
        case("consumer-groups", self.case_groups)
        case("delete-records", self.case_delete_records)
        case("log-dirs", self.case_log_dirs)
        case("leader-election", self.case_leader_election)
        case("reassign-partitions", self.case_reassign)
        case("acls", self.case_acls)
        case("verifiable", self.case_verifiable)
        case("perf-test", self.case_perf)
        case("client-compatibility", self.case_compatibility)
        if not self.options.quick:
            # It waits twenty seconds for more at the end.
            case("log-compaction-tester", self.case_compaction)
        case("quotas", self.case_quotas)
        case("transactions", self.case_transactions)
        case("configs/others", self.case_other_configs)
        case("features", self.case_features)
        case("cluster", self.case_cluster)
        case("topics/delete", self.case_delete)
        self.suite.end()


if __name__ == "__main__":
    Console(arguments()).main()
