#!/usr/bin/env python3
"""Prints the records of .kfs segments as JSON lines, with the standard library alone.

    python3 docs/examples/read_kfs.py kafscale-data/kafscale/default/orders/0
    python3 docs/examples/read_kfs.py segment-00000000000000000000.kfs --from 1000

Takes files, or folders of partitions. Batches must be uncompressed or gzip. docs/storage-format.md explains the layout.
"""
import argparse
import base64
import gzip
import json
import pathlib
import struct
import sys


def crc32c_table():
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        yield value


TABLE = tuple(crc32c_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(data, at):
    """A zigzag varint and the position behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def field(data, at):
    """Bytes with their length before them, -1 for null, and the position behind them."""
    length, at = varint(data, at)
    return (None, at) if length < 0 else (data[at:at + length], at + length)


def records(batch):
    """The records of one batch: (offset, timestamp, key, value, headers)."""
    base, _, _, magic, _, attributes, _, first_time, max_time, _, _, _, count = struct.unpack_from(">qiibIhiqqqhii", batch)
    if magic != 2:
        raise ValueError(f"batch {base} has magic {magic}, this reader knows 2")
    codec, control = attributes & 7, attributes & 0x20
    if codec > 1:
        raise ValueError(f"batch {base} has codec {codec}, this reader knows 0 (none) and 1 (gzip)")
    data, at = batch[61:], 0
    if codec == 1:
        data = gzip.decompress(data)
    for _ in range(0 if control else count):
        length, at = varint(data, at)
        end = at + length
        time_delta, at = varint(data, at + 1)  # behind the attributes of the record, which are unused
        offset_delta, at = varint(data, at)
        key, at = field(data, at)
        value, at = field(data, at)
        headers, (number, at) = [], varint(data, at)
        for _ in range(number):
            name, at = field(data, at)
            content, at = field(data, at)
            headers.append((name.decode(), content))
        if at != end:
            raise ValueError(f"batch {base}: a record ends at {at}, its length says {end}")
        time = max_time if attributes & 8 else first_time + time_delta  # bit 3: the time of the append
        yield base + offset_delta, time, key, value, headers


def batches(path, check_crc):
    data = path.read_bytes()
    if len(data) < 48 or data[:4] != b"KAFS" or data[-4:] != b"END!":
        raise ValueError(f"{path} is no segment, or is cut off")
    version, flags = struct.unpack_from(">HH", data, 4)
    if (version, flags) != (1, 0):
        raise ValueError(f"{path} has version {version} and flags {flags}, this reader knows 1 and 0")
    crc, _ = struct.unpack_from(">Iq", data, len(data) - 16)
    if check_crc and crc32c(data[32:-16]) != crc:
        raise ValueError(f"{path}: the CRC of the body is wrong")
    at = 32
    while at < len(data) - 16:
        length = 12 + struct.unpack_from(">i", data, at + 8)[0]
        if length < 61 or at + length > len(data) - 16:
            raise ValueError(f"{path}: batch at {at} has {length} bytes")
        yield data[at:at + length]
        at += length


def text(data):
    try:
        return data and data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    parser.add_argument("--from", dest="start", type=int, default=0, help="first offset to print")
    parser.add_argument("--skip-crc", action="store_true", help="do not compute the CRC, which is slow in Python")
    options = parser.parse_args()
    for path in options.paths:
        next_offset = options.start  # segments of one partition may overlap after a merge: print each offset once
        for file in sorted(path.glob("segment-*.kfs")) if path.is_dir() else [path]:
            for batch in batches(file, not options.skip_crc):
                for offset, time, key, value, headers in records(batch):
                    if offset >= next_offset:
                        headers = [[name, text(content)] for name, content in headers]
                        print(json.dumps({"offset": offset, "timestamp": time, "key": text(key), "value": text(value),
                                          "headers": headers}))
                        next_offset = offset + 1


try:
    main()
except BrokenPipeError:
    sys.stderr.close()  # `| head` has seen enough
except (ValueError, OSError, IndexError, struct.error) as error:
    sys.exit(f"read_kfs: {error}")
