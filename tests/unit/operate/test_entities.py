"""How much of the heap the features job's entities take, as far as `doctor` can say."""

import pytest

from jobs.collect.serve import NEW_BURST_S, PARTS_OF_KEY
from jobs.connect import flink_rest
from jobs.lab.budget.coefficients import shipped
from jobs.operate import entities
from jobs.settings import Settings


@pytest.mark.parametrize(
    ("came", "gone", "expected"),
    [(0, 0, 0), (1000, 400, 600), (10, 25, 0)],  # after a restart more may go than came
)
def test_entities_are_those_that_came_and_stayed(monkeypatch, came: int, gone: int, expected: int) -> None:
    counters = {"entities_new": came, "entities_gone": gone}
    monkeypatch.setattr(flink_rest, "operator_counter", lambda _, name: counters[name])
    assert entities.held(["http://x/metrics"], 7) == entities.Held(expected, 7)


def test_half_of_the_heap_is_enough_for_219_000_visitors() -> None:
    """3,500 bytes each are 766 MB, and half of 1,536 MB are 768."""
    assert entities.Held(219_000, 0).fits(1536)
    assert not entities.Held(220_000, 0).fits(1536)
    assert str(entities.Held(219_000, 0)).startswith("219,000 since the job began to run")
    assert str(entities.Held(219_000, 0)).endswith("about 766 MB")


def test_what_a_pages_key_may_bring_in_a_day_fits() -> None:
    """Visitors and things of a day, and those that may come at once: 213,000 are 745 MB."""
    per_s = Settings().collector_key_new_per_s
    brought = sum(per_s * PARTS_OF_KEY[kind] * (86_400 + NEW_BURST_S["key"]) for kind in ("visitors", "things"))
    assert entities.Held(round(brought), 0).fits(Settings().task_heap_mb)


def test_a_visitor_is_counted_with_what_the_plan_says() -> None:
    """One event of one visitor: the visitor, its session's event, and the event itself."""
    state = shipped().state
    assert (
        pytest.approx(state.visitor.heap + state.session_event.heap + state.visitor_event.heap, rel=0.05)
        == entities.BYTES_OF_ENTITY
    )


def test_denied_visitors_count_as_well() -> None:
    """300,000 denials take 120 MB in both jobs, also those of visitors whom nobody has seen."""
    assert str(entities.Held(0, 300_000)).endswith("consents of 300,000 visitors, about 120 MB")
    assert entities.Held(0, 1_900_000).fits(1536)
    assert not entities.Held(0, 1_930_000).fits(1536)
