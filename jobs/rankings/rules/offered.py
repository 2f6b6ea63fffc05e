"""Rule: show only what the shop offers. An item without a name has left its catalogue."""

from collections.abc import Mapping, Sequence

import numpy as np


def catalogue(items: Sequence[str], names: Mapping[str, str]) -> np.ndarray:
    """Return bool [N + 1]: the items that have a name, or all of them when no item has one.

    `items[index]` is the id of a model's item; `items[0]` is padding and never offered.
    """
    named = np.array([item in names for item in items]) if names else np.ones(len(items), bool)
    named[0] = False
    return named


def allowed(candidates: np.ndarray, in_catalogue: np.ndarray) -> np.ndarray:
    """Return bool [B, K]: which of `candidates` (int64 [B, K]) stand in the catalogue (bool [N + 1])."""
    return in_catalogue[candidates]
