"""kafka-python against brokers with TLS and SASL."""

import logging
import time

import kafka
from kafka import errors
from kafka.net.sasl.oauth import AbstractTokenProvider
from probe import probe


class Provider(AbstractTokenProvider):
    def __init__(self, token):
        super().__init__()
        self.held = token

    def token(self):
        return self.held

    def extensions(self):
        return {"traceId": "seven"}


def config(case):
    found = {"bootstrap_servers": case["address"], "bootstrap_timeout_ms": 1500 if case["wanted"] else 10000,
             "ssl_cafile": case["ca"],
             "security_protocol": "SASL_SSL" if case["mechanism"] else "SSL"}
    if case["cert"]:
        found.update(ssl_certfile=case["cert"], ssl_keyfile=case["key"])
    if case["mechanism"]:
        found["sasl_mechanism"] = case["mechanism"]
    if case["token"]:
        found["sasl_oauth_token_provider"] = Provider(case["token"])
    elif case["mechanism"]:
        found.update(sasl_plain_username=case["user"], sasl_plain_password=case["password"])
    return found


def exchange(case, values):
    producer = kafka.KafkaProducer(max_block_ms=6000, **config(case))
    try:
        sent = [producer.send(case["topic"], partition=0, value=value.encode()) for value in values]
        for each in sent:
            each.get(12)
    finally:
        producer.close(1)
    consumer = kafka.KafkaConsumer(auto_offset_reset="earliest", **config(case))
    partition = kafka.TopicPartition(case["topic"], 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    found, end = [], time.monotonic() + 20
    while values[-1] not in found and time.monotonic() < end:
        found += [each.value.decode() for each in consumer.poll(200).get(partition, [])]
    consumer.close()
    return found


class Log(logging.Handler):
    """What this library says of connections. To its caller it says nothing else at first: it tries until the time is up."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


LOG = Log()
logging.getLogger("kafka").addHandler(LOG)


def kind(error):
    lines = " ".join(LOG.lines)
    LOG.lines.clear()
    if isinstance(error, errors.KafkaTimeoutError):
        # The answer and the end of the connection come together, and it may take the end first.
        refused = "SaslAuthenticationFailedError" in lines or "socket disconnected" in lines
        return "tls" if "[SSL:" in lines else "sasl" if refused else None
    while error:
        if isinstance(error, errors.SaslAuthenticationFailedError):
            return "sasl"
        if isinstance(error, errors.TopicAuthorizationFailedError):
            return "topic"
        error = error.__cause__ or error.__context__
    return None


probe(exchange, kind)
