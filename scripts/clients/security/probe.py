"""What the Python clients share: the cases of a file, each a round trip or a refusal that says what is wrong."""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "common"))
from harness import Suite, check, equal, unique  # noqa: E402

RECORDS = 20
# How long a client may take to say what is wrong.
REFUSED_WITHIN = 15


def probe(exchange, kind):
    """exchange(case, values) sends the values to partition 0 and gives all values of it, in order; kind(error) tells
    what an error is about: sasl, tls or topic."""
    path = sys.argv[1]
    suite = Suite(argparse.Namespace(case=""))
    for case in json.loads(Path(path).read_text()):
        suite.case(case["name"], one, case, exchange, kind)
    suite.end()


def one(case, exchange, kind):
    values = ["%s-%d" % (unique(case["name"]), number) for number in range(RECORDS)]
    begun = time.monotonic()
    try:
        found = exchange(case, values)
    except AssertionError:
        raise
    except Exception as error:
        took = time.monotonic() - begun
        if not case["wanted"]:
            raise
        check(kind(error) == case["wanted"], "wanted an error about %s, found %r" % (case["wanted"], error))
        check(took < REFUSED_WITHIN, "it took %.1f s to say %r" % (took, error))
        print("refused: %r" % error, flush=True)
        return
    check(not case["wanted"], "it was let in")
    equal(found[-RECORDS:], values, "records")
