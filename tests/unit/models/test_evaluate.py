"""Ranks and metrics, each expected value worked out by hand."""

import numpy as np
import pytest

from models.dataset import Event
from models.evaluate import evaluate, metrics, questions, target_ranks


def session(items: str) -> list[Event]:
    return [Event(item, "view", 60.0 * position) for position, item in enumerate(items)]


def test_a_target_ranks_behind_every_item_with_the_same_score():
    scores = np.array([[9.0, 5.0, 5.0, 5.0, 1.0]])
    listed = np.array([[4, 1, 2, 3, 5]])
    # Item 1 shares its score with items 2 and 3; one item is ahead: 1 + 3 = 4.
    assert target_ranks(scores, listed, np.array([1])).tolist() == [4]


def test_a_constant_score_ranks_every_target_last():
    assert target_ranks(np.zeros((1, 50)), np.arange(1, 51)[None], np.array([1])).tolist() == [50]


def test_the_order_of_the_list_does_not_matter_for_the_rank():
    assert target_ranks(np.array([[1.0, 3.0, 2.0]]), np.array([[7, 8, 9]]), np.array([9])).tolist() == [2]


def test_a_target_that_is_not_listed_or_not_known_has_no_rank():
    ranks = target_ranks(np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([[3, 4], [3, 4]]), np.array([5, 0]))
    assert ranks.tolist() == [np.inf, np.inf]


def test_recall_and_mrr_of_four_ranks():
    # Ranks 1, 4, 20 are hits, 21 isn't: recall 3/4, MRR (1 + 1/4 + 1/20) / 4 = 0.325.
    found = metrics(np.array([1.0, 4.0, 20.0, 21.0]))
    assert found == {"recall@20": 0.75, "mrr@20": pytest.approx(0.325), "questions": 4}


def test_every_prefix_is_a_question_and_a_single_event_asks_none():
    asked = questions([session("abc"), session("a")], {"a": 1, "b": 2, "c": 3})
    assert [("".join(event.item for event in question.prefix), question.target) for question in asked] == [
        ("a", 2),
        ("ab", 3),
    ]


def test_an_unknown_target_and_a_prefix_without_a_known_item_are_misses():
    def always_a_then_b(items, *_):
        return np.tile([2.0, 1.0], (len(items), 1)), np.tile([1, 2], (len(items), 1))

    # b→a at rank 1; a→x unknown target; x→a no known item before it, though a is listed first. MRR (1 + 0 + 0) / 3.
    found = evaluate(always_a_then_b, [session("ba"), session("ax"), session("xa")], {"a": 1, "b": 2})
    assert found["questions"] == 3
    assert found["recall@20"] == pytest.approx(1 / 3)
    assert found["mrr@20"] == pytest.approx(1 / 3)
