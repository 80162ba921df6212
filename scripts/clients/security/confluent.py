"""confluent-kafka (librdkafka) against brokers with TLS and SASL."""

import time

import confluent_kafka as ck
from probe import RECORDS, probe

KINDS = {ck.KafkaError._AUTHENTICATION: "sasl", ck.KafkaError._SSL: "tls", ck.KafkaError.SASL_AUTHENTICATION_FAILED: "sasl",
         ck.KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic"}


def about(error):
    """With TLS 1.3 a client learns after its handshake that it has shown no certificate: then its text alone says so."""
    return "tls" if "alert certificate required" in error.str() else KINDS.get(error.code())


def config(case, errors):
    found = {"bootstrap.servers": case["address"], "ssl.ca.location": case["ca"],
             "security.protocol": "SASL_SSL" if case["mechanism"] else "SSL", "error_cb": errors.append}
    if case["cert"]:
        found.update({"ssl.certificate.location": case["cert"], "ssl.key.location": case["key"]})
    if case["mechanism"]:
        found["sasl.mechanism"] = case["mechanism"]
    if case["token"]:
        # Whether it has expired is for the broker to say.
        found["oauth_cb"] = lambda _: (case["token"], time.time() + 300, "", {"traceId": "seven"})
    elif case["mechanism"]:
        found.update({"sasl.username": case["user"], "sasl.password": case["password"]})
    return found


def raise_fatal(errors):
    """This library goes on trying, and says by its callback what is wrong."""
    for error in errors:
        if about(error):
            raise ck.KafkaException(error)


def exchange(case, values):
    errors, reports = [], []
    producer = ck.Producer({**config(case, errors), "message.timeout.ms": 20000})
    for value in values:
        producer.produce(case["topic"], partition=0, value=value, on_delivery=lambda error, _: reports.append(error))
    while len(reports) < RECORDS:
        producer.poll(0.1)
        raise_fatal(errors)
    for error in filter(None, reports):
        raise ck.KafkaException(error)
    consumer = ck.Consumer({**config(case, errors), "group.id": "security", "enable.auto.commit": False,
                            "auto.offset.reset": "earliest"})
    consumer.assign([ck.TopicPartition(case["topic"], 0, 0)])
    found, end = [], time.monotonic() + 20
    while values[-1] not in found and time.monotonic() < end:
        raise_fatal(errors)
        found += [message.value().decode() for message in consumer.consume(500, 0.2) if not message.error()]
    consumer.close()
    return found


probe(exchange, lambda error: about(error.args[0]) if isinstance(error, ck.KafkaException) else None)
