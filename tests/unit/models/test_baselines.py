"""The baselines on sessions that fit in the head; items are a = 1, b = 2, …"""

import math

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy isn't installed: pip install 'liveshelf[train]'")

from models.quality.baselines import CoVisitation, Markov, Popular, PopularInSession, VmisKnn


def encoded(*lines: str) -> list[list[int]]:
    return [["_abcdefg".index(item) for item in line] for line in lines]


def ranking(recommender, session: str) -> str:
    scores, items = recommender.list(encoded(session)[0])
    return "".join("_abcdefg"[item] for item in items[np.argsort(-scores, kind="stable")])


def test_popular_counts_clicks_and_ignores_the_session():
    assert ranking(Popular(encoded("ab", "b", "bca"), 3), "c") == "bac"  # b three times, a twice, c once


def test_popular_in_session_lists_the_sessions_items_first():
    """Popular in session lists the sessions items by their number then the popular ones."""
    assert ranking(PopularInSession(encoded("ab", "b", "bd"), 4), "cac") == "cabd"


def test_markov_ranks_by_what_followed_last_item_then_by_popularity():
    # After a: c twice. a comes 3 times and b 4 times, neither ever after a, so b before a.
    assert ranking(Markov(encoded("ac", "ac", "bbbba"), 3), "ba") == "cba"


def test_markov_of_an_item_that_only_ended_sessions_is_popularity():
    assert ranking(Markov(encoded("ab", "cb"), 3), "ab") == "bac"


def test_co_visitation_is_cosine_of_the_sessions_that_held_both():
    # With a: b in 2 of sqrt(2 · 3), c in 1 of sqrt(2 · 1). The order of clicks doesn't matter.
    scores, _ = CoVisitation(encoded("ab", "bac", "b"), 3).list([1])
    assert scores[1] == pytest.approx(2 / math.sqrt(6), abs=1e-5)
    assert scores[2] == pytest.approx(1 / math.sqrt(2), abs=1e-5)


def test_vmis_knn_by_hand():
    # Session a b (b last). Neighbours: "abc" shares both: likeness 2/2 for b + 1/2 for a; "bd" shares b: 2/2;
    # "ae" shares a only: 1/2, and its first match is one click back: weight 1 - 0.1 · 2. Without idf:
    # c = 1.5 · 0.9, d = 1 · 0.9, a = c's vote + 0.5 · 0.8, e = 0.5 · 0.8; b is the last click and never listed.
    knn = VmisKnn(encoded("abc", "bd", "ae", "fg"), 7, idf=0)
    scores, items = knn.list(encoded("ab")[0])
    assert dict(zip(items.tolist(), scores.tolist(), strict=True)) == {
        3: pytest.approx(1.35),
        4: pytest.approx(0.9),
        1: pytest.approx(1.75),
        5: pytest.approx(0.4),
    }


def test_vmis_knn_weighs_rare_items_higher():
    # c is in 1 of 3 sessions, d in 2: 1 + ln 3 against 1 + ln 1.5.
    scores, items = VmisKnn(encoded("ac", "ad", "d"), 4, idf=1).list([1])
    found = dict(zip(items.tolist(), scores.tolist(), strict=True))
    assert found[3] / found[4] == pytest.approx((1 + math.log(3)) / (1 + math.log(1.5)))


def test_vmis_knn_asks_the_latest_and_most_alike_sessions():
    """VMIS kNN asks only the latest sessions and of them the most alike."""
    assert ranking(VmisKnn(encoded("ab", "ac", "ad"), 4, recent=2), "a") in ("cd", "dc")
    # Both latest share a, "bac" shares b too.
    assert sorted(ranking(VmisKnn(encoded("bac", "ad"), 4, neighbours=1), "ba")) == ["b", "c"]


def test_vmis_knn_has_nothing_for_item_that_training_never_saw():
    scores, items = VmisKnn(encoded("ab"), 3).list([3])
    assert len(scores) == len(items) == 0
