"""What the model has to beat: popularity, and what usually follows the last item."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np

from models.dataset import Session


class Popularity:
    """Every session gets the items seen most often in training."""

    def __init__(self, sessions: list[Session], item_index: dict[str, int]) -> None:
        counts = np.zeros(len(item_index))  # [N]
        for session in sessions:
            for event in session:
                counts[item_index[event.item] - 1] += 1
        self.counts = counts

    def score(self, items: np.ndarray, *_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[B, T] and the model's other inputs → scores [B, N] and their items [B, N], unsorted."""
        scores = np.tile(self.counts, (len(items), 1))
        return scores, np.tile(np.arange(1, len(self.counts) + 1), (len(items), 1))


class Markov:
    """First order: how often each item came right after the last one; equal counts are told apart by popularity.

    Without that second rule the conservative tie rule would rank all items that came once behind each other, and the
    baseline would be easier to beat than it is.
    """

    def __init__(self, sessions: list[Session], item_index: dict[str, int]) -> None:
        self.popularity = Popularity(sessions, item_index)
        follows: dict[int, Counter[int]] = defaultdict(Counter)
        for session in sessions:
            for before, after in pairwise(session):
                follows[item_index[before.item]][item_index[after.item]] += 1
        self.follows = {item: (np.array(list(c)) - 1, np.array(list(c.values()))) for item, c in follows.items()}

    def score(
        self, items: np.ndarray, types: np.ndarray, gaps: np.ndarray, lengths: np.ndarray, *_: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Same inputs as the model; scores [B, N] and their items [B, N], unsorted."""
        scores, listed = self.popularity.score(items)
        scores = scores / (self.popularity.counts.sum() + 1)  # below 1, so a transition always counts for more
        for row, last in enumerate(items[np.arange(len(items)), lengths - 1]):
            if last in self.follows:
                columns, counts = self.follows[last]
                scores[row, columns] += counts
        return scores, listed
