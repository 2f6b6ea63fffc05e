"""The best candidates that may be shown, in the order of their scores."""

import numpy as np
import pytest

from jobs.rankings import select
from jobs.rankings.candidates import Candidates


def test_a_list_names_its_items_and_rounds_their_scores() -> None:
    candidates = Candidates(np.array([[3, 1, 2], [1, 2, 3]]), np.array([[0.5, 0.25, 1 / 3], [3, 2, 1]], np.float32))
    may_show = np.array([[False, True, True], [False, False, True]])
    ids = np.array(["", "a", "b", "c"], dtype=object)
    assert select.best(candidates, may_show, 2, ids) == [(["a", "b"], [0.25, 0.333333]), (["c"], [1.0])]


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
    found, counts = select.first_allowed(np.array([may_show], bool), n)

    assert found[0, : counts[0]].tolist() == columns


def test_the_order_of_a_hundred_candidates_stays() -> None:
    may_show = np.ones((1, 100), bool)
    may_show[0, ::10] = False

    columns, counts = select.first_allowed(may_show, 100)

    assert columns[0, : counts[0]].tolist() == [column for column in range(100) if column % 10]
