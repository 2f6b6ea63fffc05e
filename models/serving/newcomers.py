"""Number the words of the facts by which new items are listed: a shop's categories, brands, colours, prices."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Words:
    """Number the words of all facts from 1; 0 is a word that isn't known. Facts come in order of their names.

    A text is a word. A number is the word of the tenth in which it lies; `bounds` are where the next one begins.

    Where more than `MOST` new items have a known word, none is listed by its facts: a list would cost twice as much.
    """

    MOST: ClassVar[int] = 5_000

    texts: Mapping[str, Mapping[str, int]]  # fact → word → number
    bounds: Mapping[str, Sequence[float]]  # fact → where the next word begins
    first: Mapping[str, int]  # fact of numbers → number of its first word
    size: int  # W

    @classmethod
    def of(cls, texts: Mapping[str, Sequence[str]], bounds: Mapping[str, Sequence[float]]) -> "Words":
        """Number the words of texts, then those of numbers, both in the order given."""
        numbered: dict[str, dict[str, int]] = {}
        first: dict[str, int] = {}
        count = 0
        for name, words in texts.items():
            numbered[name] = {word: count + place for place, word in enumerate(words, start=1)}
            count += len(words)
        for name, steps in bounds.items():
            first[name] = count + 1
            count += len(steps) + 1
        return cls(numbered, bounds, first, count)

    @property
    def names(self) -> list[str]:
        """Return the facts, F of them."""
        return [*self.texts, *self.bounds]

    def rows(self, fact: Callable[[str], object]) -> list[int]:
        """Return the numbers of an item's words, one of each fact, 0 for one that isn't known."""
        found = []
        for name, numbers in self.texts.items():
            text = fact(name)
            found.append(numbers.get(text, 0) if isinstance(text, str) else 0)
        for name, steps in self.bounds.items():
            number = fact(name)
            if isinstance(number, int | float) and not math.isnan(number):
                found.append(self.first[name] + bisect_right(steps, number))
            else:
                found.append(0)
        return found
