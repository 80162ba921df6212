"""Bad input through raw sockets. After each case a good client must still work.

Where a case lists several answers, the first is what Apache Kafka 4.3.1 gives (measured); the others are as good or
better. Error codes: -1 UNKNOWN_SERVER_ERROR, 0 accepted, 1 OFFSET_OUT_OF_RANGE, 2 CORRUPT_MESSAGE,
3 UNKNOWN_TOPIC_OR_PARTITION, 17 INVALID_TOPIC_EXCEPTION, 21 INVALID_REQUIRED_ACKS, 35 UNSUPPORTED_VERSION,
76 UNSUPPORTED_COMPRESSION_TYPE, 87 INVALID_RECORD.
"""

import os
import random
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "common"))
import wire  # noqa: E402
from harness import Suite, arguments, check, equal, unique, wait  # noqa: E402

CLOSED = "the connection was closed"
SILENT = "no answer"


class Hostile:
    def __init__(self, options):
        self.options, self.address, self.suite = options, options.bootstrap, Suite(options)
        self.topic = unique("hostile")
        self.sent = 0

    def good(self):
        """A good client on a connection of its own: metadata, a produce, and the offset one further."""
        check(wire.metadata(self.address, [], timeout=10)[0], "metadata gives no brokers")
        answer = self.produce(self.topic, 0, wire.batch([b"good"]))
        wanted = (0, self.sent)
        # One case's fault is not reported again by all that follow.
        self.sent = answer[1] + 1 if answer[0] == 0 else self.sent
        equal(answer, wanted, "a good produce (error code, base offset)")

    def produce(self, topic, partition, records, acks=-1, version=3):
        """(error code, base offset), or CLOSED."""
        body = wire.produce_body(topic, partition, records, acks)
        answer = self.ask(wire.request(0, version, body), seconds=20)
        if isinstance(answer, str):
            return answer
        cursor = wire.Cursor(answer[4:])
        cursor.take("i"), cursor.string(), cursor.take("i"), cursor.take("i")
        return cursor.take("h"), cursor.take("q")

    def ask(self, data, seconds=3.0):
        """What comes back for these bytes: a frame, CLOSED or SILENT."""
        with wire.connect(self.address, seconds) as sock:
            try:
                sock.sendall(data)
                return wire.read_frame(sock)
            except (EOFError, ConnectionResetError, BrokenPipeError):
                return CLOSED
            except socket.timeout:
                return SILENT

    def code(self, found, *wanted):
        """Some brokers refuse with another code than Kafka: the accepted ones are listed, Kafka's first."""
        if found not in wanted and isinstance(found, tuple):
            found = found[0]
        check(found in wanted, "found %s, wanted %s" % (found, " or ".join(map(str, wanted))))
        print("answer: %s" % (found,))

    def case(self, name, function, always=False):
        def both():
            function()
            self.good()
        self.suite.case(name, both, always=always)

    def create(self, name):
        body = (struct.pack(">i", 1) + wire.string(name) + struct.pack(">ihii", 3, 1, 0, 0)
                + struct.pack(">i?", 30000, False))
        answer = wire.Cursor(wire.call(self.address, 19, 2, body, timeout=30))
        answer.take("i"), answer.take("i"), answer.string()
        equal(answer.take("h"), 0, "create topic")
        wait(lambda: all(leader >= 0 for _, leader in wire.metadata(self.address, [name])[1][name][1].values()), 15,
             "leaders")
        equal(len(wire.metadata(self.address, [name])[1][name][1]), 3, "partitions")

    def start(self):
        name = self.topic
        self.create(name)
        # Kafka tells of a leader a moment before that leader takes records.
        wait(lambda: self.produce(name, 0, wire.batch([b"first"])) == (0, 0), 15, "the first record")
        self.sent = 1

    # Frames.

    def length(self, value):
        # Kafka closes at once above socket.request.max.bytes.
        self.code(self.ask(struct.pack(">i", value) + b"x" * 100), CLOSED)

    def foreign(self, data):
        # These read as lengths between 16 MB and 1.2 GB: Kafka closes, a broker without a limit waits for more.
        self.code(self.ask(data), CLOSED, SILENT)

    def truncated(self):
        frame = wire.request(3, 1, struct.pack(">i", -1))
        for cut in (1, 3, 4, 5, 8, 10, len(frame) - 1):
            with wire.connect(self.address) as sock:
                sock.sendall(frame[:cut])
        big = wire.request(0, 3, wire.produce_body(self.topic, 0, wire.batch([b"y" * 500000])))
        for cut in (100, 100000, len(big) - 1):
            with wire.connect(self.address) as sock:
                sock.sendall(big[:cut])

    def reset(self):
        """A reset (not an orderly close) in the middle of a frame and before an answer is read."""
        frame = wire.request(0, 3, wire.produce_body(self.topic, 1, wire.batch([b"z" * 100])))
        for cut in (20, len(frame)):
            sock = wire.connect(self.address)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(frame[:cut])
            sock.close()

    # Batches.

    def bad_batch(self, records, *wanted, version=3):
        answer = self.produce(self.topic, 0, records, version=version)
        if answer[0] == 0:
            self.sent = answer[1] + 1
        self.code(answer, *wanted)

    def old_message(self, magic):
        """A message of the old formats, right for its magic, in a Produce v3 that allows only magic 2."""
        import zlib
        body = bytes([magic, 0]) + (struct.pack(">q", 1700000000000) if magic else b"")
        body += struct.pack(">i", -1) + struct.pack(">i", 3) + b"old"
        return struct.pack(">qiI", 0, 4 + len(body), zlib.crc32(body)) + body

    def stamped(self, attributes, payload, count=1, last_delta=0):
        """A batch with a right CRC over whatever payload."""
        now = int(time.time() * 1000)
        tail = struct.pack(">hiqqqhii", attributes, last_delta, now, now, -1, -1, -1, count) + payload
        return struct.pack(">qiibI", 0, 9 + len(tail), 0, 2, wire.crc32c(tail)) + tail

    # Requests.

    def array_counts(self):
        # A negative count where null is not allowed, and more elements than the frame can hold.
        for count in (-2, -1, 0x7FFFFFFF, -0x80000000, 100000):
            body = wire.string(None) + struct.pack(">hii", -1, 1000, count)
            self.code(self.ask(wire.request(0, 3, body)), CLOSED)

    def lengths_inside(self):
        # A topic name longer than the frame; a records field longer than the frame.
        self.code(self.ask(wire.request(3, 1, struct.pack(">ih", 1, 32767) + b"abc")), CLOSED)
        body = (wire.string(None) + struct.pack(">hii", -1, 1000, 1) + wire.string(self.topic)
                + struct.pack(">iii", 1, 0, 0x7FFFFFF0) + b"abc")
        self.code(self.ask(wire.request(0, 3, body)), CLOSED)

    def api_versions(self):
        # The one API that answers a version it does not know: version 0, error 35, what it supports.
        answer = self.ask(wire.request(18, 99, b"\x08hostile\x011\x00", header=2))
        check(not isinstance(answer, str), "ApiVersions v99: %s" % answer)
        cursor = wire.Cursor(answer)
        equal(cursor.take("i"), 7, "correlation id")
        equal(cursor.take("h"), 35, "error code")
        known = {}
        for _ in range(cursor.take("i")):
            key, least, most = cursor.take("hhh")
            known[key] = (least, most)
        check(18 in known, "ApiVersions is not in the answer to v99: %s" % known)
        equal(cursor.at, len(answer), "length of a version 0 body")

    def flood(self):
        """Requests in one write: the answers come in order."""
        count = 500
        with wire.connect(self.address, 20) as sock:
            sock.sendall(b"".join(wire.request(3, 1, struct.pack(">i", 0), correlation=n) for n in range(count)))
            for number in range(count):
                equal(struct.unpack(">i", wire.read_frame(sock)[:4])[0], number, "correlation id")

    def idle(self):
        socks = []
        try:
            for _ in range(200):
                socks.append(wire.connect(self.address))
            self.good()
            # Each of them is alive.
            for sock in socks[::20]:
                sock.sendall(wire.request(3, 1, struct.pack(">i", 0)))
                check(wire.read_frame(sock), "an idle connection is dead")
        finally:
            for sock in socks:
                sock.close()

    def slow(self):
        """Bytes of a frame one at a time on 20 connections, while a good client works; one is then finished."""
        frame = wire.request(3, 1, struct.pack(">i", 0))
        socks = [wire.connect(self.address) for _ in range(20)]
        try:
            for at in range(len(frame) - 1):
                for sock in socks:
                    sock.sendall(frame[at:at + 1])
                if at % 10 == 0:
                    self.good()
                time.sleep(0.01)
            socks[0].sendall(frame[-1:])
            check(wire.read_frame(socks[0]), "no answer to a frame that came slowly")
        finally:
            for sock in socks:
                sock.close()

    def promised(self):
        """Forty connections promise 90 MB each and send nothing more: memory must not be taken for promises.

        Apache Kafka takes it, and forty end its small heap: there it is three.
        """
        socks = [wire.connect(self.address) for _ in range(3 if os.environ.get("TARGET") == "kafka" else 40)]
        try:
            for sock in socks:
                sock.sendall(struct.pack(">ihhi", 90 << 20, 0, 3, 7))
            for _ in range(5):
                self.good()
        finally:
            for sock in socks:
                sock.close()

    def unread(self):
        """A client that asks and never reads."""
        with wire.connect(self.address, 2) as sock:
            sock.setblocking(False)
            data = wire.request(3, 1, struct.pack(">i", -1)) * 100
            end = time.monotonic() + 2
            while time.monotonic() < end:
                try:
                    sock.send(data)
                except BlockingIOError:
                    time.sleep(0.02)
                except OSError:
                    break
            self.good()

    def garbage(self):
        """Random bytes behind a right length, random bodies behind right headers, and flipped bits."""
        noise = random.Random(20231)
        count = 150 if self.options.quick else 2000
        # A flipped bit may leave a good request for another partition: not for the good client's topic.
        other = unique("garbage")
        self.create(other)
        good = wire.request(0, 3, wire.produce_body(other, 2, wire.batch([b"abc", b"def"])))
        for number in range(count):
            if number % 3 == 0:
                data = wire.frame(noise.randbytes(noise.randrange(1, 300)))
            elif number % 3 == 1:
                key = noise.randrange(0, 70)
                data = wire.request(key, noise.randrange(0, 13), noise.randbytes(noise.randrange(0, 200)),
                                    header=noise.choice((1, 2)))
            else:
                flipped = bytearray(good)
                for _ in range(noise.randrange(1, 4)):
                    flipped[noise.randrange(4, len(good))] ^= 1 << noise.randrange(8)
                data = bytes(flipped)
            with wire.connect(self.address, 0.02) as sock:
                try:
                    sock.sendall(data)
                    wire.read_frame(sock)
                except (EOFError, OSError, struct.error):
                    pass
            if number % 50 == 49:
                check(wire.metadata(self.address, [], timeout=10)[0], "metadata after garbage %d" % number)

    def fetch(self, topic, partition, offset):
        """Fetch v4: the error code of one partition."""
        body = struct.pack(">iiiibi", -1, 100, 1, 1 << 20, 0, 1) + wire.string(topic)
        body += struct.pack(">iiqi", 1, partition, offset, 1 << 20)
        answer = self.ask(wire.request(1, 4, body), seconds=10)
        if isinstance(answer, str):
            return answer
        cursor = wire.Cursor(answer[4:])
        cursor.take("i"), cursor.take("i"), cursor.string(), cursor.take("i"), cursor.take("i")
        return cursor.take("h")

    def main(self):
        case, batch = self.case, wire.batch
        case("topic", self.start, always=True)
        case("frame/2-gib", lambda: self.length(0x7FFFFFFF))
        case("frame/negative", lambda: self.length(-1))
        case("frame/most-negative", lambda: self.length(-0x80000000))
        case("frame/empty", lambda: self.code(self.ask(struct.pack(">i", 0)), CLOSED))
        case("frame/three-bytes", lambda: self.code(self.ask(wire.frame(b"abc")), CLOSED))
        case("frame/http", lambda: self.foreign(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
        case("frame/tls", lambda: self.foreign(bytes.fromhex("16030100c8010000c40303") + bytes(190)))
        case("frame/truncated", self.truncated)
        case("frame/reset", self.reset)
        case("batch/wrong-crc", lambda: self.bad_batch(batch([b"a"], wrong_crc=True), 2))
        case("batch/magic-0", lambda: self.bad_batch(self.old_message(0), 87))
        case("batch/magic-1", lambda: self.bad_batch(self.old_message(1), 87))
        case("batch/magic-3", lambda: self.bad_batch(batch([b"a"], magic=3), 2, 87))
        case("batch/two", lambda: self.bad_batch(batch([b"a"]) + batch([b"b"], base_offset=1), 87))
        case("batch/none", lambda: self.bad_batch(b"", 87))
        case("batch/cut-short", lambda: self.bad_batch(batch([b"abcdef"])[:-3], 87, 2))
        case("batch/trailing-bytes", lambda: self.bad_batch(batch([b"a"]) + b"\0\0\0", 0, 2, 87))
        case("batch/count-too-high", lambda: self.bad_batch(batch([b"a", b"b"], count=5), 87, 2))
        case("batch/count-negative", lambda: self.bad_batch(batch([b"a"], count=-1), 87, 2))
        # Kafka decompresses what a producer sends and answers -1. KafScale does not (the batch's CRC is right,
        # so this is what the producer meant to store) and answers 0.
        case("batch/bad-gzip", lambda: self.bad_batch(self.stamped(1, b"this is not gzip"), 0, -1, 2, 87))
        case("batch/bad-zstd", lambda: self.bad_batch(self.stamped(4, b"this is not zstd"), 0, -1, 2, 87, version=7))
        case("batch/zstd-in-v3", lambda: self.bad_batch(self.stamped(4, b"this is not zstd"), 76))
        case("batch/codec-7", lambda: self.bad_batch(self.stamped(7, b"what"), -1, 2, 76, 87))
        case("batch/bad-record", lambda: self.bad_batch(self.stamped(0, b"\xff" * 20), -1, 2, 87))
        case("request/array-counts", self.array_counts)
        case("request/lengths-inside", self.lengths_inside)
        case("request/acks-5", lambda: self.code(self.produce(self.topic, 0, batch([b"a"]), acks=5), 21))
        case("request/no-such-partition", lambda: self.code(self.produce(self.topic, 99, batch([b"a"])), 3))
        case("request/negative-partition", lambda: self.code(self.produce(self.topic, -7, batch([b"a"])), 3))
        case("request/partition-million", lambda: self.code(self.produce(unique("new"), 10**6, batch([b"a"])), 3))
        case("request/topic-name", lambda: self.code(self.produce("a/b\0c", 0, batch([b"a"])), 3, 17))
        case("request/fetch-partition", lambda: self.code(self.fetch(self.topic, 10**6, 0), 3))
        case("request/fetch-offset", lambda: self.code(self.fetch(self.topic, 0, 10**15), 1))
        case("request/fetch-negative-offset", lambda: self.code(self.fetch(self.topic, 0, -5), 1))
        case("request/unknown-api", lambda: self.code(self.ask(wire.request(9999, 0, b"")), CLOSED))
        case("request/negative-api", lambda: self.code(self.ask(wire.request(-1, 0, b"")), CLOSED))
        case("request/api-versions-99", self.api_versions)
        case("request/metadata-99", lambda: self.code(self.ask(wire.request(3, 99, b"", header=2)), CLOSED))
        case("request/produce-99", lambda: self.code(self.ask(wire.request(0, 99, b"", header=2)), CLOSED))
        case("request/negative-version", lambda: self.code(self.ask(wire.request(3, -3, b"")), CLOSED))
        case("connections/flood", self.flood)
        case("connections/idle-200", self.idle)
        case("connections/slow", self.slow)
        case("connections/promised", self.promised)
        case("connections/unread", self.unread)
        case("garbage", self.garbage)
        self.suite.end()


Hostile(arguments()).main()
