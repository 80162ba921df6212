"""The tests of franz-go's package kgo. Most of them need no broker; those pass without a request and do not count."""

from common import GoTests

# Seconds that one test may take.
LIMIT = 240


class Suite:
    def __init__(self, work, logs):
        self.logs = logs
        self.tests = GoTests("franz_go", "github.com/twmb/franz-go", "/pkg/kgo")
        self.version, self.names, self.units = self.tests.version, self.tests.names, self.tests.units

    def broker(self, kind, work, log):
        return kind(work, log)

    def prepare(self, broker):
        self.env = {"KGO_SEEDS": broker.address, "KGO_TEST_RF": "1", "KGO_TEST_RECORDS": "5000",
                    "KGO_LOG_LEVEL": "none"}

    def run(self, names, limit=None):
        return self.tests.run(names, self.logs, limit or LIMIT, self.env)
