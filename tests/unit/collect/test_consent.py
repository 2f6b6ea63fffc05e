"""Which states of consent are written, on a clock that tests set."""

import json

import pytest

from jobs.collect import consent
from jobs.collect.consent import LatelyWritten


def test_a_record_says_the_state_and_when():
    assert json.loads(consent.value("withdrawn", 5)) == {"state": "withdrawn", "at_ms": 5}


def test_a_state_is_written_once_and_again_when_it_changes():
    states = LatelyWritten()
    assert states.is_due("v", "granted", 0.0)
    states.wrote("v", "granted", 0.0)
    assert not states.is_due("v", "granted", 1.0)
    assert states.is_due("v", "withdrawn", 1.0)
    assert states.is_due("w", "granted", 1.0)
    states.wrote("v", "withdrawn", 1.0)
    assert states.is_due("v", "granted", 2.0)


def test_a_state_that_kafka_did_not_confirm_stays_due():
    states = LatelyWritten()
    assert states.is_due("v", "granted", 0.0)
    assert states.is_due("v", "granted", 0.0)


def test_after_a_minute_a_state_is_written_again():
    """After a minute it is written again as another collector may have written the opposite."""
    states = LatelyWritten()
    states.wrote("v", "granted", 0.0)
    assert not states.is_due("v", "granted", 59.9)
    assert states.is_due("v", "granted", 60.0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(consent, "MAX_REMEMBERED", 2)
    states = LatelyWritten()
    for visitor in ("a", "b", "c"):
        states.wrote(visitor, "granted", 0.0)
    assert states.is_due("a", "granted", 0.0)
    assert not states.is_due("c", "granted", 0.0)
