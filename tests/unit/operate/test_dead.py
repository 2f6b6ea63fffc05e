"""Dead letters: what they hold, and what may be sent again."""

import base64

import pytest

from jobs.contract.consent import Consents, Record
from jobs.errors import DataError, SettingsError
from jobs.operate.dead_letters import Fix, Letter, allowed, by_hour, by_reason, check_again, excerpt, find

GOOD = b'{"schema_version":1,"event_id":"e1","event_type":"view","event_time_ms":1000,"visitor_id":"v","item_id":"i"}'


def letter(reason: str = "not_json", field: str = "", value: bytes = b"{", offset: int = 0) -> Letter:
    return Letter(reason, field, value.decode(), None, "events", 0, offset, 5)


def test_a_letter_gives_back_bytes_that_are_not_utf8() -> None:
    not_text = Letter("not_utf8", "", None, base64.b64encode(b"\xff\xfe").decode(), "events", 1, 7, 5)
    assert not_text.bytes == b"\xff\xfe"
    assert not_text.place == "1-7"
    assert excerpt(not_text) == r"\xff\xfe"


def test_an_empty_record_is_empty_whichever_field_is_null() -> None:
    assert Letter("empty", "", None, None, "events", 0, 0, 5).bytes == b""


def test_reasons_are_grouped_with_their_field_most_frequent_first() -> None:
    too_long = [letter("too_long", field) for field in ("query", "query", "item_id")]
    letters = [letter("not_json"), *too_long]
    assert list(map(len, by_reason(letters).values())) == [2, 1, 1]
    assert list(by_reason(letters)) == [("too_long", "query"), ("not_json", ""), ("too_long", "item_id")]


def test_a_letter_is_found_by_its_place() -> None:
    assert find([letter(offset=1), letter(offset=2)], "0-2", "").offset == 2
    with pytest.raises(DataError, match="'0-3'\n  fix: look elsewhere"):
        find([letter(offset=1)], "0-3", "look elsewhere")


def late(partition: int, offset: int, time_ms: int) -> Letter:
    event = f'{{"event_time_ms":{time_ms}}}'
    return Letter("late", "event_time_ms", event, None, "events", partition, offset, 5)


def test_late_events_are_grouped_by_partition_hour_and_reason() -> None:
    hour_ms = 1_700_002_800_000  # 2023-11-14 23:00 UTC
    letters = [late(1, 9, hour_ms), late(0, 7, hour_ms), late(0, 5, hour_ms - 1), late(0, 8, hour_ms + 3_599_999)]
    offsets = {group: [each.offset for each in alike] for group, alike in by_hour(letters).items()}
    assert offsets == {
        (0, "2023-11-14 22:00", "late"): [5],
        (0, "2023-11-14 23:00", "late"): [7, 8],
        (1, "2023-11-14 23:00", "late"): [9],
    }


def test_late_letter_without_event_time_is_named_by_its_place() -> None:
    with pytest.raises(DataError, match="late event 0-4"):
        by_hour([letter("late", "event_time_ms", b"{}", 4)])


def test_event_from_future_may_go_when_its_time_has_come() -> None:
    early = letter("future_event_time", "event_time_ms", GOOD)
    ready, refused = check_again([early], Fix(), max_skew_ms=10, now_ms=989)
    assert (ready, refused) == ([], {"future_event_time event_time_ms": 1})
    ready, refused = check_again([early], Fix(), max_skew_ms=10, now_ms=990)
    assert [each.value for each in ready] == [GOOD]
    assert not refused


def test_what_is_still_wrong_is_counted_by_reason() -> None:
    ready, refused = check_again([letter(value=b"{"), letter(value=b"[]"), letter(value=b"{")], Fix(), 0, 1000)
    assert ready == []
    assert refused == {"not_json": 2, "not_an_object": 1}


def test_a_field_can_be_set_or_dropped_before_the_check() -> None:
    price_as_text = GOOD[:-1] + b',"price_minor":"12"}'
    broken = letter("wrong_type", "price_minor", price_as_text)
    dropped, _ = check_again([broken], Fix.of([], ["price_minor"]), 0, 1000)
    assert "price_minor" not in dropped[0].event
    corrected, _ = check_again([broken], Fix.of(["price_minor=12"], []), 0, 1000)
    assert corrected[0].event["price_minor"] == 12
    assert corrected[0].event["visitor_id"] == "v"


def test_a_value_that_is_no_json_is_text() -> None:
    assert Fix.of(["event_type=view", "quantity=2", 'item_id="2"'], []).values == {
        "event_type": "view",
        "quantity": 2,
        "item_id": "2",
    }


def test_assignment_without_a_value_is_an_error_that_shows_one() -> None:
    with pytest.raises(SettingsError, match="FIELD=VALUE"):
        Fix.of(["event_type"], [])


def test_a_fix_leaves_what_is_no_object_to_the_check() -> None:
    _, refused = check_again([letter(value=b"\x00"), letter(value=b"[1]")], Fix.of(["a=1"], []), 0, 1000)
    assert refused == {"not_json": 1, "not_an_object": 1}


def test_what_was_refused_before_an_erasure_is_not_sent_again() -> None:
    """Its clock was ahead, so only its place tells that it came before; a heartbeat is nobody's."""
    ahead = GOOD.replace(b"1000", b"9000")
    beat = b'{"schema_version":1,"event_type":"heartbeat","event_time_ms":1}'
    letters = [letter(value=ahead, offset=4), letter(value=ahead, offset=5), letter(value=beat, offset=1)]
    ready, _ = check_again(letters, Fix(), max_skew_ms=0, now_ms=9000)
    consents = Consents("assumed")
    consents.add("v", Record("erased", 2000, {"0": 5}))
    assert [each.position for each in allowed(ready, consents)] == [(0, 5), (0, 1)]
    consents.add("v", Record("withdrawn", 3000))
    assert [each.position for each in allowed(ready, consents)] == [(0, 1)]
