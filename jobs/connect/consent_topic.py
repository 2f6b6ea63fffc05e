"""Read the consent topic, and write to it. What its records mean stands in `jobs/contract/consent.py`."""

from collections.abc import Mapping
from contextlib import closing

import msgspec

from jobs.connect import addresses, kafka_admin
from jobs.connect.kafka_read import read_slice
from jobs.contract.consent import Consents, Mode, Record
from jobs.errors import ServiceError

LAG = "min.compaction.lag.ms"
FOR_EVER_MS = 10 * 365 * 86_400_000  # ten years
# The broker dates records: by its clock it is judged whether a record's own time lies ahead.
CLOCK = {"message.timestamp.type": "LogAppendTime"}
TOPIC = {"cleanup.policy": "compact", LAG: str(FOR_EVER_MS), **CLOCK}


def wanted(events: Mapping[str, str]) -> dict[str, str]:
    """Return the topic's settings, by those of the events topic.

    A consent must stay readable as long as any event that it is about. Otherwise a replay would find a last grant and
    not the withdrawal before it. Kafka deletes events by whole segments.
    """
    retention_ms = int(events["retention.ms"])
    lag_ms = FOR_EVER_MS if retention_ms < 0 else min(FOR_EVER_MS, retention_ms + int(events["segment.ms"]))
    return TOPIC | {LAG: str(lag_ms)}


def missing(bootstrap: str, topic: str, events_topic: str) -> dict[str, str]:
    """Return the settings that the topic should have and hasn't; raise `ServiceError` if the broker doesn't tell."""
    found, events = kafka_admin.configs(bootstrap, (topic, events_topic))
    return {name: value for name, value in wanted(events).items() if found[name] != value}


def mend(bootstrap: str, topic: str, events_topic: str) -> None:
    """Set what is missing: compaction lags behind the retention of events as it is now. Raise `ServiceError`."""
    if settings := missing(bootstrap, topic, events_topic):
        kafka_admin.set_configs(bootstrap, topic, settings)


def read(bootstrap: str, topic: str, mode: Mode) -> Consents:
    """Return all consents as they stand; raise `ServiceError` if Kafka doesn't answer.

    A topic that doesn't exist holds none.
    """
    return Follower(bootstrap, topic, mode).now()


class Follower:
    """Reads the topic once, and from then on what is new."""

    def __init__(self, bootstrap: str, topic: str, mode: Mode) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self._consents = Consents(mode)
        self._next: dict[int, int] = {}  # partition → first offset that wasn't read

    def now(self) -> Consents:
        """Return all consents as they stand now; raise as `read` does. It is the same object each time."""
        new = read_slice(self._bootstrap, self._topic, self._next, must_exist=False)
        self._next |= new.end
        for record in new.taken():
            self._consents.take(record.position, record.key, record.value, record.timestamp_ms)
        return self._consents


def send(bootstrap: str, topic: str, records: Mapping[str, Record]) -> None:
    """Write consents by visitor, and return when Kafka has them; raise `ServiceError` if it doesn't take them.

    Each is said now: its time is its Kafka timestamp, too.
    """
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    try:
        with closing(KafkaProducer(**addresses.kafka_python(bootstrap), acks="all")) as producer:
            acks = [
                producer.send(topic, key=visitor.encode(), value=msgspec.json.encode(record), timestamp_ms=record.at_ms)
                for visitor, record in records.items()
            ]
            for ack in acks:
                ack.get(timeout=30)
    except (KafkaError, ValueError) as error:
        raise ServiceError(f"Kafka at {bootstrap} didn't take the consent: {error}", "liveshelf up") from error
