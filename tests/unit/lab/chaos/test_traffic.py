"""The stream that faults happen to says what it promises."""

import itertools
import random

from jobs.contract.events import Refusal, parse
from jobs.lab.chaos import traffic

START_MS = 1_700_000_000_000


def test_clicks_are_in_time_order_and_follow_their_seed() -> None:
    """Clicks are in time order from their start on and the same seed gives the same."""
    clicks = traffic.clicks(1, 1, 500, START_MS)
    times = [event["event_time_ms"] for event in clicks]
    assert len(clicks) == 500
    assert times[0] == START_MS
    assert times == sorted(times)
    assert clicks == traffic.clicks(1, 1, 500, START_MS)
    assert len({event["event_id"] for event in (*clicks, *traffic.clicks(1, 2, 500, START_MS))}) == 1000


def test_about_one_event_in_a_hundred_comes_again() -> None:
    """About one event in a hundred comes again with another body and one is late."""
    clicks = traffic.clicks(1, 1, 5000, START_MS)
    hard = list(traffic.hard(clicks, random.Random(0)))
    ids = [event["event_id"] for event in hard]
    late = [name for name in ids if name.endswith("~late")]
    repeated = len(ids) - len(set(ids))
    assert 25 < len(late) < 85
    assert 25 < repeated < 85
    assert len(hard) == 5000 + len(late) + repeated


def test_poison_is_different_strings_that_the_contract_nearly_always_refuses() -> None:
    strings = traffic.poison(1, 300)
    refused = [each for each in strings if isinstance(parse(each), Refusal)]
    assert len(set(strings)) == 300
    assert len(refused) > 270
    assert strings == traffic.poison(1, 300)


def test_wrong_clocks_lie_beside_the_stream_and_the_present() -> None:
    """Wrong clocks lie five minutes beside the stream and decades beside the present."""
    values = traffic.wrong_clocks(1, 1, START_MS, START_MS)
    reasons = [getattr(parse(value, START_MS, 300_000), "reason", "taken") for value in values]
    assert reasons == ["taken", "taken", "future_event_time", "future_event_time", "taken"]


def test_the_long_session_has_a_pause_of_exactly_the_gap() -> None:
    """The long session has one pause of the gap and ends with one of a millisecond more."""
    times = [event["event_time_ms"] for event in traffic.thirty_hours(1, 1, 1000, START_MS)]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert len(times) == 1001
    assert sorted(pauses)[-2:] == [1_800_000, 1_800_001]
    assert pauses[-1] == 1_800_001
    assert set(pauses[:10]) == {108_000}


def test_a_bot_sends_every_other_click() -> None:
    visitors = [event["visitor_id"] for event in traffic.half_by_one(1, 1, 100, START_MS)]
    assert visitors.count("bot") == 50
