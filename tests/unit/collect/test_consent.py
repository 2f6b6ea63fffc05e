"""Which states of consent are written, on a clock that tests set."""

import asyncio
import json

import pytest

from jobs.collect import consent
from jobs.collect.consent import LatelyWritten, Turns

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


def test_a_repeated_denial_is_written_once_a_day():
    states = LatelyWritten()
    written_s = [now_s for now_s in range(0, 48 * HOUR_S, 30) if said(states, "v", "withdrawn", now_s)]
    assert written_s == [0, 24 * HOUR_S]


def test_a_denial_after_somebody_elses_grant_is_no_repetition():
    """Another collector may have written the grant, or the shop."""
    states = LatelyWritten()
    for now_s in (0.0, 100.0, 10_000.0):
        said(states, "v", "withdrawn", now_s)
    assert states.repeats_denial({"w": "granted", "v": "withdrawn"}, 10_001.0)
    states.heard("v", "granted")
    assert not states.repeats_denial({"v": "withdrawn"}, 10_001.0)
    assert said(states, "v", "withdrawn", 10_001.0)


def test_what_is_heard_of_others_changes_nothing_else():
    states = LatelyWritten()
    said(states, "v", "granted", 0.0)
    said(states, "w", "withdrawn", 0.0)
    for visitor in "vwx":
        states.heard(visitor, "erased")
        states.heard(visitor, "withdrawn")
    states.heard("v", "granted")
    assert states.due({"v": "granted", "w": "withdrawn"}, 1.0) == ({}, 0)


def test_a_denial_is_repeated_while_nobody_hears_the_others():
    states = LatelyWritten()
    said(states, "v", "withdrawn", 0.0)
    assert states.due({"v": "withdrawn"}, 59.0, is_sure=False) == ({}, 0)
    assert states.due({"v": "withdrawn"}, 60.0, is_sure=False) == ({"v": "withdrawn"}, 0)
    assert states.due({"v": "withdrawn"}, 60.0) == ({}, 0)


def test_what_may_lie_in_the_topic_unconfirmed_is_doubted():
    """A grant that Kafka took without saying so stands after the denial; the next denial must be written."""
    states = LatelyWritten()
    said(states, "v", "withdrawn", 0.0)
    assert states.due({"v": "granted"}, 1.0)[0] == {"v": "granted"}
    states.doubt({"v": "granted"})
    assert said(states, "v", "withdrawn", 2.0)


def test_one_request_at_a_time_writes_a_visitors_consent():
    """Fifty at once wrote fifty records. A request of other visitors waits for nobody."""
    turns, states, written = Turns(), LatelyWritten(), []

    async def request(visitor: str, confirmed: asyncio.Event) -> None:
        await turns.wait([visitor])
        due, _ = states.due({visitor: "granted"}, 0.0)
        with turns.take(due):
            written.extend(due)
            await confirmed.wait()
            for who in due:
                states.wrote(who, "granted", 0.0)

    async def fifty() -> None:
        confirmed, at_once = asyncio.Event(), asyncio.Event()
        at_once.set()
        waiting = [asyncio.create_task(request("v", confirmed)) for _ in range(50)]
        await asyncio.wait_for(request("w", at_once), 10)
        confirmed.set()
        await asyncio.wait_for(asyncio.gather(*waiting), 10)

    asyncio.run(fifty())
    assert sorted(written) == ["v", "w"]


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
