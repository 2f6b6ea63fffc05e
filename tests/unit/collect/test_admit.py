"""What is stored of an event, on a clock that tests set; `now` is 1,800,000,000,000 ms."""

import json

import pytest

from jobs.collect.admit import Admitted, Rejected, Rules
from jobs.contract.events import parse
from liveshelf.pseudonyms import Pseudonyms

NOW_MS = 1_800_000_000_000
KEY = bytes(range(32))
RULES = Rules(Pseudonyms([("k1", KEY)]), max_skew_ms=300_000, max_age_ms=604_800_000)
ANNA = "k1.8483899d7cd6c47469295924c0c157d2"  # by OpenSSL, see test_pseudonyms.py
ANNA_USER = "k1.7aa9f0d03264eb9a906f1968747551ba"
EVENT = {"schema_version": 1, "event_id": "e", "event_type": "view", "item_id": "i", "visitor_id": "anna@example.com"}


def raw(**changes: object) -> bytes:
    return json.dumps(EVENT | {"event_time_ms": NOW_MS} | changes).encode()


def admitted(value: bytes, **seen: str) -> dict:
    verdict = RULES.admit(value, seen, NOW_MS)
    assert isinstance(verdict, Admitted), verdict
    stored = json.loads(verdict.value)
    assert (stored["visitor_id"], stored["event_time_ms"]) == (verdict.visitor, verdict.event_time_ms)
    return stored


def test_an_event_is_stored_with_pseudonyms_and_passes_the_contract():
    stored = admitted(raw(user_id="anna@example.com", price_minor=5))
    assert stored == EVENT | {
        "event_time_ms": NOW_MS, "visitor_id": ANNA, "user_id": ANNA_USER, "price_minor": 5,
    }  # fmt: skip
    assert parse(json.dumps(stored).encode(), NOW_MS) == stored


def test_fields_that_the_contract_does_not_know_are_not_stored():
    assert "email" not in admitted(raw(email="anna@example.com", nested={"deep": [1]}))


def test_an_event_without_a_time_happened_now():
    assert admitted(json.dumps(EVENT).encode())["event_time_ms"] == NOW_MS
    assert admitted(raw(event_time_ms=None))["event_time_ms"] == NOW_MS


@pytest.mark.parametrize(
    ("time_ms", "stored_ms"),
    [
        (NOW_MS - 604_800_000, NOW_MS - 604_800_000),  # seven days, to the millisecond
        (NOW_MS - 1, NOW_MS - 1),
        (NOW_MS + 1, NOW_MS),  # a clock that is fast must not make everybody else's events late
        (NOW_MS + 300_000, NOW_MS),
    ],
)
def test_an_event_keeps_its_time_unless_it_lies_ahead(time_ms: int, stored_ms: int):
    assert admitted(raw(event_time_ms=time_ms))["event_time_ms"] == stored_ms


@pytest.mark.parametrize("clock_ms", [1, 3_600_000, NOW_MS, 2 * NOW_MS, 4_102_444_800_000 * 2])
def test_an_event_that_waited_happened_so_long_ago(clock_ms: int):
    """Whatever the clock of its producer says: an hour on the shelf is an hour."""
    assert admitted(raw(event_time_ms=clock_ms, sent_ms=clock_ms + 3_600_000))["event_time_ms"] == NOW_MS - 3_600_000
    assert admitted(raw(event_time_ms=clock_ms, sent_ms=clock_ms))["event_time_ms"] == NOW_MS
    assert admitted(raw(event_time_ms=clock_ms, sent_ms=clock_ms - 1))["event_time_ms"] == NOW_MS  # it was set back


def test_sent_ms_says_nothing_alone_and_is_not_stored():
    assert admitted(raw(event_time_ms=None, sent_ms=5)) == admitted(raw())
    assert admitted(raw(event_time_ms=NOW_MS - 5, sent_ms=None))["event_time_ms"] == NOW_MS - 5


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (raw(event_time_ms=NOW_MS + 300_001), Rejected("future_event_time", "event_time_ms")),
        (raw(event_time_ms=NOW_MS - 604_800_001), Rejected("too_old", "event_time_ms")),
        (raw(event_time_ms=5, sent_ms=604_800_006), Rejected("too_old", "event_time_ms")),
        (raw(event_time_ms=5, sent_ms=10**30), Rejected("out_of_range", "event_time_ms")),
        (raw(event_time_ms="1", sent_ms=1), Rejected("wrong_type", "event_time_ms")),
        (raw(sent_ms="1"), Rejected("wrong_type", "sent_ms")),
        (raw(sent_ms=True), Rejected("wrong_type", "sent_ms")),
        (raw(event_time_ms="1"), Rejected("wrong_type", "event_time_ms")),
        (raw(event_type="heartbeat"), Rejected("unknown_value", "event_type")),
        (raw(event_type="teleport"), Rejected("unknown_value", "event_type")),
        (raw(item_id=None), Rejected("missing_field", "item_id")),
        (raw(visitor_id=5), Rejected("wrong_type", "visitor_id")),
        (raw(visitor_id=""), Rejected("out_of_range", "visitor_id")),
        (raw(visitor_id="undefined"), Rejected("out_of_range", "visitor_id")),
        (raw(item_id=""), Rejected("missing_field", "item_id")),
        (raw(item_id="[object Object]"), Rejected("missing_field", "item_id")),
        (raw(visitor_id="v" * 129), Rejected("too_long", "visitor_id")),
        (raw(user_id="a\nb"), Rejected("control_character", "user_id")),
        (raw(user_id=["x"]), Rejected("wrong_type", "user_id")),
        (b"7", Rejected("not_an_object")),
        (b'{"a": "\xff"}', Rejected("not_utf8")),
        (b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", Rejected("not_json")),
        (raw(junk="x" * 65_536), Rejected("too_large")),
    ],
)
def test_what_is_no_event_is_rejected_with_its_reason(value: bytes, why: Rejected):
    assert RULES.admit(value, {}, NOW_MS) == why


def test_what_the_request_tells_fills_gaps_and_replaces_nothing():
    stored = admitted(raw(country="AT"), device="iOS", country="DE")
    assert (stored["device"], stored["country"]) == ("iOS", "AT")


def test_with_consent_each_visitor_has_granted():
    """With consent good events are kept and each visitor has granted."""
    judged = RULES.judge([raw(), b"7", raw(event_id="f")], "granted", {}, NOW_MS)
    assert len(judged.admitted) == 2
    assert judged.rejected == {1: Rejected("not_an_object")}
    assert (judged.suppressed, judged.states) == (0, {ANNA: "granted"})


def test_without_a_word_on_consent_nothing_is_kept():
    assert RULES.judge([raw(), b"7"], "unknown", {}, NOW_MS) == ([], {}, 2, {})


def test_denial_withdraws_under_each_valid_key_and_keeps_nothing_else():
    rotating = Rules(Pseudonyms([("k2", b"\xff" * 32), ("k1", KEY)]), 300_000, 604_800_000)
    judged = rotating.judge(
        [raw(), b'{"visitor_id": "anna@example.com"}', b'{"visitor_id": 5}', b'{"visitor_id": "undefined"}', b"7"],
        "denied",
        {},
        NOW_MS,
    )
    assert (judged.admitted, judged.rejected, judged.suppressed) == ([], {}, 5)
    assert judged.states == dict.fromkeys(rotating.pseudonyms.all_of("anna@example.com"), "withdrawn")
    assert ANNA in judged.states


def test_a_rejected_event_says_nothing_of_its_visitor():
    assert RULES.judge([raw(item_id=None)], "granted", {}, NOW_MS).states == {}
