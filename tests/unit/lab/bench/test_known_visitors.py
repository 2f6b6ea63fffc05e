"""The traffic of the bench of known visitors, and what its state holds, counted by hand."""

import numpy as np
import pytest

from jobs.lab.bench import known_visitors
from jobs.lab.bench.clicks import TYPES, Clicks
from jobs.lab.bench.known_visitors import Part
from jobs.lab.bench.workplace import SESSION_GAP_S
from jobs.lab.budget.terms import Counts

NOW_MS = 1_800_000_000_000


def test_measured_parts_differ_in_their_visitors_only() -> None:
    (fill, _, few), (more_fill, _, many) = (known_visitors.parts(known, 50, 400, 100, NOW_MS) for known in (50, 500))
    assert few.stream.item.tolist() == many.stream.item.tolist()
    assert few.times_ms.tolist() == many.times_ms.tolist()
    assert sorted(np.unique(few.stream.visitor, return_counts=True)[1]) == sorted(
        np.unique(many.stream.visitor, return_counts=True)[1]
    )
    assert set(few.stream.visitor.tolist()) <= set(range(50))
    assert max(many.stream.visitor.tolist()) in range(50, 500)
    assert sorted(fill.stream.visitor.tolist()) == list(range(50))
    assert sorted(more_fill.stream.visitor.tolist()) == list(range(500))


def test_known_visitors_come_back_for_another_session() -> None:
    fill, warm, measured = known_visitors.parts(50, 50, 400, 100, NOW_MS)
    assert measured.times_ms[0] - fill.times_ms[-1] > SESSION_GAP_S * 1000
    assert measured.times_ms[-1] - fill.times_ms[0] < 60 * known_visitors.MINUTE_MS  # still in the window of an hour
    assert measured.times_ms[-1] < NOW_MS
    assert not set(warm.stream.visitor.tolist()) & set(range(50))


def test_counts_are_those_of_the_events() -> None:
    """Two views of item 0 in one minute, a search, and a view of item 31 in the next minute."""
    view, search = TYPES.index("view"), TYPES.index("search")
    visitor, zeros = np.arange(4), np.zeros(4, np.int64)
    stream = Clicks(visitor, visitor, np.array([0, 0, 1, 31]), np.array([view, view, search, view]), zeros, zeros)
    part = Part("by hand", stream, np.array([0, 59_999, 60_000, 60_001]))
    found = known_visitors.counts([part], "features")
    assert found.buckets == pytest.approx(4, rel=1e-4)  # four digests rarely fall into one of 65,536 buckets
    assert found._replace(buckets=4) == Counts(
        visitors=4,
        session_events=4,
        visitor_events=4,
        items=2,
        item_minutes=2,
        item_visitors=3,
        categories=2,
        category_minutes=2,
        category_visitors=3,
        buckets=4,
        ids=4,
    )
    assert known_visitors.counts([part], "rankings") == Counts(histories=4, history_events=4)
