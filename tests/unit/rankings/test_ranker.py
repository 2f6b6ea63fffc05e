"""The ladder model (see conftest) lists the session's last item first and then goes up; eshop is the committed one."""

import math

import numpy as np
import pytest

from jobs.rankings.candidates.session_model import encode, length_groups
from jobs.rankings.ranked_list import RankedList
from jobs.rankings.ranker import Ranker
from jobs.rankings.session import Session

T0 = 1_700_000_000_000


def session(*events: str, seconds_apart: float = 10) -> Session:
    """Events as "type item", "-" for none."""
    types, items = zip(*(event.split() for event in events), strict=True)
    items = ["" if item == "-" else item for item in items]
    bought = frozenset(item for kind, item in zip(types, items, strict=True) if kind == "purchase" and item)
    times = [T0 + round(place * seconds_apart * 1000) for place in range(len(events))]
    return Session(times, list(types), items, bought)


def no_context(rows: int, features: int = 1) -> np.ndarray:
    return np.zeros((rows, features), np.float32)


def test_a_known_session_gets_the_models_list_and_its_scores(ladder) -> None:
    ranked = Ranker(ladder, list_size=3).rank([session("view a", "view b")], no_context(1))

    assert ranked == [RankedList(["b", "c", "d"], [5.0, 4.0, 3.0], None, ["a", "b"])]


def test_a_session_without_a_known_item_gets_the_popularity_list(ladder) -> None:
    """A session without a known item gets the popularity list with scores of zero."""
    ranked = Ranker(ladder, list_size=2).rank([session("view zzz", "search -")], no_context(1))

    assert ranked == [RankedList(["e", "d"], [0.0, 0.0], "popular", [])]
    assert ladder.calls == []


def test_an_item_in_an_event_of_unknown_type_is_unknown(ladder) -> None:
    """A known item in an event of an unknown type is no known item."""
    ranked = Ranker(ladder, list_size=2).rank([session("rating a")], no_context(1))

    assert ranked[0].fallback == "popular"


def test_infinite_scores_give_the_popularity_list_as_model_error(ladder) -> None:
    """Scores that aren't finite give the popularity list marked as a model error."""
    ladder.broken_after = 2
    sessions = [session("view a"), session("view b"), session("view c")]

    ranked = Ranker(ladder, list_size=2).rank(sessions, no_context(3))

    assert ranked == [
        RankedList(["a", "b"], [5.0, 4.0], None, ["a"]),
        RankedList(["e", "d"], [0.0, 0.0], "model_error", ["b"]),
        RankedList(["c", "d"], [5.0, 4.0], None, ["c"]),
    ]


def test_what_was_bought_is_in_neither_personal_nor_popularity_list(ladder) -> None:
    sessions = [session("view a", "purchase b"), session("purchase zzz"), session("rating a", "purchase d", "view c")]
    ladder.type_index = {"view": 1}

    ranked = Ranker(ladder, list_size=5).rank([*sessions, session("purchase e", "purchase c")], no_context(4))

    assert [one.items for one in ranked] == [
        ["a", "c", "d", "e"],  # the purchase isn't in the sequence, so a is the last item
        ["e", "d", "c", "b", "a"],
        ["c", "e", "a", "b"],
        ["d", "b", "a"],
    ]
    assert [one.fallback for one in ranked] == [None, "popular", None, "popular"]


def test_scores_stay_with_their_items_when_some_are_left_out(ladder) -> None:
    ladder.names = {"a": "Apron", "c": "Coat", "e": "Earring"}

    ranked = Ranker(ladder, list_size=2).rank([session("view b"), session("view zzz")], no_context(2))

    assert ranked[0] == RankedList(["c", "e"], [4.0, 2.0], None, ["b"])
    assert ranked[1].items == ["e", "c"]


def test_known_and_unknown_sessions_keep_their_places_and_their_contexts(ladder) -> None:
    sessions = [session("view zzz"), session("view d"), session("search -"), session("view a", "view b", "view c")]
    contexts = np.array([[10], [11], [12], [13]], np.float32)

    ranked = Ranker(ladder, list_size=1).rank(sessions, contexts)

    assert [(one.items, one.fallback) for one in ranked] == [
        (["e"], "popular"),
        (["d"], None),
        (["e"], "popular"),
        (["c"], None),
    ]
    (call,) = ladder.calls
    assert call[4].tolist() == [[11], [13]]


def test_batch_of_several_calls_gives_each_session_its_own_list(ladder) -> None:
    last = ["abcde"[row % 5] for row in range(64)]
    sessions = [session(*["view a"] * (row * 37 % 50), f"view {item}") for row, item in enumerate(last)]

    ranked = Ranker(ladder, list_size=1).rank(sessions, np.arange(64, dtype=np.float32)[:, None])

    assert len(ladder.calls) == 4
    assert [one.items for one in ranked] == [[item] for item in last]
    for items, _, _, lengths, context in ladder.calls:
        assert items[np.arange(16), lengths - 1].tolist() == (context[:, 0] % 5 + 1).tolist()


def test_a_batch_of_nothing_gives_nothing(ladder) -> None:
    assert Ranker(ladder, list_size=2).rank([], no_context(0)) == []


def test_the_model_reads_kept_events_left_aligned(ladder) -> None:
    """The model reads kept events left aligned with the gap to the kept event before."""
    batch = encode([session("view c"), session("view a", "view zzz", "search -", "purchase b")], ladder)

    assert batch.items.tolist() == [[3, 0], [1, 2]]
    assert batch.types.tolist() == [[1, 0], [1, 2]]
    assert batch.lengths.tolist() == [1, 2]
    assert batch.gaps.tolist() == [[0.0, 0.0], [0.0, pytest.approx(math.log(31))]]  # 30 s from a to b
    assert [array.dtype for array in batch] == [np.int64, np.int64, np.float32, np.int64]


def test_sessions_of_like_length_share_a_call() -> None:
    lengths = np.array([1, 50] * 32)

    groups = length_groups(lengths, np.arange(64))

    assert [sorted(set(lengths[group].tolist())) for group in groups] == [[1], [1], [50], [50]]
    assert sorted(np.concatenate(groups).tolist()) == list(range(64))


def test_a_small_batch_is_one_call(ladder) -> None:
    sessions = [session(*["view a"] * length) for length in range(1, 32)]

    Ranker(ladder, list_size=2).rank(sessions, no_context(31))

    assert len(ladder.calls) == 1


def test_lists_dont_depend_on_who_else_is_in_the_batch(eshop) -> None:
    ids = eshop.items[1:]
    sessions = [
        session(*(f"view {ids[(7 * row + step * step) % len(ids)]}" for step in range(1 + row % 50)))
        for row in range(150)
    ]
    contexts = no_context(150, len(eshop.context_features))
    ranker = Ranker(eshop, list_size=20)

    together = ranker.rank(sessions, contexts)
    alone = [ranker.rank([one], contexts[:1])[0] for one in sessions]

    assert [one.session_items for one in together] == [one.items for one in sessions]
    for one, other in zip(together, alone, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)
        assert len(one.items) == len(set(one.items)) == 20
        assert sum(a == b for a, b in zip(one.items, other.items, strict=True)) >= 18  # near ties may change places


def test_list_that_rules_shorten_is_filled_from_further_down_catalogue(ladder, monkeypatch) -> None:
    monkeypatch.setattr("jobs.rankings.ranker.SPARE_ITEMS", 0)
    bought_most = session("purchase b", "purchase c", "view a")

    ranked = Ranker(ladder, list_size=2).rank([session("view d"), bought_most], no_context(2))

    assert [one.items for one in ranked] == [["d", "e"], ["a", "d"]]
    assert ranked[1].scores == [5.0, 2.0]
    assert [len(call[0]) for call in ladder.calls] == [2, 1]  # only the short list is asked again


def test_threads_give_the_lists_of_one_thread(eshop) -> None:
    ids = eshop.items[1:]
    sessions = [session(*(f"view {ids[(31 * row + step) % 217]}" for step in range(1 + row % 9))) for row in range(90)]
    contexts = no_context(90, len(eshop.context_features))
    several = Ranker(eshop, list_size=20, threads=2)

    assert several.rank(sessions, contexts) == Ranker(eshop, list_size=20).rank(sessions, contexts)

    several.close()
