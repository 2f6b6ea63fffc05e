"""Rules on arrays that are worked out by hand: rows are lists, columns their candidates."""

import numpy as np

from jobs.rankings import rules
from jobs.rankings.rules import offered, purchased
from models.serving.offered import catalogue

ITEMS = ["", "a", "b", "c", "d"]
CANDIDATES = np.array([[2, 1, 3], [2, 1, 3]])


def test_without_names_every_item_is_offered_but_never_the_padding() -> None:
    assert catalogue(ITEMS, {}).tolist() == [False, True, True, True, True]


def test_with_names_item_without_one_is_out_of_the_catalogue() -> None:
    assert catalogue(ITEMS, {"a": "Apron", "d": "Dress"}).tolist() == [False, True, False, False, True]


def test_what_isnt_offered_isnt_allowed_in_any_list() -> None:
    in_catalogue = np.array([False, True, False, True, True])
    assert offered.allowed(np.array([[2, 1], [3, 2]]), in_catalogue).tolist() == [[False, True], [True, False]]


def test_what_a_visitor_bought_isnt_allowed_in_their_list_only() -> None:
    assert purchased.allowed(CANDIDATES, [[2, 3], []]).tolist() == [[False, True, False], [True, True, True]]


def test_a_candidate_is_shown_only_if_every_rule_allows_it() -> None:
    in_catalogue = np.array([False, True, True, False, True])
    assert rules.allowed(CANDIDATES, in_catalogue, [[2], []]).tolist() == [[False, True, False], [True, True, False]]
