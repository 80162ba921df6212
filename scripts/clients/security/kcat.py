"""kcat (librdkafka as Debian ships it) against brokers with TLS and SASL.

It has no callback for tokens, and Debian builds its library without OpenID Connect: by OAUTHBEARER it can only send the
unsigned tokens that it makes itself.
"""

import re
import subprocess
import time

from probe import probe

KINDS = {
    "sasl": r"SASL authentication (error|failed)|Authentication failure|SASL_AUTHENTICATION_FAILED",
    "tls": r"SSL handshake failed|certificate verify failed|alert certificate required|Local: SSL error|tlsv1 alert",
    "topic": r"Topic authorization failed",
}


class Refused(Exception):
    pass


def settings(case):
    found = {"ssl.ca.location": case["ca"], "security.protocol": "SASL_SSL" if case["mechanism"] else "SSL",
             "message.timeout.ms": 8000}
    if case["cert"]:
        found.update({"ssl.certificate.location": case["cert"], "ssl.key.location": case["key"]})
    if case["mechanism"] == "OAUTHBEARER":
        found.update({"sasl.mechanism": "OAUTHBEARER", "enable.sasl.oauthbearer.unsecure.jwt": "true",
                      "sasl.oauthbearer.config": "principal=alice"})
    elif case["mechanism"]:
        found.update({"sasl.mechanism": case["mechanism"], "sasl.username": case["user"],
                      "sasl.password": case["password"]})
    return [part for key, value in found.items() for part in ("-X", "%s=%s" % (key, value))]


def kcat(case, *args, data=b""):
    """Ended as soon as it says what is wrong: like its library, it would go on trying."""
    process = subprocess.Popen(["kcat", "-b", case["address"], "-m", "10", *settings(case), *args],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, errors = process.communicate(data, timeout=12)
    except subprocess.TimeoutExpired:
        process.kill()
        out, errors = process.communicate()
    errors = errors.decode(errors="replace")
    if process.returncode != 0 or (not out and re.search("|".join(KINDS.values()), errors)):
        raise Refused(errors[-400:] or "exit %s" % process.returncode)
    return out


def exchange(case, values):
    kcat(case, "-P", "-t", case["topic"], "-p", "0", data="\n".join(values).encode() + b"\n")
    end = time.monotonic() + 20
    while True:
        found = kcat(case, "-C", "-t", case["topic"], "-p", "0", "-o", "beginning", "-e", "-q").decode().split()
        if values[-1] in found or time.monotonic() > end:
            return found


def kind(error):
    return next((kind for kind, words in KINDS.items() if re.search(words, str(error))), None)


probe(exchange, kind)
