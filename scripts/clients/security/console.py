"""Kafka's console tools against a broker with TLS, SASL and rules. KAFKA_CLASSPATH says where their jars are."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "common"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "console"))
from harness import Suite, check, equal, unique  # noqa: E402
from suite import tool_command  # noqa: E402

LOGIN = "org.apache.kafka.common.security.%sLoginModule required %s;"
SASL = "SaslAuthenticationException"
DENIED = "TopicAuthorizationException"
RIGHTS = {"sasl": SASL, "tls": "SslAuthenticationException", "topic": DENIED}


def properties(case):
    found = {"security.protocol": "SASL_SSL" if case["mechanism"] else "SSL", "ssl.truststore.type": "PEM",
             "ssl.truststore.location": case["ca"]}
    if case["both"]:
        found.update({"ssl.keystore.type": "PEM", "ssl.keystore.location": case["both"]})
    known = 'username="%s" password="%s"' % (case["user"], case["password"])
    if case["mechanism"] == "OAUTHBEARER":
        found.update({
            "sasl.jaas.config": LOGIN % ("oauthbearer.OAuthBearer", 'clientId="%s" clientSecret="s"' % case["client"]),
            "sasl.login.callback.handler.class":
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
            "sasl.oauthbearer.token.endpoint.url": case["endpoint"]})
    elif case["mechanism"]:
        name = "plain.Plain" if case["mechanism"] == "PLAIN" else "scram.Scram"
        found["sasl.jaas.config"] = LOGIN % (name, known)
    if case["mechanism"]:
        found["sasl.mechanism"] = case["mechanism"]
    # Other errors than those that are looked for end a tool soon enough.
    found.update({"default.api.timeout.ms": 15000, "request.timeout.ms": 10000, "max.block.ms": 15000})
    return "".join("%s=%s\n" % pair for pair in found.items())


def outcome(case, name, *args, data=b""):
    """Exit code and all words of a tool that connects as the case says."""
    path = Path("console.properties").absolute()
    path.write_text(properties(case))
    command = tool_command(name, case["address"], "--command-config", path, *args)
    command.insert(1, "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=" + case["endpoint"])
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def tool(case, name, *args, data=b""):
    code, text = outcome(case, name, *args, data=data)
    equal(code, 0, "exit code of %s: %s" % (name, text[-600:]))
    check(not re.search(r"^(ERROR|Exception|Caused by|org\..*Exception)|Error while", text, re.M), text[-600:])
    return text


def denied(case, name, *args, words, data=b""):
    _, text = outcome(case, name, *args, data=data)
    check(words in text, "%s does not say %s: %s" % (name, words, text[-600:]))


def round_trip(case, topic):
    """On a topic that holds nothing yet."""
    lines = ["%s-%d" % (unique("line"), number) for number in range(20)]
    tool(case, "kafka-console-producer", "--topic", topic, data="\n".join(lines).encode() + b"\n")
    text = tool(case, "kafka-console-consumer", "--topic", topic, "--from-beginning", "--partition", 0,
                "--max-messages", len(lines), "--timeout-ms", 20000)
    equal([line for line in text.split() if line in lines], lines, "what was produced")


def connect(case):
    if case["wanted"]:
        denied(case, "kafka-console-producer", "--topic", case["topic"], data=b"x\n", words=RIGHTS[case["wanted"]])
    else:
        # It is made when the producer asks for it.
        round_trip(case, unique("console"))


def users(admin, user):
    name, password = unique("carol"), "carol-password"
    entity = ("--entity-type", "users", "--entity-name", name)
    tool(admin, "kafka-configs", "--alter", "--add-config",
         "SCRAM-SHA-256=[iterations=8192,password=%s],SCRAM-SHA-512=[password=%s]" % (password, password), *entity)
    text = tool(admin, "kafka-configs", "--describe", *entity)
    check("SCRAM-SHA-256=iterations=8192" in text and "SCRAM-SHA-512=iterations=4096" in text, text)
    made = dict(user, mechanism="SCRAM-SHA-512", user=name, password=password)
    # In, with no rights yet: nothing is listed.
    equal(tool(made, "kafka-topics", "--list").strip(), "", "topics of a user without rights")
    tool(admin, "kafka-configs", "--alter", "--delete-config", "SCRAM-SHA-512", *entity)
    denied(made, "kafka-topics", "--list", words=SASL)
    tool(dict(made, mechanism="SCRAM-SHA-256"), "kafka-topics", "--list")
    tool(admin, "kafka-configs", "--alter", "--delete-config", "SCRAM-SHA-256", *entity)


def rules(admin, user):
    topic = unique("console-rules")
    tool(admin, "kafka-topics", "--create", "--topic", topic, "--partitions", 1)
    denied(user, "kafka-console-producer", "--topic", topic, data=b"x\n", words=DENIED)
    named = ("--allow-principal", "User:" + user["user"], "--topic", topic)
    tool(admin, "kafka-acls", "--add", "--operation", "Read", "--operation", "Write", *named)
    text = tool(admin, "kafka-acls", "--list", "--topic", topic)
    for operation in ("READ", "WRITE"):
        check(re.search(r"principal=User:%s.*operation=%s.*permissionType=ALLOW" % (user["user"], operation), text), text)
    round_trip(user, topic)
    tool(admin, "kafka-acls", "--remove", "--force", "--operation", "Write", *named)
    # Who may write nowhere gets no producer id (KIP-679), and is told that first.
    denied(user, "kafka-console-producer", "--topic", topic, data=b"x\n", words="ClusterAuthorizationException")
    tool(admin, "kafka-acls", "--remove", "--force", "--operation", "Read", *named)
    check("User:" + user["user"] not in tool(admin, "kafka-acls", "--list", "--topic", topic), "the rules are still there")
    # Who may not change rules is told so.
    denied(user, "kafka-acls", "--list", words="ClusterAuthorizationException")


def main():
    given = json.loads(Path(sys.argv[1]).read_text())
    quick = "--quick" in sys.argv
    suite = Suite(argparse.Namespace(case=""))
    by_name = {case["name"]: case for case in given}
    admin, stranger = by_name["admin"], by_name["acl/no-rights"]
    suite.case("kafka-configs", users, admin, stranger)
    suite.case("kafka-acls", rules, admin, stranger)
    short = ("mtls", "oauthbearer", "scram-512", "plain/wrong-password", "oauthbearer/forged")
    for case in given:
        if case["name"] not in ("admin", "acl/no-rights") and (not quick or case["name"] in short):
            suite.case(case["name"], connect, case)
    suite.end()


if __name__ == "__main__":
    os.environ.setdefault("KAFKA_CLASSPATH", "")
    main()
