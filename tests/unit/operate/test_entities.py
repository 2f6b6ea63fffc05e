"""How much of the heap the features job's entities take, as far as `doctor` can say."""

import pytest

from jobs.connect import flink_rest
from jobs.operate import entities


@pytest.mark.parametrize(
    ("came", "gone", "expected"),
    [(0, 0, 0), (1000, 400, 600), (10, 25, 0)],  # after a restart more may go than came
)
def test_entities_are_those_that_came_and_stayed(monkeypatch, came: int, gone: int, expected: int) -> None:
    counters = {"entities_new": came, "entities_gone": gone}
    monkeypatch.setattr(flink_rest, "operator_counter", lambda _, name: counters[name])
    assert entities.held(["http://x/metrics"], 7) == entities.Held(expected, 7)


def test_half_of_the_heap_is_enough_for_548_000_items() -> None:
    """1,400 bytes each are 767 MB, and half of 1,536 MB are 768."""
    assert entities.Held(548_000, 0).fits(1536)
    assert not entities.Held(549_000, 0).fits(1536)
    assert str(entities.Held(548_000, 0)).startswith("548,000 since the job began to run")
    assert str(entities.Held(548_000, 0)).endswith("about 767 MB")


def test_denied_visitors_count_as_well() -> None:
    """300,000 denials take 120 MB in both jobs, also those of visitors whom nobody has seen."""
    assert str(entities.Held(0, 300_000)).endswith("consents of 300,000 visitors, about 120 MB")
    assert entities.Held(0, 1_900_000).fits(1536)
    assert not entities.Held(0, 1_930_000).fits(1536)
