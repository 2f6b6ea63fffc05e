"""Read the consent topic, and write to it. What its records mean stands in `jobs/contract/consent.py`."""

from collections.abc import Mapping
from contextlib import closing

import msgspec

from jobs.connect import addresses
from jobs.connect.kafka_read import read_slice
from jobs.contract.consent import Consents, Mode, Record, gathered
from jobs.errors import ServiceError

# A consent must stay readable as long as any event that it is about. Otherwise a replay would find a last grant and not
# the withdrawal before it. Ten years, as the embedded broker keeps events for ever. A record has about 60 bytes.
TOPIC = {"cleanup.policy": "compact", "min.compaction.lag.ms": str(10 * 365 * 86_400_000)}


def read(bootstrap: str, topic: str, mode: Mode) -> Consents:
    """Return all consents as they stand; raise `ServiceError` if Kafka doesn't answer.

    A topic that doesn't exist holds none.
    """
    records = read_slice(bootstrap, topic, must_exist=False).records
    return gathered(records, mode)


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
