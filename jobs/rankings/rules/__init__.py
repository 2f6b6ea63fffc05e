"""What a shop doesn't show, whatever the model says. Each module is one rule: arrays in, a mask out. Pure.

A new rule is a module with a function that returns bool [B, K], and a line in `allowed`.
Shapes: B lists, K candidates of each in descending order of score, N items (1..N; 0 is padding).
"""

from collections.abc import Sequence

from jobs.rankings.arrays import Ints, Mask
from jobs.rankings.rules import offered, purchased


def allowed(candidates: Ints, in_catalogue: Mask, bought: Sequence[Sequence[int]]) -> Mask:
    """Return bool [B, K]: which of `candidates` (int64 [B, K]) every rule lets through.

    `in_catalogue` is bool [N + 1]; `bought` holds for each of the B lists the items that its visitor bought.
    """
    return offered.allowed(candidates, in_catalogue) & purchased.allowed(candidates, bought)
