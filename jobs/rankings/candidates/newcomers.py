"""Vectors of the items that training never saw, from their facts: the session model lists them beside its own.

Shapes: M new items, F facts of which the bundle knows words, H hidden units.
"""

import logging
import operator
from typing import Any

import numpy as np

from jobs.rankings.arrays import Floats, Ints
from jobs.shelves.items import Facts, Items
from jobs.shelves.rules import DROPPED
from models.serving.bundle import Bundle
from models.serving.newcomers import Words

LOG = logging.getLogger(__name__)


class Newcomers:
    """Work out the vectors of new items. They are kept while the facts that they are made of stay as they are."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._seen: list[Any] = []
        self._vectors: Floats | None = None
        self._told = False

    def of(self, items: Items) -> Floats | None:
        """Return float32 [M, H + 1], vectors and biases of the items behind the bundle's; None where there are none.

        An item of which no word is known is dropped.
        """
        words, own = self._bundle.words, len(self._bundle.items) - 1
        count = len(items) - own
        if words is None or count <= 0:
            return None
        if count > words.MOST:
            if not self._told:
                LOG.warning("%s items aren't the model's, more than %s: none is listed by its facts", count, words.MOST)
            self._told = True
            return None
        facts = [items.facts(name) for name in words.names]
        seen = [each.values for each in facts]
        is_same = len(seen) == len(self._seen) and all(map(operator.is_, seen, self._seen))
        if self._vectors is None or len(self._vectors) != count or not is_same:
            self._seen, self._vectors = seen, self._worked_out(words, facts, own)
        return self._vectors

    def _worked_out(self, words: Words, facts: list[Facts], own: int) -> Floats:
        rows = np.stack([_rows(words, name, each, own) for name, each in zip(words.names, facts, strict=True)], axis=1)
        vectors = self._bundle.newcomers(rows)
        vectors[~rows.any(axis=1), -1] = DROPPED
        return vectors


def _rows(words: Words, name: str, facts: Facts, own: int) -> Ints:
    """Return int64 [M]: the number of each new item's word of one fact, 0 for one that isn't known."""
    values = facts.values[own:]
    if name in words.texts:
        known = words.texts[name]
        numbers = [known.get(word, 0) for word in facts.coder.words] if facts.coder else []
        of_words: Ints = np.array([*numbers, 0], np.int64)[values if facts.coder else np.full(len(values), -1)]
        return of_words
    if facts.coder is not None:  # a topic that has changed its type
        return np.zeros(len(values), np.int64)
    rows = words.first[name] + np.searchsorted(np.array(words.bounds[name]), values, side="right")
    found: Ints = np.where(np.isnan(values), 0, rows)
    return found
