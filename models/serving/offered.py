"""The rule of what may be shown: only what the shop offers. An item without a name has left its catalogue.

The ranker keeps it, and whatever judges a model: what is never shown is no answer.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def catalogue(items: Sequence[str], names: Mapping[str, str]) -> NDArray[np.bool_]:
    """Return bool [N + 1]: the items that have a name, or all of them when no item has one.

    `items[index]` is the id of a model's item; `items[0]` is padding and never offered.
    """
    named = np.array([item in names for item in items]) if names else np.ones(len(items), bool)
    named[0] = False
    return named
