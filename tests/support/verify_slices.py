"""Short ways to write records down: times are "hh:mm:ss" (with ".mmm" where it matters) of 2025-11-21, UTC."""

from datetime import UTC, datetime

import msgspec

from jobs.connect.kafka_read import Record
from jobs.verify.classify import Entry, classify


def at(clock: str) -> int:
    return round(datetime.fromisoformat(f"2025-11-21T{clock}").replace(tzinfo=UTC).timestamp() * 1000)


def event(clock: str, event_id: str, **fields: object) -> dict:
    known = {"schema_version": 1, "event_type": "view", "visitor_id": "v", "item_id": "i"}
    return known | {"event_id": event_id, "event_time_ms": at(clock)} | fields


def heartbeat(clock: str) -> dict:
    return {"schema_version": 1, "event_type": "heartbeat", "event_time_ms": at(clock)}


def records(*values: dict | bytes | None, partition: int = 0) -> list[Record]:
    encoded = [msgspec.json.encode(value) if isinstance(value, dict) else value for value in values]
    return [Record(partition, offset, 0, b"v", value) for offset, value in enumerate(encoded)]


def accepted(*values: dict, partition: int = 0) -> list[Entry]:
    """Events as they come, none of them late."""
    return classify(records(*values, partition=partition), delay_ms=10**12).of_kind("counted", "duplicate")
