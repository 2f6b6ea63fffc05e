"""Rule: don't show a visitor what the visitor bought in this session."""

from collections.abc import Sequence

import numpy as np

from jobs.rankings.arrays import Ints, Mask


def allowed(candidates: Ints, bought: Sequence[Sequence[int]]) -> Mask:
    """Return bool [B, K]: which of `candidates` (int64 [B, K]) aren't among the items that their visitor `bought`."""
    may_show = np.ones(candidates.shape, bool)
    for row, items in enumerate(bought):
        if items:
            may_show[row] = ~np.isin(candidates[row], items)
    return may_show
