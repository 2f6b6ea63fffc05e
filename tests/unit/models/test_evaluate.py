"""Ranks and metrics, each expected value worked out by hand."""

import math

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy isn't installed: pip install 'liveshelf[train]'")

from models.clicks.dataset import Event
from models.clicks.sessions import Question
from models.quality.evaluate import (
    Answers,
    answers_of_baseline,
    answers_of_lists,
    answers_of_model,
    intervals,
    metrics,
    report,
    target_ranks,
)
from models.serving.offered import catalogue

INDEX = {"a": 1, "b": 2, "c": 3, "d": 4}


def question(prefix: str, target: str) -> Question:
    return Question([Event(item, "view", 0.0) for item in prefix], target)


def test_a_target_ranks_behind_every_item_with_the_same_score():
    scores = np.array([[9.0, 5.0, 5.0, 5.0, 1.0]])
    listed = np.array([[4, 1, 2, 3, 5]])
    # Item 1 shares its score with items 2 and 3; one item is ahead: 1 + 3 = 4.
    assert target_ranks(scores, listed, np.array([1])).tolist() == [4]


def test_a_constant_score_ranks_every_target_last():
    assert target_ranks(np.zeros((1, 50)), np.arange(1, 51)[None], np.array([1])).tolist() == [50]


def test_order_of_the_list_does_not_matter_for_the_rank():
    assert target_ranks(np.array([[1.0, 3.0, 2.0]]), np.array([[7, 8, 9]]), np.array([9])).tolist() == [2]


def test_a_target_that_is_not_listed_has_no_rank():
    """A target that is not listed or not known has no rank."""
    ranks = target_ranks(np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([[3, 4], [3, 0]]), np.array([5, 0]))
    assert ranks.tolist() == [np.inf, np.inf]


def test_recall_mrr_and_ndcg_of_four_ranks():
    # Ranks 1, 4, 20 are within 20, 21 isn't: recall 3/4, MRR (1 + 1/4 + 1/20) / 4 = 0.325,
    # nDCG (1/log2(2) + 1/log2(5) + 1/log2(21)) / 4. Within 5: ranks 1 and 4. Within 10: the same.
    found = metrics(np.array([1.0, 4.0, 20.0, 21.0]))
    assert found["recall@20"] == 0.75
    assert found["mrr@20"] == pytest.approx(0.325)
    assert found["ndcg@20"] == pytest.approx((1 + 1 / math.log2(5) + 1 / math.log2(21)) / 4)
    assert found["recall@5"] == found["recall@10"] == 0.5
    assert found["mrr@5"] == found["mrr@10"] == pytest.approx(1.25 / 4)


def test_an_interval_is_the_mean_and_1_96_standard_errors():
    # 50 hits at rank 1 of 100: deviation 0.50252 with n - 1, error 0.050252.
    found = intervals(np.array([1.0] * 50 + [np.inf] * 50))
    assert found["recall@20"] == [
        pytest.approx(0.5 - 1.96 * 0.050252, abs=1e-5),
        pytest.approx(0.5 + 1.96 * 0.050252, abs=1e-5),
    ]


def always_a_then_b(items, *_, k):
    return np.tile([2.0, 1.0], (len(items), 1)), np.tile([1, 2], (len(items), 1))


def test_unknown_target_and_prefix_without_a_known_item_are_misses():
    # b→a at rank 1; a→x unknown target; x→a no known item before it, though a is listed first.
    asked = [question("b", "a"), question("a", "x"), question("x", "a")]
    answers = answers_of_model(always_a_then_b, asked, INDEX, 0)
    assert answers.ranks.tolist() == [1, np.inf, np.inf]
    assert answers.listed[:, :3].tolist() == [[1, 2, 0], [1, 2, 0], [0, 0, 0]]


def test_what_a_bundle_doesnt_show_is_no_answer():
    """Item a has no name: b moves up to its place, and a question for a is missed."""
    asked = [question("c", "a"), question("c", "b")]
    lists = []

    def score(items, *_, k):
        lists.append(k)
        return always_a_then_b(items, k=k)

    offered = catalogue(["", "a", "b", "c", "d"], {"b": "Blouse", "d": "Dress"})
    answers = answers_of_model(score, asked, INDEX, 0, offered)
    assert answers.ranks.tolist() == [np.inf, 1]
    assert answers.listed[:, :2].tolist() == [[2, 0], [2, 0]]
    assert lists == [102]  # as many more as may be left out
    named = catalogue(["", "a", "b", "c", "d"], {})
    assert answers_of_model(always_a_then_b, asked, INDEX, 0, named).ranks.tolist() == [1, 2]


def test_answers_keep_the_order_of_the_questions_whatever_their_length():
    asked = [question("abc", "b"), question("a", "a"), question("ab", "d")]
    assert answers_of_model(always_a_then_b, asked, INDEX, 0).ranks.tolist() == [2, 1, np.inf]


def test_baseline_is_asked_with_what_it_knows_of_the_prefix():
    class LastItem:
        def list(self, session):
            return np.array([1.0]), np.array([session[-1]])

    answers = answers_of_baseline(LastItem(), [question("abx", "b"), question("x", "a")], INDEX)
    assert answers.ranks.tolist() == [1, np.inf]


def test_a_baseline_that_has_nothing_to_list_misses():
    class Nothing:
        def list(self, session):
            return np.zeros(0), np.zeros(0, int)

    assert answers_of_baseline(Nothing(), [question("a", "b")], INDEX).ranks.tolist() == [np.inf]


def test_lists_made_elsewhere_are_read_by_place():
    answers = answers_of_lists([["c", "x", "a"], []], [question("b", "a"), question("b", "a")], INDEX)
    assert answers.ranks.tolist() == [3, np.inf]
    assert answers.listed[0, :4].tolist() == [3, 0, 1, 0]


def test_a_report_tells_coverage_popularity_and_slices():
    # Items 1 to 20 by popularity: head 1-2, middle 3-10, tail 11-20.
    index = {str(item): item for item in range(1, 21)}
    asked = [
        Question([Event("1", "view", 0.0)] * length, target)
        for length, target in ((1, "2"), (2, "5"), (7, "15"), (1, "x"))
    ]
    listed = np.zeros((4, 20), int)
    listed[:, :2] = [[2, 3], [2, 4], [3, 4], [2, 3]]
    found = report(Answers(np.array([1, np.inf, 4, np.inf]), listed), asked, index)
    assert found["pairs"] == 4
    assert found["coverage@20"] == 3 / 20
    assert found["mean_popularity_rank"] == {
        "listed": pytest.approx(23 / 8 / 20),
        "targets": pytest.approx(22 / 3 / 20),
    }
    assert {name: part["pairs"] for name, part in found["by_length"].items()} == {"1": 2, "2": 1, "3-5": 0, "6+": 1}
    assert found["by_length"]["1"]["recall@20"] == 0.5
    assert found["by_length"]["6+"]["mrr@20"] == 0.25
    assert {name: part["pairs"] for name, part in found["by_frequency"].items()} == {
        "head 10 %": 1, "middle 40 %": 1, "tail 50 %": 1, "never seen": 1,
    }  # fmt: skip
