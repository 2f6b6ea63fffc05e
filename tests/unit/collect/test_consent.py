"""Which states of consent are written, on a clock that tests set."""

import json

import pytest

from jobs.collect import consent
from jobs.collect.consent import LatelyWritten

HOUR_S = 3600


def said(states: LatelyWritten, visitor: str, state: str, now_s: float) -> bool:
    """Say a state and return True if it is written, as Kafka confirms it."""
    due, _ = states.due({visitor: state}, now_s)
    for who in due:
        states.wrote(who, state, now_s)
    return bool(due)


def test_a_record_says_the_state_and_when():
    assert json.loads(consent.value("withdrawn", 5)) == {"state": "withdrawn", "at_ms": 5}


def test_a_state_is_written_once_and_again_when_it_changes():
    states = LatelyWritten()
    assert said(states, "v", "granted", 0.0)
    assert not said(states, "v", "granted", 1.0)
    assert said(states, "v", "withdrawn", 1.0)
    assert said(states, "w", "granted", 1.0)
    assert said(states, "v", "granted", 2.0)


def test_a_state_that_kafka_did_not_confirm_stays_due():
    states = LatelyWritten()
    assert states.due({"v": "granted"}, 0.0) == ({"v": "granted"}, 0)
    assert states.due({"v": "granted"}, 0.0) == ({"v": "granted"}, 0)


def test_a_visitor_who_goes_on_granting_writes_once_a_day():
    """Not once a minute: with a request each 30 s for two days."""
    states = LatelyWritten()
    written_s = [now_s for now_s in range(0, 48 * HOUR_S, 30) if said(states, "v", "granted", now_s)]
    assert written_s == [0, 24 * HOUR_S]


def test_a_denial_is_repeated_at_intervals_that_double():
    """At 1, 3, 7 … minutes: another collector may have written the opposite in between."""
    states = LatelyWritten()
    written_s = [now_s for now_s in range(0, 2 * HOUR_S, 30) if said(states, "v", "withdrawn", now_s)]
    assert written_s == [60 * minutes for minutes in (0, 1, 3, 7, 15, 31, 63)]


def test_flips_of_one_visitor_are_bounded():
    """A denial is always heard. It can be taken back five times at once, then once a minute."""
    states = LatelyWritten()
    written = [
        (said(states, "v", "withdrawn", flip / 100), said(states, "v", "granted", flip / 100)) for flip in range(60)
    ]
    assert written == [(True, True)] * 5 + [(True, False)] + [(False, False)] * 54
    assert states.due({"v": "granted", "w": "granted"}, 1.0) == ({"w": "granted"}, 1)
    assert said(states, "v", "granted", 61.0)
    assert said(states, "v", "withdrawn", 61.0)


def test_memory_is_bounded_and_keeps_who_is_active(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(consent, "MAX_REMEMBERED", 2)
    states = LatelyWritten()
    for visitor in ("a", "b", "a", "c"):
        said(states, visitor, "granted", 0.0)
    assert not said(states, "a", "granted", 0.0)
    assert said(states, "b", "granted", 0.0)
