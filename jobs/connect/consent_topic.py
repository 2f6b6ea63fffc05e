"""Read the consent topic, and write to it. What its records mean stands in `jobs/contract/consent.py`."""

from collections.abc import Mapping
from contextlib import closing

import msgspec

from jobs.connect import addresses
from jobs.connect.kafka_read import read_slice
from jobs.contract.consent import Consents, Mode, Record, gathered
from jobs.errors import ServiceError

# All that was said stays readable for as long as any event that it was said about, or a replay would find a last grant and
# not the withdrawal before it. Ten years, as the embedded broker keeps events for ever; a record has some 60 bytes.
TOPIC = {"cleanup.policy": "compact", "min.compaction.lag.ms": str(10 * 365 * 86_400_000)}


def read(bootstrap: str, topic: str, mode: Mode) -> Consents:
    """All consents as they stand; a topic that doesn't exist holds none. Raises ServiceError if Kafka doesn't answer."""
    return gathered(((each.key, each.value) for each in read_slice(bootstrap, topic, must_exist=False).records), mode)


def send(bootstrap: str, topic: str, records: Mapping[str, Record | None]) -> None:
    """Say something about visitors; returns when Kafka has it, raises ServiceError if it doesn't take it."""
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    try:
        with closing(KafkaProducer(**addresses.kafka_python(bootstrap), acks="all")) as producer:
            waiting = [
                producer.send(
                    topic, key=visitor.encode(), value=None if record is None else msgspec.json.encode(record)
                )
                for visitor, record in records.items()
            ]
            for each in waiting:
                each.get(timeout=30)
    except (KafkaError, ValueError) as error:
        raise ServiceError(f"Kafka at {bootstrap} didn't take the consent: {error}", "liveshelf up") from error
