"""Every client against brokers with TLS, mutual TLS and every mechanism of SASL.

CASES holds the cases of cases.py for the brokers that the runner has started, PROBES how each client is run. Cases are
named CLIENT/CASE.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "common"))
from harness import arguments  # noqa: E402

LINE = re.compile(r"^(RUN|ok|FAIL) (\S+)(.*)$")
FIELDS = ("name", "address", "topic", "ca", "both", "mechanism", "user", "password", "client", "endpoint", "wanted")
# Cases that a client has no means for.
CANNOT = {
    # It cannot be given a token, only makes unsigned ones. Its librdkafka is older than 2.6.1 and repeats its nonce in
    # the last message of SCRAM, which Apache Kafka refuses too (CVE-2024-56128).
    "kcat": {"oauthbearer", "oauthbearer/expired", "oauthbearer/others", "scram-256", "scram-512"},
}


def run(client, command, given, options):
    """Whether all cases of a client passed; its lines are told under its name."""
    given = [case for case in given if case["name"] not in CANNOT.get(client, ())]
    # The cases of the console tools build on others: all or none.
    if client == "console":
        given = given if options.case in client + "/" or options.case.startswith(client) else []
    else:
        given = [case for case in given if options.case in "%s/%s" % (client, case["name"]) and case["name"] != "admin"]
    if not given:
        return True, 0
    path = Path("%s.cases" % client).absolute()
    if client == "java":
        path.write_text("".join("\t".join(case[field] for field in FIELDS) + "\n" for case in given))
    else:
        path.write_text(json.dumps(given))
    quick = ["--quick"] if client == "console" and options.quick else []
    process = subprocess.Popen([*command, str(path), *quick], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    seen = 0
    for line in process.stdout:
        match = LINE.match(line.rstrip())
        if match:
            kind, name, rest = match.groups()
            seen += kind != "RUN"
            print("%s %s/%s%s" % (kind, client, name, rest), flush=True)
        else:
            print(line, end="", flush=True)
    if process.wait() != 0 and not seen:
        print("RUN %s/start\nFAIL %s/start 0.00s: it ended before its first case: exit %d" % (
            client, client, process.returncode), flush=True)
    return process.returncode == 0 and seen > 0, seen


def main():
    options = arguments()
    cases, probes = json.loads(os.environ["CASES"]), json.loads(os.environ["PROBES"])
    passed, count = True, 0
    for client, command in probes.items():
        good, seen = run(client, command, cases, options)
        passed, count = passed and good, count + seen
    sys.exit(0 if passed and count else 1)


if __name__ == "__main__":
    main()