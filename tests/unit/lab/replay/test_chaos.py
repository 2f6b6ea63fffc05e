"""What makes a stream hard keeps its promises: bounds, exact counts, certain refusals, the same bytes from a seed."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.contract.events import Event, Refusal, parse
from jobs.lab.replay.chaos import DAMAGES, DUPLICATE, INTACT, corrupt, duplicate, records, shuffle_within
from jobs.lab.replay.produce import Knobs, hardened


def views(times_ms: list[int]) -> list[Event]:
    return [
        {
            "schema_version": 1,
            "event_id": f"e{number}",
            "event_type": "view",
            "event_time_ms": time_ms,
            "visitor_id": f"v{number % 7}",
            "item_id": "x",
        }
        for number, time_ms in enumerate(times_ms)
    ]


def hard(seed: int) -> Knobs:
    return Knobs(shuffle_within_s=60, duplicate=0.05, corrupt=0.05, seed=seed, watermark_delay_s=60.001)


times = st.lists(st.integers(1, 300_000), max_size=200).map(sorted)


@given(times, st.integers(0, 60), st.integers())
def test_a_shuffled_event_is_older_by_less_than_the_bound(times_ms, seconds, seed):
    """A shuffled event is less than the bound older than what came before."""
    events = views(times_ms)
    arrived = list(shuffle_within(events, seconds, random.Random(seed)))
    assert Counter(event["event_id"] for event in arrived) == Counter(event["event_id"] for event in events)
    newest_ms = 0
    for event in arrived:
        assert event["event_time_ms"] > newest_ms - seconds * 1000 or seconds == 0
        newest_ms = max(newest_ms, event["event_time_ms"])


def test_shuffling_within_no_time_changes_nothing():
    events = views([1, 1, 2, 3])
    assert list(shuffle_within(events, 0, random.Random(1))) == events


def test_shuffling_within_a_minute_changes_the_order():
    events = views(list(range(1, 60_000, 1000)))
    arrived = list(shuffle_within(events, 60, random.Random(1)))
    assert arrived != events
    assert arrived == list(shuffle_within(events, 60, random.Random(1)))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("not_json", Refusal("not_json")),
        ("wrong_type", Refusal("wrong_type", "event_time_ms")),
        ("unknown_type", Refusal("unknown_value", "event_type")),
        ("missing_field", Refusal("missing_field", "visitor_id")),
        ("nan", Refusal("not_json")),
        ("infinity", Refusal("not_json")),
        ("control_character", Refusal("control_character", "visitor_id")),
        ("not_utf8", Refusal("not_utf8")),
        ("empty", Refusal("empty")),
        ("array", Refusal("not_an_object")),
        ("too_large", Refusal("too_large")),
    ],
)
def test_each_kind_of_damage_is_refused_for_its_reason(kind: str, reason: Refusal):
    (event,) = views([5])
    assert parse(DAMAGES[kind](event)) == reason


def test_no_kind_of_damage_is_left_untested():
    assert len(DAMAGES) == 11


def test_damages_come_in_turn_keep_key_and_leave_others_alone():
    events = views(list(range(1, 12)))
    damaged = list(corrupt(records(events), 1.0, random.Random(1)))
    assert [record.mark for record in damaged] == list(DAMAGES)
    assert [record.key for record in damaged] == [event["visitor_id"].encode() for event in events]
    assert list(corrupt(records(events), 0.0, random.Random(1))) == list(records(events))


def test_two_megabytes_come_once_in_two_hundred_damages():
    marks = Counter(record.mark for record in corrupt(records(views([1] * 400)), 1.0, random.Random(1)))
    assert marks["too_large"] == 2
    assert sum(marks.values()) == 400


def test_a_copy_follows_its_record_among_the_next_fifty():
    sent = list(duplicate(records(views(list(range(1, 301)))), 0.3, random.Random(1)))
    originals = [record.event["event_id"] for record in sent if record.mark == INTACT]
    assert originals == [f"e{number}" for number in range(300)]
    copies = [(place, record) for place, record in enumerate(sent) if record.mark == DUPLICATE]
    assert 60 <= len(copies) <= 120  # 90 are expected; 30 are 3.8 standard deviations
    for place, copy in copies:
        first = next(i for i, record in enumerate(sent) if record.event == copy.event)
        between = [record for record in sent[first + 1 : place] if record.mark == INTACT]
        assert first < place
        assert len(between) < 50
        assert copy.value == sent[first].value


def test_a_damaged_record_has_no_copy():
    stream = corrupt(records(views([1] * 100)), 0.5, random.Random(1))
    sent = list(duplicate(stream, 1.0, random.Random(2)))
    marks = Counter(record.mark for record in sent)
    assert marks[DUPLICATE] == marks[INTACT]
    assert len(sent) == 100 + marks[DUPLICATE]


@settings(max_examples=50)
@given(times, st.integers(0, 20), st.integers(0, 1000))
def test_nothing_is_late_when_the_delay_covers_the_bound(times_ms, seconds, seed):
    """With all of it nothing is late when the delay is the bound and a millisecond."""
    delay_ms = seconds * 1000 + 1
    how = Knobs(shuffle_within_s=seconds, duplicate=0.3, corrupt=0.1, seed=seed, watermark_delay_s=delay_ms / 1000)
    newest_ms = 0
    for record in hardened(views(times_ms), how):
        newest_ms = max(newest_ms, record.event["event_time_ms"])
        assert record.event["event_time_ms"] > newest_ms - delay_ms


def test_seed_gives_the_same_bytes_twice_and_another_seed_others():
    events = views(list(range(1, 100_000, 500)))
    first, again, other = (list(hardened(events, hard(seed))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_turning_one_knob_leaves_choices_of_another_as_they_were():
    events = views(list(range(1, 100_000, 500)))
    plain = [record.mark for record in hardened(events, Knobs(corrupt=0.05, seed=1, watermark_delay_s=61))]
    how = Knobs(corrupt=0.05, seed=1, watermark_delay_s=61, shuffle_within_s=60)
    also_shuffled = [record.mark for record in hardened(events, how)]
    assert plain == also_shuffled
