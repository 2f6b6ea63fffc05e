"""Rows of the lake: what they say of a record, and whose they are."""

import pytest

from jobs.connect.kafka_read import Record
from jobs.contract.consent import Consents
from jobs.contract.consent_record import Record as Said
from jobs.lake.rows import Topic, counts, row, table

EVENT = (
    b'{"schema_version":1,"event_id":"e","event_type":"view","visitor_id":"v\\u0031","item_id":"i","event_time_ms":9}'
)
LIST = b'{"visitor_id":"v1","shelf":"home","list_id":"l","partition":0,"offset":4,"event_time_ms":9,"items":["i"]}'
OLD_LIST = LIST.replace(b'"shelf"', b'"channel"')


def record(value: bytes | None, key: bytes | None = b"key") -> Record:
    return Record(1, 5, 1000, key, value)


def test_a_row_of_an_event_holds_its_bytes_as_text() -> None:
    found = row("events", record(EVENT), 0)
    assert (found["partition"], found["offset"], found["timestamp_ms"]) == (1, 5, 1000)
    assert (found["visitor_id"], found["event_type"], found["item_id"], found["event_time_ms"]) == (
        "v1",
        "view",
        "i",
        9,
    )
    assert found["value"] == EVENT.decode()


@pytest.mark.parametrize("value", [LIST, OLD_LIST])
def test_a_row_of_a_list_names_its_event(value: bytes) -> None:
    found = row("rankings", record(value), 0)
    assert (found["shelf"], found["event_partition"], found["event_offset"]) == ("home", 0, 4)


def test_an_item_without_a_value_was_taken_away() -> None:
    assert row("items", record(None, b"i1"), 0) == {
        "partition": 1,
        "offset": 5,
        "timestamp_ms": 1000,
        "item_id": "i1",
        "value": None,
    }


@pytest.mark.parametrize("kind", ["events", "rankings", "items"])
def test_what_cannot_be_read_keeps_no_content(kind: str) -> None:
    found = row(kind, record(b'\xff{"visitor_id":"v1"}', b"\xff"), 0)
    assert found.keys() == {"partition", "offset", "timestamp_ms", "refused"}


@pytest.mark.parametrize(
    ("kind", "value", "expected"), [("events", EVENT, True), ("rankings", LIST, False), ("items", EVENT, True)]
)
def test_an_erasure_covers_what_is_about_earlier_events(kind: str, value: bytes, expected: bool) -> None:
    """It ended at offset 5 of partition 0. The event lies in partition 1; the list answers offset 4 of partition 0."""
    consents = Consents("assumed")
    consents.add("v1", Said("erased", 8, {"0": 5}))
    assert counts(kind, row(kind, record(value), 0), consents) == expected


def test_where_consent_is_required_silence_means_no() -> None:
    assert not counts("events", row("events", record(EVENT), 0), Consents("required"))
    assert counts("rankings", {"visitor_id": "item/i1"}, Consents("required"))


def test_a_refused_row_leaves_the_other_columns_empty() -> None:
    found = table(Topic("events", "events"), [row("events", record(b""), 0), row("events", record(EVENT), 0)])
    assert found["refused"].to_pylist() == ["empty", None]
    assert found["visitor_id"].to_pylist() == [None, "v1"]
