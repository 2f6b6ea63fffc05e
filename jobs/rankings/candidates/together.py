"""Candidates that go with an item or a cart: the session model, asked with a session of nothing else.

Shapes: R questions, F followers, N items of the bundle (1..N; 0 is padding), T items of the longest cart.
"""

from collections.abc import Sequence

import numpy as np

from jobs.rankings.arrays import Floats, Ints, Mask
from jobs.rankings.candidates import Candidates
from jobs.rankings.candidates.session_model import ModelInput, SessionModel
from models.serving.bundle import Bundle

NO_SCORE = -np.inf


class Followers:
    """Keeps what follows each item that was asked about. A bundle has its own.

    The arrays take memory where they are written only: 0.5 kB for each item that somebody looked at.
    """

    def __init__(self, bundle: Bundle, model: SessionModel, count: int) -> None:
        self._bundle, self._model, self._count = bundle, model, min(count, model.items)
        self._items: dict[int, Ints] = {}
        self._scores: dict[int, Floats] = {}
        self._known: dict[int, Mask] = {}

    def of(self, items: Ints, event_type: str) -> Candidates:
        """Return the best F items for a session of one event of each item (int64 [R]).

        Rows of item 0, and all rows for a type that the model doesn't know, hold item 0 with a score of -inf.
        """
        kind = self._bundle.type_index.get(event_type, 0)
        if kind not in self._items:
            shape = (self._model.items + 1, self._count)
            self._items[kind], self._scores[kind] = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
            self._known[kind] = np.zeros(shape[0], bool)
            self._scores[kind][0] = NO_SCORE
            self._known[kind][0] = True
        known = self._known[kind]
        asked = np.zeros_like(items) if not kind else items
        missing = np.unique(asked[~known[asked]])
        if len(missing):
            found = self._ask(missing[:, None], np.ones(len(missing), np.int64), kind)
            self._items[kind][missing], self._scores[kind][missing] = found.items, found.scores
            known[missing] = True
        return Candidates(self._items[kind][asked].astype(np.int64), self._scores[kind][asked])

    def of_baskets(self, baskets: Sequence[Sequence[int]], event_type: str) -> Candidates:
        """Return the same for sessions of an event for each item of a basket (numbers 1..N, in their order)."""
        kind = self._bundle.type_index.get(event_type, 0)
        items = np.zeros((len(baskets), self._count), np.int64)
        scores = np.full(items.shape, NO_SCORE, np.float32)
        rows = [row for row, basket in enumerate(baskets) if basket and kind]
        if rows:
            lengths = np.array([len(baskets[row]) for row in rows])
            given = np.zeros((len(rows), lengths.max()), np.int64)
            for place, row in enumerate(rows):
                given[place, : lengths[place]] = baskets[row]
            found = self._ask(given, lengths, kind)
            items[rows], scores[rows] = found.items, found.scores
        return Candidates(items, scores)

    def _ask(self, items: Ints, lengths: Ints, kind: int) -> Candidates:
        batch = ModelInput(items, np.where(items > 0, kind, 0), np.zeros(items.shape, np.float32), lengths)
        contexts = np.zeros((len(items), len(self._bundle.context_features)), np.float32)
        found = self._model.candidates(batch, contexts, np.arange(len(items)), self._count)
        broken = ~np.isfinite(found.scores).all(axis=1)
        found.items[broken], found.scores[broken] = 0, NO_SCORE
        return found
