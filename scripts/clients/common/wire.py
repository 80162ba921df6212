"""A few lines of the Kafka protocol, for readiness checks and for hostile input."""

import socket
import struct


def frame(body):
    return struct.pack(">i", len(body)) + body


def string(text):
    if text is None:
        return struct.pack(">h", -1)
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def request(key, version, body, correlation=7, client="hostile", header=1):
    """A request with header version 1 (or 2: one empty tag section more)."""
    head = struct.pack(">hhi", key, version, correlation) + string(client)
    return frame(head + (b"\0" if header == 2 else b"") + body)


def connect(address, timeout=10):
    host, port = address.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_exact(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise EOFError("the connection was closed after %d of %d bytes" % (len(data), count))
        data += part
    return data


def read_frame(sock):
    return read_exact(sock, struct.unpack(">i", read_exact(sock, 4))[0])


def call(address, key, version, body, timeout=10, header=1):
    with connect(address, timeout) as sock:
        sock.sendall(request(key, version, body, header=header))
        reply = read_frame(sock)
    if struct.unpack(">i", reply[:4])[0] != 7:
        raise ValueError("wrong correlation id in the reply")
    return reply[4:]


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        form = ">" + form
        value = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value[0] if len(value) == 1 else value

    def string(self):
        size = self.take("h")
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size:self.at].decode()


def metadata(address, topics=None, timeout=10):
    """Metadata v1: ({node: address}, {topic: (error, {partition: (error, leader)})})."""
    if topics is None:
        body = struct.pack(">i", -1)
    else:
        body = struct.pack(">i", len(topics)) + b"".join(string(name) for name in topics)
    answer = Cursor(call(address, 3, 1, body, timeout))
    brokers, found = {}, {}
    for _ in range(answer.take("i")):
        node = answer.take("i")
        brokers[node] = "%s:%d" % (answer.string(), answer.take("i"))
        answer.string()
    answer.take("i")
    for _ in range(answer.take("i")):
        error, name = answer.take("h"), answer.string()
        answer.take("b")
        partitions = {}
        for _ in range(answer.take("i")):
            code, index, leader = answer.take("h"), answer.take("i"), answer.take("i")
            for _ in range(2):
                for _ in range(answer.take("i")):
                    answer.take("i")
            partitions[index] = (code, leader)
        found[name] = (error, partitions)
    return brokers, found


CRC_TABLE = []
for _byte in range(256):
    for _ in range(8):
        _byte = (_byte >> 1) ^ (0x82F63B78 if _byte & 1 else 0)
    CRC_TABLE.append(_byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value & ~0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def batch(values, magic=2, wrong_crc=False, base_offset=0, count=None, attributes=0):
    """One record batch (magic 2) with null keys and no headers."""
    records = b""
    for index, value in enumerate(values):
        body = b"\0" + varint(0) + varint(index) + varint(-1) + varint(len(value)) + value + varint(0)
        records += varint(len(body)) + body
    count = len(values) if count is None else count
    now = 1700000000000
    tail = struct.pack(">hiqqqhii", attributes, len(values) - 1, now, now, -1, -1, -1, count) + records
    crc = crc32c(tail) ^ (1 if wrong_crc else 0)
    return struct.pack(">qiibI", base_offset, 9 + len(tail), 0, magic, crc) + tail


def produce_body(topic, partition, records, acks=-1, timeout=10000):
    """Produce v3: no transactional id, one topic, one partition."""
    return (string(None) + struct.pack(">hii", acks, timeout, 1) + string(topic)
            + struct.pack(">iii", 1, partition, len(records)) + records)


def produce(address, topic, partition, records, version=3):
    """The error code of one Produce request."""
    answer = Cursor(call(address, 0, version, produce_body(topic, partition, records), timeout=20))
    answer.take("i"), answer.string(), answer.take("i"), answer.take("i")
    return answer.take("h")
