"""What a shop doesn't show, whatever the model says. Pure, on whole batches.

Shapes: B lists, K candidates of each in descending order of score, N items (1..N; 0 is padding).
"""

from collections.abc import Mapping, Sequence

import numpy as np


def catalogue(items: Sequence[str], names: Mapping[str, str]) -> np.ndarray:
    """bool [N + 1]: which model items the shop offers: those that have a name, or all when no item has one.

    `items[index]` is a model item's id; `items[0]` is padding and never offered.
    """
    offered = np.array([item in names for item in items]) if names else np.ones(len(items), bool)
    offered[0] = False
    return offered


def allowed(candidates: np.ndarray, offered: np.ndarray, purchased: Sequence[Sequence[int]]) -> np.ndarray:
    """bool [B, K]: which of `candidates` [B, K] may be shown.

    Not what isn't `offered` (bool [N + 1]), and not what the visitor bought in this session (`purchased`: B sequences).
    """
    may_show = offered[candidates]  # [B, K]
    for row, bought in enumerate(purchased):
        if bought:
            may_show[row] &= ~np.isin(candidates[row], bought)
    return may_show


def first_allowed(may_show: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of each row's first `n` allowed candidates, int64 [B, min(n, K)], and how many of these count, int64 [B].

    A row with fewer than `n` allowed candidates gives a shorter list rather than what may not be shown.
    """
    columns = np.argsort(~may_show, axis=1, kind="stable")[:, :n]  # stable: the order of scores stays
    return columns, np.minimum(may_show.sum(axis=1), n)
