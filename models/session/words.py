"""The words of a catalogue's facts that are worth a row, and the rows that a model gives them.

Shapes: M items, F facts, W words of all facts, H hidden units.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from models.serving.newcomers import Words

Value = str | int | float | bool
ItemFacts = Mapping[str, Mapping[str, Value | None]]  # item → fact → value

NUMBERS = ("price_minor",)
NOT_ABOUT_THE_ITEM = ("status", "currency", "title", "url", "image_url")
BINS = 10
MOST_WORDS = 2_000  # of all facts together, those that most items have
LEAST_ITEMS = 2  # of a word: that of one item says nothing of others


class Newcomers(NamedTuple):
    """Hold what a bundle knows of words; row 0 of `table` is the mean item, row w that of word w."""

    words: Words
    table: np.ndarray  # float32 [1 + W, H + 1], the last column for biases

    def of(self, facts: Sequence[Mapping[str, Value | None]]) -> np.ndarray:
        """Return float32 [M, H + 1]: vectors and biases of items with these facts."""
        rows = np.array([self.words.rows(each.get) for each in facts], np.int64).reshape(len(facts), -1)
        return self.table[0] + np.where((rows > 0)[:, :, None], self.table[rows], 0).sum(1)


def words_of(items: Sequence[str], facts: ItemFacts) -> Words:
    """Return the words that are worth a row: those of facts in which items differ, the frequent ones."""
    known = [facts[item] for item in items if item in facts]
    numbers: dict[str, list[float]] = {}
    counts: dict[str, dict[str, int]] = {}
    for name in sorted({name for each in known for name in each} - {*NOT_ABOUT_THE_ITEM}):
        values = [value for each in known if (value := each.get(name)) is not None]
        amounts = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
        if name in NUMBERS and amounts:
            bounds = np.unique(np.quantile(np.array(amounts, float), np.arange(1, BINS) / BINS))
            numbers[name] = [float(bound) for bound in bounds]
        elif all(isinstance(value, str) for value in values):
            found, times = np.unique(np.array(values, object), return_counts=True)
            counts[name] = {word: int(n) for word, n in zip(found, times, strict=True) if n >= LEAST_ITEMS}
    frequent = sorted(((n, name, word) for name, words in counts.items() for word, n in words.items()), reverse=True)
    texts: dict[str, list[str]] = {}
    for _, name, word in sorted(frequent[:MOST_WORDS], key=lambda each: (each[1], -each[0], each[2])):
        texts.setdefault(name, []).append(word)
    return Words.of({name: words for name, words in texts.items() if len(words) > 1}, numbers)
