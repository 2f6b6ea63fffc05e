"""Hold the facts of all items that a worker may show, by the item's number, so that rules gather them in one step.

Shapes: M items. An item's number is its place in `ids`; where a bundle serves, its own items come first.
Numbers and bools are float64 [M], NaN for what isn't known: whole numbers up to 2^53 are exact, and a comparison with
NaN is false. Texts are int32 [M], places in a list of words, -1 for what isn't known.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jobs.catalogue.columns import NO_INT, Column, Snapshot

Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int32]

ID = "id"
NOT_KNOWN = -1
NO_SUCH_WORD = -2


class Coder:
    """The places of words in a list that only grows."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self._place: dict[str, int] = {}

    def code(self, word: str | None) -> int:
        """Return the place of a word, `NO_SUCH_WORD`, or `NOT_KNOWN` for None."""
        return NOT_KNOWN if word is None else self.places.get(word, NO_SUCH_WORD)

    @property
    def places(self) -> Mapping[str, int]:
        """Return the place of each word."""
        if len(self._place) < len(self.words):
            known = len(self._place)
            self._place.update((word, place) for place, word in enumerate(self.words[known:], known))
        return self._place


class Facts(NamedTuple):
    """One fact of all items; `coder` is None for numbers."""

    values: Numbers | Codes
    coder: Coder | None


class Items:
    """The facts of all items as one snapshot knows them."""

    def __init__(self, ids: Sequence[str], snapshot: Snapshot, before: "Items | None" = None) -> None:
        """Take over from `before` what hasn't changed: then a snapshot costs a copy of the columns that are new."""
        self.ids: Sequence[str] = ids
        self.snapshot = snapshot
        self._coders: dict[int, Coder] = _coders_of(snapshot, before._coders if before else {})
        self._facts: dict[str, tuple[Column, Facts]] = {}
        if before and before.ids is ids:
            self.number_of: Mapping[str, int] = before.number_of
            self._own: Facts = before._own
            self._unknown: Facts = before._unknown
        else:
            self.number_of = {id_: number for number, id_ in enumerate(ids)}
            self._own = Facts(np.arange(len(ids), dtype=np.int32), Coder(ids))
            self._unknown = Facts(np.full(len(ids), np.nan), None)
        if before and before.ids is ids and _same_rows(before.snapshot, snapshot):
            self._rows: Rows = before._rows
            self._facts |= before._facts
        else:
            self._rows = snapshot.places(ids)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self.ids)

    def facts(self, name: str) -> Facts:
        """Return a fact of all items; of one that no topic has, nothing is known."""
        if name == ID:
            return self._own
        column = self.snapshot.columns.get(name)
        if column is None:
            return self._unknown
        known = self._facts.get(name)
        if known is None or known[0].values is not column.values:
            known = self._facts[name] = column, self._aligned(column)
        return known[1]

    def _aligned(self, column: Column) -> Facts:
        if column.kind == "string":
            coder = self._coders.get(id(column.words))
            if coder is None or coder.words is not column.words:
                coder = self._coders[id(column.words)] = Coder(column.words)
            return Facts(np.append(column.values, np.int32(NOT_KNOWN))[self._rows], coder)
        given: npt.NDArray[Any] = column.values
        values = given.astype(np.float64)
        if column.kind == "int":
            values[given == NO_INT] = np.nan
        elif column.kind == "bool":
            values[given < 0] = np.nan
        return Facts(np.append(values, np.nan)[self._rows], None)

    def numbers(self, ids: Iterable[str]) -> list[int]:
        """Return the numbers of items; those that no worker knows are left out."""
        of = self.number_of
        return [of[id_] for id_ in ids if id_ in of]


def _coders_of(snapshot: Snapshot, coders: Mapping[int, Coder]) -> dict[int, Coder]:
    """Return the coders of the columns' words. A column drops its words where many are in vain."""
    words = {id(column.words) for column in snapshot.columns.values()}
    held = list(coders.items())  # at once: the gate's thread and the batches' share items, and either may add to them
    return {key: coder for key, coder in held if key in words}


def _same_rows(one: Snapshot, other: Snapshot) -> bool:
    return one.rows is other.rows and one.size == other.size
