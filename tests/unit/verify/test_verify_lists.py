"""The list oracle, with a model that fits in the head."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from jobs.verify.lists import Ranked, Session, current_sessions, model_inputs, rank
from jobs.verify.shelf import same_items, same_scores
from tests.support.verify_slices import accepted, at, event

GAP_MS = 1_800_000


@dataclass
class CountingModel:
    """Items a, b, c, d score 4, 3, 2, 1, and 10 more for each time that the session holds them, plus the context."""

    names: dict[str, str] = field(default_factory=dict)
    items: tuple = ("", "a", "b", "c", "d")
    item_index: dict = field(default_factory=lambda: {"a": 1, "b": 2, "c": 3, "d": 4})
    type_index: dict = field(default_factory=lambda: {"view": 1, "purchase": 2})
    popular: tuple = ("d", "c", "b", "a")
    context_features: tuple = ("session:x",)

    def score(self, items, types, gaps, lengths, context):
        base = np.array([0, 4, 3, 2, 1], np.float32)
        totals = np.stack([base + 10 * np.bincount(row[row > 0], minlength=5) for row in items]) + context
        order = np.argsort(-totals[:, 1:], axis=1, kind="stable") + 1
        return np.take_along_axis(totals, order, axis=1), order


def session_ids(*events: dict) -> list[str]:
    return [each["event_id"] for each in current_sessions(accepted(*events), GAP_MS)["v"].events]


def ranking(*events: dict, model: CountingModel | None = None) -> Ranked:
    return rank(current_sessions(accepted(*events), GAP_MS), {"v": [0.5]}, model or CountingModel())["v"]


def test_a_late_event_takes_its_place_in_time():
    """A late event takes its place in time and leaves the session as it is."""
    assert session_ids(event("12:00:00", "a"), event("12:20:00", "c"), event("12:10:00", "b")) == ["a", "b", "c"]


def test_the_list_is_cut_at_the_last_pause():
    """The list is cut at the last pause even if an older event arrives last."""
    slice_ = event("12:00:00", "a"), event("14:00:00", "b"), event("12:01:00", "late")
    assert session_ids(*slice_) == ["b"]
    session = current_sessions(accepted(*slice_), GAP_MS)["v"]
    assert session.position == (0, 2)  # the list answers the event that arrived last
    assert session.event_time_ms == at("14:00:00")


def test_a_session_of_two_partitions_has_two_ends():
    entries = accepted(event("12:00:00", "a"), event("12:00:10", "b"), event("12:00:20", "c"))
    moved = [replace(each, record=each.record._replace(partition=n % 2)) for n, each in enumerate(entries)]
    session = current_sessions(sorted(moved, key=lambda entry: entry.record.position), GAP_MS)["v"]
    assert [each["event_id"] for each in session.events] == ["a", "b", "c"]
    assert session.ends == {(0, 2), (1, 1)}


@pytest.mark.parametrize(("second", "kept"), [("12:30:00", ["a", "b"]), ("12:30:00.001", ["b"])])
def test_an_event_exactly_one_gap_later_stays_in_the_session(second, kept):
    assert session_ids(event("12:00:00", "a"), event(second, "b")) == kept


def test_a_repeated_event_counts_once_within_the_last_fifty():
    """A repeated event counts once and the first of the last fifty is the one."""
    assert session_ids(event("12:00:00", "a"), event("12:01:00", "b"), event("12:02:00", "a")) == ["a", "b"]


def test_repeats_take_places_among_the_fifty():
    # 52 arrivals: x, then 50 different ones, then the last of them again. x and the first fall out.
    many = [event(f"12:00:{n:02d}", f"e{n}") for n in range(50)]
    ids = session_ids(event("12:00:00", "x"), *many, many[-1])
    assert ids == [f"e{n}" for n in range(1, 50)]


def test_model_inputs_hold_gaps_between_kept_events():
    """Model inputs hold gaps between kept events and zeros at the right."""
    bundle = CountingModel()
    long = [event("12:00:00", "1", item_id="a"), event("12:00:09", "2", item_id="d", event_type="purchase")]
    items, types, gaps, lengths, context = model_inputs([long, long[:1]], [[1.0], [2.0]], bundle)
    assert items.tolist() == [[1, 4], [1, 0]]
    assert types.tolist() == [[1, 2], [1, 0]]
    assert gaps.tolist() == [[0, pytest.approx(math.log(10))], [0, 0]]  # log1p(9 s)
    assert lengths.tolist() == [2, 1]
    assert context.tolist() == [[1], [2]]
    assert [each.dtype for each in (items, types, gaps, lengths, context)] == ["i8", "i8", "f4", "i8", "f4"]


def test_unknown_items_and_types_are_left_out():
    """Items and types that the model does not know are left out."""
    seen = event("12:00:00", "1", item_id="c"), event("12:00:01", "2", item_id="unknown")
    rated = event("12:00:02", "3", item_id="d", event_type="rating", rating=5)
    assert ranking(*seen, rated) == Ranked({"c": 12.5, "a": 4.5, "b": 3.5, "d": 1.5}, None)


def test_what_was_bought_in_this_session_is_not_listed():
    bought = event("12:00:01", "2", item_id="a", event_type="purchase")
    assert list(ranking(event("12:00:00", "1", item_id="b"), bought).items) == ["b", "c", "d"]
    earlier = event("09:00:00", "0", item_id="c", event_type="purchase")
    assert list(ranking(earlier, event("12:00:00", "1", item_id="b")).items) == ["b", "a", "c", "d"]


def test_what_the_catalogue_does_not_hold_is_not_listed():
    model = CountingModel(names={"a": "apples", "c": "cherries"})
    assert list(ranking(event("12:00:00", "1", item_id="b"), model=model).items) == ["a", "c"]


def test_a_session_without_a_known_item_gets_the_popular_ones():
    assert ranking(event("12:00:00", "1", item_id="unknown")) == Ranked({"d": 0, "c": 0, "b": 0, "a": 0}, "popular")


def test_visitors_are_ranked_alike_alone_and_in_a_batch():
    # Longer than a batch, and of different lengths.
    def sessions(visitors):
        seen = {n: event("12:00:00", "x", item_id="abcd"[n % 4]) for n in visitors}
        return {str(n): Session([seen[n]] * (1 + n % 3), (0, n)) for n in visitors}

    together = rank(sessions(range(300)), {str(n): [0.0] for n in range(300)}, CountingModel())
    assert together["299"].items == {"d": 31.0, "a": 4.0, "b": 3.0, "c": 2.0}
    assert rank(sessions([299]), {"299": [0.0]}, CountingModel())["299"] == together["299"]


def test_without_its_context_a_session_gets_no_verdict():
    assert rank(current_sessions(accepted(event("12:00:00", "1", item_id="a")), GAP_MS), {}, CountingModel()) == {}


NEAR = Ranked({"a": 2.0, "b": 1.00005, "c": 1.0, "d": 0.5}, None)


@pytest.mark.parametrize(
    ("found", "size", "same"),
    [
        (["a", "b", "c"], 3, True),
        (["a", "c", "b"], 3, True),  # b and c differ by 0.00005
        (["a", "c"], 2, True),  # c for b at the list's end
        (["b", "a", "c"], 3, False),
        (["a", "d"], 2, False),
        (["a", "b"], 3, False),
        (["a", "b", "b"], 3, False),
        (["a", "b", "x"], 3, False),
    ],
)
def test_only_items_of_nearly_the_same_score_may_change_places(found, size, same):
    assert same_items(NEAR, found, size) is same


def test_the_order_of_a_fallback_is_exact():
    """The order of a fallback is exact although all its scores are zero."""
    assert not same_items(Ranked({"a": 0.0, "b": 0.0}, "popular"), ["b", "a"], 2)


def test_scores_are_compared_item_by_item():
    assert same_scores(NEAR, ["a", "c", "b"], [2.0, 1.0, 1.00005])
    assert not same_scores(NEAR, ["a", "c"], [2.0, 1.00011])
    assert not same_scores(NEAR, ["a", "c"], [2.0])
