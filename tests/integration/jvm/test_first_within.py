"""The state that deduplicates, from the JVM: what it lets through, and that it forgets."""

import random
from collections.abc import Callable

import pytest

from jobs.connect.kafka_read import Record
from jobs.jvm import build
from jobs.verify.classify import classify

HORIZON_MS = 1000
Step = tuple[int, int, int]  # id, event time, watermark
EMPTY = 2  # bytes: version and size
ID = 16


@pytest.fixture(scope="module")
def check(java_checks: str) -> Callable[..., list[tuple[bool, int]]]:
    """Return a function that says whether each event counts, and how many bytes the state has after it."""

    def run(*steps: Step) -> list[tuple[bool, int]]:
        said = "\n".join(" ".join(map(str, step)) for step in steps)
        answers = build.run_beside(java_checks, "FirstWithinCheck", HORIZON_MS, told=said).splitlines()
        return [(word == "true", int(size)) for word, size in map(str.split, answers)]

    return run


def test_an_id_counts_again_a_horizon_later_and_not_before(check) -> None:
    found = check((7, 5000, 0), (7, 5000, 0), (7, 4000, 0), (7, 5999, 0), (8, 5999, 0), (7, 6000, 0), (7, 6999, 0))
    assert [first for first, _ in found] == [True, False, False, False, True, True, False]


def test_what_no_event_on_time_can_repeat_is_forgotten(check) -> None:
    found = check((1, 5000, 4000), (2, 5500, 5400), (3, 6500, 5999), (4, 6501, 6000), (5, 9000, 8000))
    assert [size - EMPTY for _, size in found] == [ID, 2 * ID, 3 * ID, 3 * ID, ID]


def test_the_state_and_the_oracle_let_the_same_events_through(check) -> None:
    rng, now_ms, steps = random.Random(1), 1_000_000, []
    for _ in range(5000):
        now_ms += rng.randint(0, 20)
        steps.append((rng.randint(1, 100), now_ms - rng.randint(0, 99), now_ms - 100))
    records = [Record(0, place, step[1], b"v", event(*step).encode()) for place, step in enumerate(steps)]
    kinds = [entry.kind for entry in classify(records, 10**9, horizon_ms=HORIZON_MS).entries]
    found = check(*steps)
    assert [first for first, _ in found] == [kind == "counted" for kind in kinds]
    assert 500 < kinds.count("duplicate") < 4500
    assert max(size for _, size in found) < 120 * ID  # 100 ids, of which each counts once in 1.1 s


def event(number: int, time_ms: int, _watermark_ms: int) -> str:
    return (
        f'{{"schema_version":1,"event_id":"e{number}","event_type":"view","event_time_ms":{time_ms},'
        '"visitor_id":"v","item_id":"i"}'
    )
