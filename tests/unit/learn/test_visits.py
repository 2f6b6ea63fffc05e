"""From records to the sessions that are learned from."""

import msgspec

from jobs.learn.visits import Visits


def record(visitor: str, item: str | None, second: float, kind: str = "view", event_id: str = "") -> bytes:
    event = {
        "schema_version": 1,
        "event_id": event_id or f"{visitor}-{item}-{second}",
        "event_type": kind,
        "event_time_ms": round(second * 1000),
        "visitor_id": visitor,
    }
    return msgspec.json.encode(event | ({"item_id": item} if item else {"query": "shoes"} if kind == "search" else {}))


def items(sessions) -> list[str]:
    return ["".join(event.item for event in session) for session in sessions]


def test_session_is_over_when_event_time_has_passed_its_gap():
    visits = Visits(gap_s=10)
    visits.add([record("v", "a", 100), record("v", "b", 105), record("w", "x", 115)])
    assert visits.over() == []  # b is 10 s old: the next click would still belong to it
    visits.add([record("w", "y", 116)])
    assert items(visits.over()) == ["ab"]


def test_events_may_come_out_of_order_and_twice():
    visits = Visits(gap_s=10)
    visits.add(
        [
            record("v", "b", 105),
            record("v", "a", 100),
            record("v", "b", 105),
            record("v", "c", 130),
            record("v", "d", 160),
        ]
    )
    assert items(visits.over()) == ["ab", "c"]


def test_items_that_name_nothing_are_not_learned():
    visits = Visits(gap_s=10)
    nothing = [
        record("v", item, 100 + place) for place, item in enumerate((" ", "undefined", "null", "[object Object]"))
    ]
    empty = record("v", "x", 104).replace(b'"item_id":"x"', b'"item_id":""')
    visits.add([*nothing, empty, record("v", "a", 105), record("undefined", "b", 106), record("w", "c", 200)])
    assert items(visits.over()) == ["a"]


def test_only_heartbeats_among_other_records_move_time():
    """Heartbeats searches and broken records are no clicks but heartbeats move time."""
    visits = Visits(gap_s=10)
    beat = msgspec.json.encode({"schema_version": 1, "event_type": "heartbeat", "event_time_ms": 200_000})
    visits.add([record("v", "a", 100), record("v", None, 101, kind="search"), b"{", None, beat])
    assert items(visits.over()) == ["a"]


def test_what_was_learned_is_forgotten_and_not_taken_again():
    visits = Visits(gap_s=10, learned_until_s=100)
    visits.add([record("v", "a", 90), record("w", "b", 120), record("x", "c", 130), record("y", "d", 200)])
    assert items(visits.over()) == ["b", "c"]
    visits.learned(120)
    assert items(visits.over()) == ["c"]


def test_the_latest_sessions_include_those_that_go_on():
    visits = Visits(gap_s=10)
    visits.add([record("v", "a", 100), record("w", "b", 150), record("w", "c", 155), record("x", "d", 158)])
    assert sorted(items(visits.since(120))) == ["bc", "d"]
