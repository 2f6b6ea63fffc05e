"""Compute a loss from the scores of the item that came next and of others: cross-entropy or BPR-max.

Both take scores float32 [M, S] of M predictions, and `target` int64 [M], the column of the item that came next. A
column of -inf is no candidate.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]

NAMES = ("cross_entropy", "bpr_max")


def loss_named(name: str, penalty: float) -> Loss:
    """Return the loss of a recipe; only BPR-max has a `penalty`."""
    return {"cross_entropy": functional.cross_entropy, "bpr_max": functools.partial(bpr_max, penalty=penalty)}[name]


def bpr_max(scores: Tensor, target: Tensor, penalty: float) -> Tensor:
    """Return the mean over M of -log(sum of s_j * sigmoid(r_target - r_j)) + penalty * (sum of s_j * r_j^2).

    j runs over the other items. s is the softmax of their scores, so that the strongest of them count. See Hidasi &
    Karatzoglou, "Recurrent Neural Networks with Top-k Gains" (CIKM 2018), BPR-max with score regularization.
    """
    column = target.unsqueeze(1)  # [M, 1]
    others = scores.scatter(1, column, -torch.inf)  # [M, S]
    weight = functional.log_softmax(others, dim=1)  # [M, S]
    # Summed as logarithms: where all others are far above the target, the sum itself would be 0 in float32.
    ahead = torch.logsumexp(weight + functional.logsigmoid(scores.gather(1, column) - others), dim=1)  # [M]
    size = others.masked_fill(torch.isinf(others), 0) ** 2  # [M, S]
    return (penalty * (weight.exp() * size).sum(1) - ahead).mean()
