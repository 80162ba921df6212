"""Stands in for the test/service.py of kafka-python, which its source archive lacks."""


class ExternalService:
    """A broker that runs already."""
    def __init__(self, host, port):
        self.host, self.port = host, port


class SpawnedService:
    def __init__(self, *_):
        raise RuntimeError("these tests start no broker")
