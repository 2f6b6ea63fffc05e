"""From records to the sessions that are learned from."""

import msgspec
import pytest
from kafka.consumer.fetcher import ConsumerRecord

from jobs.contract.consent import Consents, Record
from jobs.learn.visits import Visits, counts


def record(visitor: str, item: str | None, second: float, kind: str = "view", event_id: str = "") -> bytes:
    event = {
        "schema_version": 1,
        "event_id": event_id or f"{visitor}-{item}-{second}",
        "event_type": kind,
        "event_time_ms": round(second * 1000),
        "visitor_id": visitor,
    }
    return msgspec.json.encode(event | ({"item_id": item} if item else {"query": "shoes"} if kind == "search" else {}))


def kafka_record(value: bytes | None, key: bytes | None, timestamp_ms: int, offset: int = 5) -> ConsumerRecord:
    """A record of partition 0, as kafka-python gives it."""
    fields: dict[str, object] = dict.fromkeys(ConsumerRecord._fields)
    return ConsumerRecord(
        **fields | {"partition": 0, "offset": offset, "key": key, "value": value, "timestamp": timestamp_ms}
    )


def placed(*values: bytes | None, first: int = 0) -> list[ConsumerRecord]:
    """Records of partition 0, one after the other."""
    return [kafka_record(value, None, 0, offset) for offset, value in enumerate(values, first)]


def items(sessions) -> list[str]:
    return ["".join(event.item for event in session) for session in sessions]


def test_session_is_over_when_event_time_has_passed_its_gap():
    visits = Visits(gap_s=10)
    visits.add(placed(record("v", "a", 100), record("v", "b", 105), record("w", "x", 115)))
    assert visits.over() == []  # b is 10 s old: the next click would still belong to it
    visits.add(placed(record("w", "y", 116)))
    assert items(visits.over()) == ["ab"]


def test_events_may_come_out_of_order_and_twice():
    visits = Visits(gap_s=10)
    visits.add(
        placed(
            record("v", "b", 105),
            record("v", "a", 100),
            record("v", "b", 105),
            record("v", "c", 130),
            record("v", "d", 160),
        )
    )
    assert items(visits.over()) == ["ab", "c"]


def test_items_that_name_nothing_are_not_learned():
    visits = Visits(gap_s=10)
    nothing = [
        record("v", item, 100 + place) for place, item in enumerate((" ", "undefined", "null", "[object Object]"))
    ]
    empty = record("v", "x", 104).replace(b'"item_id":"x"', b'"item_id":""')
    visits.add(placed(*nothing, empty, record("v", "a", 105), record("undefined", "b", 106), record("w", "c", 200)))
    assert items(visits.over()) == ["a"]


def test_only_heartbeats_among_other_records_move_time():
    """Heartbeats searches and broken records are no clicks but heartbeats move time."""
    visits = Visits(gap_s=10)
    beat = msgspec.json.encode({"schema_version": 1, "event_type": "heartbeat", "event_time_ms": 200_000})
    visits.add(placed(record("v", "a", 100), record("v", None, 101, kind="search"), b"{", None, beat))
    assert items(visits.over()) == ["a"]


def test_what_was_learned_is_forgotten_and_not_taken_again():
    visits = Visits(gap_s=10, learned_until_s=100)
    visits.add(placed(record("v", "a", 90), record("w", "b", 120), record("x", "c", 130), record("y", "d", 200)))
    assert items(visits.over()) == ["b", "c"]
    visits.learned(120)
    assert items(visits.over()) == ["c"]


def test_the_latest_sessions_include_those_that_go_on():
    visits = Visits(gap_s=10)
    visits.add(placed(record("v", "a", 100), record("w", "b", 150), record("w", "c", 155), record("x", "d", 158)))
    assert sorted(items(visits.since(120))) == ["bc", "d"]


def test_consent_is_asked_of_all_that_is_held() -> None:
    """Anna withdraws after her session was read, bert is erased in mid session; cleo has said nothing."""
    visits, consents = Visits(gap_s=10), Consents("assumed")
    for start in (100, 200):  # sessions that are over, and sessions that go on
        people = [record(who, item, start + at) for who in ("anna", "bert", "cleo") for at, item in enumerate("abc")]
        visits.add(placed(*people, first=start))
    assert sorted(items(visits.over())) == ["abc", "abc", "abc"]
    consents.add("anna", Record("withdrawn", 300_000))
    consents.add("bert", Record("erased", 101_000, before={"0": 204}))  # by place up to a of the second session
    visits.obey(consents)
    assert sorted(items(visits.over())) == ["abc"]
    assert sorted(items(visits.since(150))) == ["abc", "bc"]
    visits.obey(Consents("required"))
    assert visits.over() == visits.since(0) == []


@pytest.mark.parametrize("key", [None, b"anna", b"bert"])
@pytest.mark.parametrize("timestamp_ms", [1, 200_000])
def test_whose_event_it_is_decides_and_no_key_or_stamp(key: bytes | None, timestamp_ms: int) -> None:
    """Anna withdrew at second 100: her events of second 150 don't count, nor do those of second 50 since then."""
    consents = Consents("assumed")
    consents.add("anna", Record("withdrawn", 100_000))
    for second in (50, 150):
        assert not counts(consents, kafka_record(record("anna", "a", second), key, timestamp_ms))
        assert counts(consents, kafka_record(record("bert", "a", second), key, timestamp_ms))
    escaped = record("anna", "a", 150).replace(b'"anna"', rb'"\u0061nna"')
    assert not counts(consents, kafka_record(escaped, key, timestamp_ms))


def test_a_heartbeat_counts_and_rubbish_does_not() -> None:
    consents = Consents("required")
    beat = msgspec.json.encode({"schema_version": 1, "event_type": "heartbeat", "event_time_ms": 5})
    assert counts(consents, kafka_record(beat, None, 5))
    assert not any(
        counts(consents, kafka_record(value, b"anna", 5)) for value in (None, b"", b"{", b"7", b"[" * 99_999)
    )
