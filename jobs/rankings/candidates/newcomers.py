"""Vectors of the items that training never saw, from their facts: the session model lists them beside its own.

Shapes: R items behind the bundle's, M of them with a word that is known, F facts of which the bundle knows words, H
hidden units.
"""

import logging
from typing import NamedTuple

import numpy as np

from jobs.rankings.arrays import Floats, Ints
from jobs.shelves.items import Facts, Items
from models.serving.bundle import Bundle
from models.serving.newcomers import Words

LOG = logging.getLogger(__name__)


class NewItems(NamedTuple):
    """The new items that a list may show."""

    numbers: Ints  # int64 [M], rising
    vectors: Floats  # float32 [M, H + 1], the last column for biases


class Newcomers:
    """Work out the vectors of new items. What is made of facts is kept while they stay as they are."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._rows: dict[str, tuple[Facts, Ints]] = {}
        self._new: NewItems | None = None
        self._told = False

    def of(self, items: Items) -> NewItems | None:
        """Return the items behind the bundle's of which a word is known; None where there are none, or too many."""
        words, own = self._bundle.words, len(self._bundle.items) - 1
        if words is None or len(items) <= own:
            return None
        before, self._rows = self._rows, {name: self._rows_of(words, name, items, own) for name in words.names}
        if any(self._rows[name] is not before.get(name) for name in words.names):
            rows = np.stack([self._rows[name][1] for name in words.names], axis=1)
            self._new = self._worked_out(words, rows, own)
        return self._new

    def _rows_of(self, words: Words, name: str, items: Items, own: int) -> tuple[Facts, Ints]:
        facts, known = items.facts(name), self._rows.get(name)
        if known is not None and known[0].values is facts.values:
            return known
        return facts, _rows(words, name, facts, own)

    def _worked_out(self, words: Words, rows: Ints, own: int) -> NewItems | None:
        """Return the items of which the rows (int64 [R, F]) have a word.

        Items that are gone have none. They don't count: how many a worker still holds depends on when it began to read.
        """
        places = np.flatnonzero(rows.any(axis=1))
        if len(places) > words.MOST:
            if not self._told:
                LOG.warning(
                    "%s items aren't the model's, more than %s: none is listed by its facts", len(places), words.MOST
                )
            self._told = True
            return None
        return NewItems(own + places, self._bundle.newcomers(rows[places])) if len(places) else None


def _rows(words: Words, name: str, facts: Facts, own: int) -> Ints:
    """Return int64 [R]: the number of each new item's word of one fact, 0 for one that isn't known."""
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
