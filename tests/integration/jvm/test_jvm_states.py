"""States of the Java part without Flink: slides, histories and single values.

Expected values are worked out by hand, or come from the oracle.
"""

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from jobs.connect.kafka_read import Record
from jobs.jvm import build
from jobs.verify.classify import Entry
from jobs.verify.features import newest_rows
from jobs.verify.views import Aggregate, View
from tests.support.saved_release import SAVEPOINTS

CHECKPOINT = "checkpoint"
Ask = Callable[..., dict[str, Any]]


def answers(classpath: str, program: str, cases: Iterable[object]) -> list[str]:
    lines = "".join(case if isinstance(case, str) else json.dumps(case) + "\n" for case in cases)
    return build.run_beside(classpath, program, told=lines).splitlines()


def test_serializers_in_a_releases_savepoints_are_read(java_checks: str):
    """A savepoint holds them in Java's serialization: by class, `serialVersionUID` and fields."""
    files = [SAVEPOINTS / "0.1.0" / job / "_metadata" for job in ("features", "rankings")]
    found = build.run_beside(java_checks, "SerializerCheck", *files).splitlines()
    assert set(found) == {"FirstWithinState 2", "HistoryState 2", "SlidingState 2", "TrailingState 3"}


# Values: n for null, i and zigzag groups of seven bits, f and eight bytes, s and UTF-8 behind its length.

BYTES = {
    "[null]": "6e",
    "[0]": "6900",
    "[-1]": "6901",
    "[63]": "697e",
    "[64]": "698001",
    "[9223372036854775807]": "69feffffffffffffffff01",
    "[-9223372036854775808]": "69ffffffffffffffffff01",
    "[0.5]": "663fe0000000000000",
    "[-0.0]": "668000000000000000",
    '[""]': "7300",
    '["é"]': "7304c3a9",
}
READ = {
    "6e": "null",
    "6901": "Long -1",
    "69feffffffffffffffff01": "Long 9223372036854775807",
    "69ffffffffffffffffff01": "Long -9223372036854775808",
    "668000000000000000": "Double -0.0",
    "7304c3a9": "String é",
}


def test_a_value_has_the_bytes_of_its_format(java_checks: str):
    found = answers(java_checks, "ValuesCheck", [f"{value}\n" for value in BYTES])
    assert dict(zip(BYTES, found, strict=True)) == BYTES


def test_bytes_are_read_as_the_value_that_they_hold(java_checks: str):
    found = answers(java_checks, "ValuesCheck", [f"{content}\n" for content in READ])
    assert dict(zip(READ, found, strict=True)) == READ


def test_broken_bytes_are_an_error_that_names_them(java_checks: str):
    unknown, short = answers(java_checks, "ValuesCheck", ["7a\n", "7304c3\n"])
    assert unknown == "IOException state is broken: no value begins with byte 122"
    assert short.startswith("EOFException")


# Slides

SLIDING = "sum price every_20 60; count_distinct item every_20 60; mean price every_20 100"


@pytest.fixture(scope="module")
def slides(java_checks: str) -> Ask:
    def ask(features: str, *steps: object) -> dict[str, Any]:
        return json.loads(answers(java_checks, "SlidingCheck", [{"features": features, "steps": steps}])[0])

    return ask


def event(time_ms: int, price: int | None, item: str | None) -> list:
    return [time_ms, [price, item]]


@pytest.mark.parametrize("between", [(), (CHECKPOINT,)], ids=["straight", "restored"])
def test_slide_enters_at_its_end_and_leaves_a_window_later(slides: Ask, between: tuple[str, ...]):
    """Windows of 60 and 100 ms that slide by 20; a and b come in the first slide, a again in the second."""
    steps = [event(5, 10, "a"), event(19, 30, "b"), event(20, 5, "a"), 19, 39, 99, 139]
    found = slides(SLIDING, *(each for step in steps for each in (step, *between)))
    assert found["rows"] == [
        [20, [40, 2, 20.0]],
        [40, [45, 2, 15.0]],
        [80, [5, 1, 15.0]],  # b has left, and a was seen again
        [100, [0, 0, 15.0]],
        [120, [0, 0, 5.0]],
        [140, [0, 0, None]],
    ]
    assert (found["timers"], found["unused"]) == ([], True)


def test_event_time_that_passes_at_once_gives_the_same_rows(slides: Ask):
    steps = [event(20, 5, "a"), event(19, 30, "b"), event(5, 10, "a")]
    assert slides(SLIDING, *steps, 10**6)["rows"] == slides(SLIDING, *steps, 19, 39, 79, 99, 119, 139)["rows"]


def test_what_is_null_neither_counts_nor_is_summed(slides: Ask):
    found = slides(SLIDING, event(5, None, None), event(6, 4, None), 19)
    assert found["rows"] == [[20, [4, 0, 4.0]]]


def test_every_moment_at_which_slide_moves_may_have_a_timer(slides: Ask):
    """The first slide is in the windows, and leaves them at 80 and 120. The second enters at 40."""
    found = slides(SLIDING, event(5, 10, "a"), 19, event(20, 5, "a"))
    assert (found["timers"], found["unused"]) == ([39, 79, 119], False)


@pytest.mark.parametrize("seed", range(3))
def test_slides_are_the_oracles_at_every_moment(slides: Ask, seed: int):
    """Random events, some out of order, with checkpoints in between."""
    functions, windows_ms = (
        [("sum", "price"), ("mean", "rating"), ("std", "price"), ("count_distinct", "item")],
        (60, 200),
    )
    chance, times_ms, events, steps = random.Random(seed), [], [], []
    passed_ms = 0
    for _ in range(200):
        passed_ms += chance.choice((0, 3, 20, 90))
        each = {
            "price": chance.randrange(9),
            "rating": chance.choice((0.1, 1 / 3, 7.7)),
            "item": f"i{chance.randrange(4)}",
        }
        times_ms.append(passed_ms + chance.randrange(1, 30))
        events.append(each)
        steps += [[times_ms[-1], [each["price"], each["rating"], each["item"]]], passed_ms]
        steps += [CHECKPOINT] if chance.random() < 0.2 else []
    features = "; ".join(f"{name} {column} every_20 {window}" for window in windows_ms for name, column in functions)
    rows = slides(features, *steps, 10**6)["rows"]
    columns = {"price": "price_minor", "rating": "rating", "item": "item_id"}
    entries = [
        Entry(Record(0, number, 0, None, b""), "counted", with_names(each, columns) | {"event_time_ms": time_ms})
        for number, (time_ms, each) in enumerate(zip(times_ms, events, strict=True))
    ]
    aggregates = tuple(
        Aggregate(f"{name} {window}", columns[column], name, window)
        for window in windows_ms
        for name, column in functions
    )
    view = View("v", ("visitor_id",), aggregates, delay_ms=0, slide_ms=20)
    for time_ms, values in rows[::7]:
        expected = newest_rows(view, entries, time_ms - 1)[("v",)]
        assert expected.event_time_ms == time_ms
        assert [near(value) for value in values] == list(expected.values.values())
    assert len(rows) > 150


def near(value: float | None) -> object:
    return value if value is None else pytest.approx(value, rel=1e-9, abs=1e-6)


def with_names(values: dict[str, object], columns: dict[str, str]) -> dict[str, object]:
    named = {columns[name]: value for name, value in values.items()}
    return {"visitor_id": "v", "event_type": "view", **named}


# Histories

ALL_MS = 4_102_444_800_000  # 2100: what stands for events before it must go


@pytest.fixture(scope="module")
def history(java_checks: str) -> Ask:
    def ask(*steps: object, required: bool = False) -> dict[str, Any]:
        return json.loads(answers(java_checks, "HistoriesCheck", [{"required": required, "steps": steps}])[0])

    return ask


def visit(offset: int, time_ms: int, packed: str, partition: int = 0) -> list:
    return [partition, offset, time_ms, packed]


def said(state: str, at_ms: int, **more: object) -> dict[str, object]:
    return {"state": state, "at_ms": at_ms, **more}


def test_a_history_is_a_visitors_events_joined_in_order(history: Ask):
    found = history(visit(0, 10, "a"), visit(1, 10, "b"), CHECKPOINT, visit(2, 5, "c"))
    assert found["rows"] == [
        [0, 0, 10, "a", None],
        [0, 1, 10, "a\x1eb", None],
        [0, 2, 5, "a\x1eb\x1ec", None],
    ]
    assert found["kept"] == 3


def test_a_history_holds_the_last_50_arrivals(history: Ask):
    found = history(*(visit(number, number, f"e{number}") for number in range(52)))
    assert found["rows"][-1][3].split("\x1e") == [f"e{number}" for number in range(2, 52)]
    assert found["kept"] == 50


def test_events_of_several_partitions_stand_by_partition_and_offset(history: Ask):
    events = [visit(0, 10, "c", partition=1), visit(9, 10, "b"), visit(8, 10, "a")]
    assert [history(*order)["rows"][-1][3] for order in (events, events[::-1])] == ["a\x1eb\x1ec"] * 2


def test_a_withdrawal_clears_the_history_and_later_events_arent_kept(history: Ask):
    found = history(visit(7, 50, "a"), said("withdrawn", 100), visit(8, 150, "b"), visit(9, 90, "late"))
    assert found["rows"][1:] == [[0, 7, 100, "", "withdrawn"], [0, 8, 150, "", "no_consent"]]
    assert found["kept"] == -1


def test_a_grant_after_a_withdrawal_begins_a_new_history(history: Ask):
    found = history(visit(7, 50, "a"), said("withdrawn", 100), said("granted", 200), visit(8, 250, "b"))
    assert found["rows"][-1] == [0, 8, 250, "b", None]
    assert found["kept"] == 1


def test_an_erasure_takes_events_by_time_and_by_place(history: Ask):
    """a is before the erasure's time. b is before its place, by a clock that is ahead. c came after it."""
    found = history(
        visit(0, 10, "a"), visit(1, 90, "b"), visit(2, 80, "c"), said("erased", 60, before={"0": 2}), CHECKPOINT
    )
    assert found["rows"][-1] == [0, 2, 80, "c", None]
    assert found["kept"] == 1


def test_an_erasure_of_everything_says_that_all_lists_must_go(history: Ask):
    found = history(visit(0, 10, "a"), visit(1, 20, "b"), said("erased", 60))
    assert found["rows"][-1] == [0, 1, ALL_MS, "", "erased"]
    assert found["kept"] == -1


def test_an_erasure_of_an_unknown_visitor_names_no_place(history: Ask):
    assert history(said("erased", 60))["rows"] == [[-1, -1, 60, "", "erased"]]


def test_where_consent_is_required_silence_is_a_no(history: Ask):
    found = history(visit(0, 10, "a"), said("granted", 20), visit(1, 30, "b"), required=True)
    assert found["rows"] == [[0, 0, 10, "", "no_consent"], [-1, -1, 20, "", "erased"], [0, 1, 30, "b", None]]
