"""Count what the system did with the clicks: from Kafka and from the operators, not from what was sent."""

import time
from typing import NamedTuple

import msgspec

from jobs.cluster.runtime import Runtime
from jobs.connect import kafka_admin
from jobs.connect.flink_rest import operator_counter
from jobs.connect.kafka_read import read_slice
from jobs.connect.users import GROUPS
from jobs.contract.events import HEARTBEAT
from jobs.errors import ServiceError
from jobs.settings import Settings

PROCESSED_LIMIT_S = 120.0
# The rankings operator counts the rows that reach it: each accepted event but heartbeats, once.
ACCEPTED_METRIC = "batch_rows"


class Counts(NamedTuple):
    """Records, each counted once: delivery to the topics of refused, late and published ones is at-least-once.

    `events_read` are records of the events topic up to where both jobs have read it, heartbeats left out.
    """

    events_read: int
    accepted: int
    refused: int
    late: int
    lists_published: int


class Heading(msgspec.Struct):
    """The field that tells a heartbeat from an event."""

    event_type: str = ""


class Origin(msgspec.Struct):
    """The record of the events topic that a letter or a list is about."""

    partition: int
    offset: int


def wait_processed(settings: Settings, running: Runtime) -> dict[int, int]:
    """Wait until both jobs have read the events topic to the end that it has now; that end, by partition.

    They commit what they have read with each checkpoint, and a checkpoint waits for all that follows from it: features
    and lists are in Redis, letters and log records in Kafka. Raises ServiceError after `PROCESSED_LIMIT_S`.
    """
    bootstrap, topic = running.kafka_bootstrap, settings.events_topic
    end, deadline_s = kafka_admin.end_offsets(bootstrap, topic), time.monotonic() + PROCESSED_LIMIT_S
    while not all(kafka_admin.has_read(bootstrap, group, topic, end) for group in GROUPS.values()):
        if time.monotonic() > deadline_s:
            what = f"the jobs haven't read {topic!r} to its end in {PROCESSED_LIMIT_S:.0f} s"
            raise ServiceError(what, f"look at the logs in {settings.state_dir / 'flink' / 'log'}")
        time.sleep(0.2)
    return end


def counts(settings: Settings, running: Runtime, end: dict[int, int]) -> Counts:
    """Count what became of the records before `end`, when `wait_processed` has returned it."""
    decode = msgspec.json.Decoder(Heading).decode
    events = read_slice(running.kafka_bootstrap, settings.events_topic).records
    read = sum(_is_event(decode, record.value) for record in events if record.offset < end[record.partition])
    dead, late, lists = (
        _origins(running.kafka_bootstrap, topic)
        for topic in (settings.dead_topic, settings.late_topic, settings.rankings_topic)
    )
    accepted = operator_counter(running.metrics_urls, ACCEPTED_METRIC)
    return Counts(read, accepted, dead, late, lists)


def _is_event(decode, value: bytes | None) -> bool:
    """Return False for a heartbeat. A record that can't be read counts as an event: one that is refused."""
    try:
        return decode(value or b"").event_type != HEARTBEAT
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True


def _origins(bootstrap: str, topic: str) -> int:
    decode = msgspec.json.Decoder(Origin).decode
    return len({(origin.partition, origin.offset) for origin in map(decode, _values(bootstrap, topic))})


def _values(bootstrap: str, topic: str) -> list[bytes]:
    return [record.value for record in read_slice(bootstrap, topic, must_exist=False).records]
