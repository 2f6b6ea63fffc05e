"""Candidates from the bundle's popularity list, the same for every session. Pure."""

import numpy as np

from jobs.rankings.candidates import Candidates
from models.serving.bundle import Bundle


class PopularItems:
    """Offers the bundle's popular items, most popular first."""

    def __init__(self, bundle: Bundle) -> None:
        self._items = np.array([bundle.item_index[item] for item in bundle.popular])  # int64 [K]

    def candidates(self, sessions: int) -> Candidates:
        """Return the popular items for each of `sessions` sessions, all with a score of 0."""
        items = np.broadcast_to(self._items, (sessions, len(self._items)))
        return Candidates(items, np.zeros(items.shape, np.float32))
