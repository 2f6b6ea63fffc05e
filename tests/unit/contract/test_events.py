"""The contract's own shape; what it takes and refuses is in tests/contract."""

import json

import pytest

from jobs.contract.events import (
    DERIVED,
    EVENT_TYPES,
    FIELD,
    FIELDS,
    HEARTBEAT,
    MAX_DEPTH,
    REQUIRED_BY_TYPE,
    Refusal,
    as_json,
    parse,
    visitor_of,
)

LEAST = {
    "schema_version": 1,
    "event_id": "e",
    "event_type": "search",
    "event_time_ms": 5,
    "visitor_id": "v",
    "query": "q",
}


def least(**changes: object) -> bytes:
    return json.dumps(LEAST | changes).encode()


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_has_the_limits_of_its_kind(field):
    """Both checks read them without asking whether they are there."""
    if field.kind == "string":
        assert field.max_length > 0
    else:
        assert field.minimum <= field.maximum
        assert max(abs(field.minimum), abs(field.maximum)) < 2**53  # the JVM compares as doubles


def test_every_type_needs_fields_that_exist():
    """Every type says what it needs and needs fields that exist."""
    assert set(REQUIRED_BY_TYPE) == {*EVENT_TYPES, HEARTBEAT}
    assert all(name in FIELD for names in REQUIRED_BY_TYPE.values() for name in names)
    assert FIELD["event_type"].choices == (*EVENT_TYPES, HEARTBEAT)


def test_a_derived_column_has_a_name_of_its_own():
    names = [column.name for column in DERIVED]
    assert len(set(names)) == len(names)
    assert not set(names) & set(FIELD)


def test_there_is_a_flag_for_every_type():
    assert {f"is_{kind}" for kind in EVENT_TYPES} <= {column.name for column in DERIVED}


def test_the_jvm_is_told_every_field_and_limit():
    told = json.loads(as_json())
    assert [field["name"] for field in told["fields"]] == [field.name for field in FIELDS]
    assert (told["max_event_bytes"], told["max_depth"], told["heartbeat"]) == (65_536, MAX_DEPTH, "heartbeat")
    assert told["required_by_type"]["click"] == ["item_id", "list_id", "position"]
    assert told["required_of_heartbeat"] == ["schema_version", "event_type", "event_time_ms"]
    assert told["reasons"][::11] == ["empty", "future_event_time"]
    assert len(told["reasons"]) == 12


def test_brackets_in_strings_are_no_depth():
    assert parse(least(query="[" * 300), now_ms=5) == LEAST | {"query": "[" * 300}
    assert parse(least(query='"[\\' * 60), now_ms=5) == LEAST | {"query": '"[\\' * 60}


def test_depth_is_counted_from_the_event_itself():
    deepest: object = 1
    for _ in range(MAX_DEPTH - 1):
        deepest = [deepest]
    assert parse(least(more=deepest), now_ms=5) == LEAST
    assert parse(least(more=[deepest]), now_ms=5) == Refusal("not_json")


def test_the_depth_of_the_callers_stack_changes_nothing():
    """The decoder's own limit is what Python's stack has left: an event was taken here and refused there."""

    def deeper(frames: int) -> object:
        return parse(least(more=[[[]]]), now_ms=5) if frames == 0 else deeper(frames - 1)

    assert deeper(0) == deeper(500) == LEAST


def test_the_clock_is_the_machines_when_none_is_given():
    assert parse(least()) == LEAST
    assert parse(least(event_time_ms=4_102_444_800_000)) == Refusal("future_event_time", "event_time_ms")


@pytest.mark.parametrize(
    ("value", "visitor"),
    [
        ('{"visitor_id":"zoé"}'.encode(), "zoé"),
        (rb'{"visitor_id":"zo\u00e9"}', "zoé"),
        (rb'{"visitor_id":"user\/17"}', "user/17"),
        (rb'{"visitor_id":"a\u003cb"}', "a<b"),
        (rb'{"visitor\u005fid":"a","event_type":5}', "a"),
        (b'{"visitor_id":17}', "17"),
        (b'{"visitor_id":"a","visitor_id":"b"}', "b"),  # as the contract's check reads it
        (b'{"query":"anna","channel":"anna","more":{"visitor_id":"anna"}}', None),
        (b'{"visitor_id":null}', None),
        (b'{"visitor_id":["a"]}', None),
        (b'{"visitor_id":1.5}', None),
        (b'["visitor_id","a"]', None),
        (b'{"visitor_id":"a"', None),
        (b'{"visitor_id":"\xff"}', None),
        (b"[" * 100_000, None),
        (b"", None),
        (None, None),
    ],
)
def test_whom_a_record_names_is_told_by_its_field(value: bytes | None, visitor: str | None) -> None:
    assert visitor_of(value) == visitor
