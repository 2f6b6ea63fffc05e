"""The state of an entity's windows and sessions: its cap, the order of its events, and the version before.

The tests run `TrailingState.java` in a JVM without Flink, so that thousands of events take a second. Expected values
are worked out by hand or come from the oracle.
"""

import base64
import itertools
import json
import random
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.connect.kafka_read import Record
from jobs.jvm import build
from jobs.settings import Settings
from jobs.verify.classify import Entry
from jobs.verify.features import newest_rows
from jobs.verify.views import Aggregate, View

START_MS = 1_785_000_000_000
Feature = tuple[str, str, str, int]  # function, column, frame, its milliseconds
Step = dict[str, Any] | int  # an event, {"cap": n} for a start, or event time that has passed
Check = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def check(java_checks: str) -> Check:
    """Return a function that asks `TrailingCheck.java` about one case: features and steps.

    An event's offset is the number of its step, unless it says where it lies (`place`).
    """

    def run(features: list[Feature], *steps: Step, state: bytes = b"") -> dict[str, Any]:
        columns = list(dict.fromkeys(column for _, column, _, _ in features))
        told = [
            [step["event_time_ms"], *step.get("place", (0, number)), [step.get(column) for column in columns]]
            if isinstance(step, dict) and "event_time_ms" in step
            else step
            for number, step in enumerate(steps)
        ]
        case = {"features": "; ".join(" ".join(map(str, each)) for each in features), "steps": told}
        case |= {"state": base64.b64encode(state).decode()} if state else {}
        return json.loads(build.run_beside(java_checks, "TrailingCheck", told=json.dumps(case) + "\n"))

    return run


def event(number: int, at_ms: int, **fields: object) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "event_type": "view",
        "visitor_id": "v",
        "event_time_ms": START_MS + at_ms,
        "item_id": f"i{number}",
        "price_minor": number,
        **fields,
    }


def told(found: dict[str, Any]) -> list[list]:
    """[milliseconds, value, …] of each row."""
    return [[time_ms - START_MS, *values] for time_ms, _, values in found["rows"]]


SHORT = [(f, c, "range", 1000) for f, c in (("count", "item_id"), ("first", "item_id"), ("max", "price_minor"))]


def test_the_oldest_leaves_a_full_window_as_if_over(check: Check):
    """A window holds the newest events and the oldest leaves as if its time were over."""
    prices = [9, 1, 2, 8, 3]
    found = check(
        SHORT, {"cap": 3}, *(event(n, 10 * n, price_minor=price) for n, price in enumerate(prices)), START_MS + 99
    )
    assert told(found) == [[0, 1, "i0", 9], [10, 2, "i0", 9], [20, 3, "i0", 9], [30, 3, "i1", 8], [40, 3, "i2", 8]]
    assert found["events"] == 2


def test_an_event_that_is_over_isnt_counted_as_capped(check: Check):
    """An event whose time is over isn't counted as one that the cap put out."""
    found = check(SHORT, {"cap": 3}, *(event(n, 1001 * n) for n in range(9)), START_MS + 9999)
    assert told(found)[-1] == [8008, 1, "i8", 8]
    assert found["events"] == 0


def test_of_one_millisecond_the_last_arrivals_stay_in_the_window(check: Check):
    """Of more events at one millisecond than the cap those that came last are in the window."""
    found = check(SHORT, {"cap": 2}, event(9, 0), *(event(n, 5) for n in (4, 3, 2)), event(1, 6), START_MS + 9)
    # All three of millisecond 5 see the same window: 3 and 2. Then 2 and 1.
    assert told(found) == [[0, 1, "i9", 9], *[[5, 2, "i3", 3]] * 3, [6, 2, "i2", 2]]
    assert found["events"] == 3  # 9 and 4 at once, then 3


def test_the_cap_orders_by_event_time_and_not_by_arrival(check: Check):
    late = [event(3, 30), event(1, 10), event(2, 20)]
    assert told(check(SHORT, {"cap": 2}, *late, START_MS + 99))[-1] == [30, 2, "i2", 3]


def test_each_window_has_the_cap_for_itself(check: Check):
    windows = [("count", "item_id", "range", ms) for ms in (10, 100, 1000)]
    found = check(windows, {"cap": 4}, *(event(n, 5 * n) for n in range(8)), START_MS + 99)
    # 10 ms hold 3 events, so the cap of 4 is nothing to them; 100 and 1000 ms each put out events 0 to 3.
    assert told(found)[-1] == [35, 3, 4, 4]
    assert found["events"] == 8


ORDERED = [
    ("last", "item_id", "session", 1000),
    ("last_3", "item_id", "session", 1000),
    ("first", "item_id", "range", 1000),
    ("count", "item_id", "range", 1000),
]


def test_events_of_one_time_stand_by_partition_and_offset(check: Check):
    """Whatever the order in which they come, and with a checkpoint between them."""
    places = {"a": (0, 8), "b": (0, 9), "c": (1, 2)}
    a, b, c = (event(n, 5, item_id=item, place=places[item]) for n, item in enumerate(places))
    for x, y, z in itertools.permutations((a, b, c)):
        found = check(ORDERED, {"cap": 2}, x, {"cap": 2}, y, z, START_MS + 9)
        # All three see one window, which holds the last two of them by place: b and c.
        assert told(found) == [
            [5, "a", ["a"], "b", 2],
            [5, "b", ["a", "b"], "b", 2],
            [5, "c", ["a", "b", "c"], "b", 2],
        ]


def test_a_shuffle_of_what_waits_changes_no_value(check: Check):
    """Whole-second clocks: up to ten events a time, in two partitions, delivered in three orders."""
    chance = random.Random(2)
    events = [
        event(n, 1000 * (n // chance.randint(5, 10)), item_id=f"i{n}", place=(n % 2, n // 2), rating=n / 7)
        for n in range(400)
    ]
    features = [*ALL, *ORDERED]
    straight = check(features, {"cap": 7}, *events, START_MS + 10**9)["rows"]
    assert len({row[0] for row in straight}) < len(straight) / 2
    for seed in (1, 2):
        shuffled = random.Random(seed).sample(events, len(events))
        assert check(features, {"cap": 7}, *shuffled, START_MS + 10**9)["rows"] == straight


def number(value: int) -> bytes:
    """A whole number as states hold it: seven bits a byte, the lowest first, the sign in the lowest bit."""
    left, content = (value << 1) ^ (value >> 63), bytearray()
    while left > 0x7F:
        content.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*content, left])


def test_state_of_version_2_goes_on_with_what_waited_first(check: Check):
    """As release 0.1.0 wrote it: waiting events without a place, and a part `r` that counts events."""
    never = number(2**63 - 1)
    time = number(START_MS + 5)
    x, y = (time + number(2) + b"s" + number(1) + item + b"i" + time for item in (b"x", b"y"))
    origin = number(-1) + never + never
    session = number(0) + number(2) + b"e" + 2 * (b"s" + number(1) + b"w") + b"r" + number(1)
    state = (
        b"\x02" + origin + time + never + number(1) + number(START_MS)
        + number(2) + x + y + number(0) + number(1) + session
    )  # fmt: skip
    features = [("last", "item_id", "session", 1000), ("is_single", "event_time_ms", "session", 1000)]
    found = check(features, {"cap": 9}, event(3, 5, item_id="z", place=(0, 0)), START_MS + 9, state=state)
    assert found["rows"] == [[START_MS + 5, 2, ["x", 0]], [START_MS + 5, 3, ["y", 0]], [START_MS + 5, 4, ["z", 0]]]


def test_a_state_of_an_unknown_version_is_refused(check: Check):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        check(SHORT, {"cap": 9}, state=b"\x09")
    assert "TrailingState$Serializer can't read state of version 9, only of 2 to 3" in refused.value.stderr


def test_with_cap_of_one_a_window_is_its_newest_event(check: Check):
    found = check(SHORT, {"cap": 1}, event(1, 0), event(2, 0), event(3, 7), START_MS + 9)
    assert told(found) == [[0, 1, "i2", 2], [0, 1, "i2", 2], [7, 1, "i3", 3]]


def test_smaller_cap_after_restart_trims_and_a_larger_one_fills(check: Check):
    first, second = [event(n, n) for n in range(5)], [event(n, n) for n in range(5, 9)]
    smaller = check(SHORT, {"cap": 5}, *first, START_MS + 4, {"cap": 2}, *second, START_MS + 8)
    assert [row[:3] for row in told(smaller)][4:6] == [[4, 5, "i0"], [5, 2, "i4"]]
    assert smaller["events"] == 4 + 3
    larger = check(SHORT, {"cap": 2}, *first, START_MS + 4, {"cap": 4}, *second, START_MS + 8)
    assert [row[:3] for row in told(larger)][4:] == [
        [4, 2, "i3"],
        [5, 3, "i3"],
        [6, 4, "i3"],
        [7, 4, "i4"],
        [8, 4, "i5"],
    ]


def test_a_cap_of_nothing_is_refused_with_the_settings_name():
    with pytest.raises(ValidationError, match="max_window_events"):
        Settings(max_window_events=0)


SESSION = [("count_distinct", "item_id", "session", 1000), ("count", "item_id", "session", 1000)]


def test_a_session_counts_distinct_values_up_to_the_cap(check: Check):
    """A session counts all its events and distinct values up to the cap."""
    items = ["a", "b", "a", "c", "d", "a"]
    events = [*(event(n, n, item_id=item) for n, item in enumerate(items)), event(7, 2000)]
    found = check(SESSION, {"cap": 2}, *events, START_MS + 2000)
    assert [row[1:] for row in told(found)] == [[1, 1], [2, 2], [2, 3], [2, 4], [2, 5], [2, 6], [1, 1]]
    assert (found["values"], found["events"]) == (2, 0)  # c and d


def test_a_session_that_goes_on_keeps_to_a_smaller_cap(check: Check):
    """A session that goes on with a smaller cap counts no further than that."""
    events = [event(n, n) for n in range(6)]
    found = check(SESSION, {"cap": 4}, *events[:5], START_MS + 4, {"cap": 3}, events[5], START_MS + 5)
    assert [row[1] for row in told(found)] == [1, 2, 3, 4, 4, 3]


FUNCTIONS = [
    *(
        (f, c)
        for c in ("price_minor", "rating")
        for f in ("sum", "count", "min", "max", "mean", "std", "count_distinct", "first", "last", "span", "last_3")
    ),
    *((f, "item_id") for f in ("count", "min", "max", "count_distinct", "first", "last", "last_70")),
    ("is_single", "event_id"),
]
WINDOWS_MS, GAP_MS = (700, 3000, 60_000), 1500


def busy(count: int, seed: int) -> list[dict[str, Any]]:
    """A visitor who clicks all the time, often several times at one millisecond; not each event has each value."""
    chance, at_ms, made = random.Random(seed), 0, []
    for number in range(count):
        at_ms += chance.choice((0, 0, 1, 5, 40, 40, 700)) if number % 97 else 1501
        fields = {
            "price_minor": chance.randrange(300),
            "rating": chance.choice((0.1, 1.1, 3.3, 1e6 / 7)),
            "item_id": f"i{chance.randrange(400)}",
        }
        made.append(event(number, at_ms, **fields))
        if chance.random() < 0.5:
            made[-1].pop(chance.choice(list(fields)))
    return made


def arriving(events: list[dict[str, Any]], seed: int, restarts: dict[int, int]) -> list[Step]:
    """The events out of order by up to 10 places, with event time as far as it can be; `restarts` are caps by place."""
    chance = random.Random(seed)
    order = sorted(range(len(events)), key=lambda place: place + chance.uniform(0, 10))
    steps: list[Step] = []
    for place, each in enumerate(order):
        steps += [{"cap": restarts[place]}] if place in restarts else []
        steps.append(events[each])
        if place % 7 == 6:
            steps.append(min((events[later]["event_time_ms"] for later in order[place + 1 :]), default=START_MS) - 1)
    return [*steps, START_MS + 10**9]


def view(name: str, windows_ms: tuple[int, ...], **frame: int) -> View:
    each = tuple(Aggregate(f"{f} {c} {ms}", c, f, None if frame else ms) for ms in windows_ms for f, c in FUNCTIONS)
    return View(name, ("visitor_id",), each, delay_ms=0, **frame)


ALL = [(f, c, "range", ms) for ms in WINDOWS_MS for f, c in FUNCTIONS] + [
    (f, c, "session", GAP_MS) for f, c in FUNCTIONS
]
VIEWS = (view("windows", WINDOWS_MS), view("session", (GAP_MS,), gap_ms=GAP_MS))


def same(found: object, expected: object) -> bool:
    if isinstance(expected, list):
        assert isinstance(found, list)
        return [each for each in found if each is not None] == expected
    return found == (pytest.approx(expected, rel=1e-9, abs=1e-6) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("cap", [1, 2, 9, 70, 200, 1_000_000])
def test_every_function_over_every_frame_is_oracles_whatever_the_cap(check: Check, cap: int):
    steps = arriving(busy(700, seed=cap), seed=5, restarts={0: cap, 333: cap})
    arrived = [step for step in steps if isinstance(step, dict) and "event_id" in step]
    entries = [Entry(Record(0, place, 0, None, b""), "counted", each) for place, each in enumerate(arrived)]
    rows = {time_ms: values for time_ms, _, values in check(ALL, *steps)["rows"]}  # the last of each moment
    for moment_ms in sorted(rows)[::11]:
        expected = {}
        for each in VIEWS:
            expected |= newest_rows(each, entries, moment_ms, cap)[("v",)].values
        wrong = [
            (name, found, right)
            for found, (name, right) in zip(rows[moment_ms], expected.items(), strict=True)
            if not same(found, right)
        ]
        assert not wrong, (moment_ms - START_MS, wrong[:3])


def test_a_restart_changes_no_bit_of_a_sum_of_fractions(check: Check):
    events = busy(700, seed=3)
    straight, interrupted = ({0: 150}, {place: 150 for place in range(0, 700, 13)})
    rows = [check(ALL, *arriving(events, 5, restarts))["rows"] for restarts in (straight, interrupted)]
    assert rows[0] == rows[1]


def test_state_of_bot_is_no_larger_than_twice_the_cap(check: Check):
    wanted = [
        *((f, "item_id", "range", 10**8) for f in ("first", "count")),
        ("count_distinct", "item_id", "session", 10**8),
    ]
    sizes = {
        n: check(wanted, {"cap": 100}, *(event(i, i, item_id=f"{i:09}") for i in range(n)), START_MS + n)["bytes"]
        for n in (50, 100, 5000)
    }
    assert sizes[100] > 1.8 * sizes[50]
    assert sizes[5000] < 2.5 * sizes[100]
