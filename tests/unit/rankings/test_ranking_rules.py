import numpy as np
import pytest

from jobs.rankings import rules

ITEMS = ["", "a", "b", "c", "d"]


def test_without_names_every_item_is_offered_but_never_the_padding() -> None:
    assert rules.catalogue(ITEMS, {}).tolist() == [False, True, True, True, True]


def test_with_names_an_item_without_one_is_out_of_the_catalogue() -> None:
    assert rules.catalogue(ITEMS, {"a": "Apron", "d": "Dress"}).tolist() == [False, True, False, False, True]


def test_what_a_visitor_bought_isnt_allowed_in_their_list_and_is_in_others() -> None:
    candidates = np.array([[2, 1, 3], [2, 1, 3]])
    offered = rules.catalogue(ITEMS, {})

    assert rules.allowed(candidates, offered, [[2, 3], []]).tolist() == [[False, True, False], [True, True, True]]


def test_what_isnt_offered_isnt_allowed_in_any_list() -> None:
    offered = np.array([False, True, False, True, True])

    assert rules.allowed(np.array([[2, 1], [3, 2]]), offered, [[], []]).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize(
    ("may_show", "n", "columns"),
    [
        ([1, 1, 1, 1], 2, [0, 1]),
        ([0, 1, 0, 1], 2, [1, 3]),
        ([0, 1, 0, 0], 2, [1]),  # shorter, rather than what may not be shown
        ([0, 0, 0, 0], 2, []),
        ([1, 0, 1, 1], 9, [0, 2, 3]),
    ],
)
def test_a_list_is_the_first_allowed_candidates_in_their_order(may_show: list, n: int, columns: list[int]) -> None:
    found, counts = rules.first_allowed(np.array([may_show], bool), n)

    assert found[0, : counts[0]].tolist() == columns


def test_the_order_of_a_hundred_candidates_stays() -> None:
    may_show = np.ones((1, 100), bool)
    may_show[0, ::10] = False

    columns, counts = rules.first_allowed(may_show, 100)

    assert columns[0, : counts[0]].tolist() == [column for column in range(100) if column % 10]
