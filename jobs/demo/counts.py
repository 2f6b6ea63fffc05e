"""What the system did with the clicks, counted from Kafka and from the operators, not from what was sent."""

import time
from typing import NamedTuple

import msgspec
import requests
from kafka import KafkaAdminClient, TopicPartition

from jobs.cluster.runtime import Runtime
from jobs.cluster.topics import end_offsets
from jobs.errors import ServiceError
from jobs.events import HEARTBEAT
from jobs.session_groups import FEATURES_GROUP, RANKINGS_GROUP
from jobs.settings import Settings
from jobs.verify.slice import Record, Slice, read_slice

PROCESSED_LIMIT_S = 120.0


class Counts(NamedTuple):
    """`events_read`: records that the jobs have read, heartbeats apart; the others count different records only,
    because delivery to these topics is at-least-once."""

    events_read: int
    refused: int
    late: int
    lists_published: int


def wait_processed(settings: Settings, running: Runtime) -> None:
    """Wait until both jobs have read the topic to the end that it has now.

    They commit what they have read with each checkpoint, and a checkpoint waits for all that follows from it: features
    and lists are in Redis, letters and log records in Kafka. Raises ServiceError after `PROCESSED_LIMIT_S`.
    """
    end = {each: offset for each, offset in end_offsets(running.kafka_bootstrap, settings.events_topic).items() if offset}
    admin = KafkaAdminClient(bootstrap_servers=running.kafka_bootstrap.split(","))
    deadline_s = time.monotonic() + PROCESSED_LIMIT_S
    try:
        while (behind := _behind(admin, settings.events_topic, end)):
            if time.monotonic() > deadline_s:
                raise ServiceError(f"the jobs haven't read to the end: {behind}", "liveshelf status; see flink/log")
            time.sleep(0.2)
    finally:
        admin.close()
