"""BPR-max by hand, and where its numbers could overflow."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.session.losses import bpr_max  # noqa: E402

INF = math.inf


def loss(scores: list[list[float]], wanted: list[int], penalty: float = 0.0) -> float:
    return bpr_max(torch.tensor(scores), torch.tensor(wanted), penalty).item()


def test_bpr_max_of_one_wanted_item_and_two_others():
    # Others score log 3 and 0: softmax 3/4 and 1/4. The wanted item scores log 9: sigmoid(log 3) = 3/4 before the
    # first, sigmoid(log 9) = 9/10 before the second. 3/4 * 3/4 + 1/4 * 9/10 = 63/80. Penalty: 3/4 * (log 3)^2.
    scores = [[math.log(3), math.log(9), 0.0]]
    assert loss(scores, [1]) == pytest.approx(math.log(80 / 63), abs=1e-6)
    assert loss(scores, [1], 2.0) == pytest.approx(math.log(80 / 63) + 1.5 * math.log(3) ** 2, abs=1e-5)


def test_bpr_max_is_the_mean_over_predictions():
    # One other item with the same score: sigmoid(0) = 1/2. Then one that is log 3 lower: 3/4.
    assert loss([[1.0, 1.0], [0.0, math.log(3)]], [0, 1]) == pytest.approx(
        (math.log(2) + math.log(4 / 3)) / 2, abs=1e-6
    )


def test_what_is_no_candidate_has_no_part():
    assert loss([[1.0, -INF, 0.5]], [0], 0.7) == pytest.approx(loss([[1.0, 0.5]], [0], 0.7), abs=1e-6)


def test_an_item_far_behind_all_others_still_learns():
    scores = torch.tensor([[-300.0, 0.0, -INF]], requires_grad=True)
    found = bpr_max(scores, torch.tensor([0]), 0.1)
    found.backward()
    assert found.item() == pytest.approx(300.0)
    assert scores.grad.tolist() == [[pytest.approx(-1.0), pytest.approx(1.0), 0.0]]
