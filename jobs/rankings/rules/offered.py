"""Rule: show only what the shop offers. An item without a name has left its catalogue."""

from collections.abc import Mapping, Sequence

import numpy as np

from jobs.rankings.arrays import Ints, Mask


def catalogue(items: Sequence[str], names: Mapping[str, str]) -> Mask:
    """Return bool [N + 1]: the items that have a name, or all of them when no item has one.

    `items[index]` is the id of a model's item; `items[0]` is padding and never offered.
    """
    named = np.array([item in names for item in items]) if names else np.ones(len(items), bool)
    named[0] = False
    return named


def allowed(candidates: Ints, in_catalogue: Mask) -> Mask:
    """Return bool [B, K]: which of `candidates` (int64 [B, K]) stand in the catalogue (bool [N + 1])."""
    may_show: Mask = in_catalogue[candidates]
    return may_show
