"""Stands in for the test/service.py of kafka-python, which its source archive lacks, and mends a race of its client."""

from kafka.cluster import ClusterMetadata


class ExternalService:
    """A broker that runs already."""
    def __init__(self, host, port):
        self.host, self.port = host, port


class SpawnedService:
    def __init__(self, *_):
        raise RuntimeError("these tests start no broker")


# A topic that the client begins to follow while a metadata request is under way is not part of that request, and its
# answer then clears the wish for another one: the client waits for metadata.max.age.ms, five minutes ("TODO: handle
# future when old metadata request is currently in-flight" in kafka/cluster.py of 3.0.12). Against a fast broker a
# consumer that is given its topics at once loses this race one time in some forty.
refresh = ClusterMetadata._do_refresh_metadata


async def refresh_again_for_topics_that_came_meanwhile(cluster, node_id):
    asked = set(cluster._topics)
    await refresh(cluster, node_id)
    if set(cluster._topics) - asked:
        cluster.request_update()


ClusterMetadata._do_refresh_metadata = refresh_again_for_topics_that_came_meanwhile
