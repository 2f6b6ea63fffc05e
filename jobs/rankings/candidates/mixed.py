"""The candidates of a list from several sources: each item's score is the weighted sum over the sources. Pure.

Shapes: B lists, K items that one source offers, U items of all sources. -1 is no item.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.contract.shelf import WHYS
from jobs.rankings.arrays import Floats, Ints, Mask

NOTHING = np.float32(-np.inf)


class Offer(NamedTuple):
    """What one source offers, best first."""

    numbers: Ints  # int64 [B, K]
    scores: Floats  # float32 [B, K]; where the number is -1 they mean nothing


class Mixed(NamedTuple):
    """All items that may come into the lists, best first."""

    numbers: Ints  # int64 [B, U]
    scores: Floats  # float32 [B, U], -inf where the number is -1
    origins: NDArray[np.int8]  # [B, U], the first source that offers the item
    lifts: Floats | None = None  # float32 [B, U], what is in the scores of them

    def lifted(self, lifts: Floats) -> "Mixed":
        """Return the candidates with lifts (float32 [B, U]) added to their scores."""
        if not lifts.any():
            return self
        return Mixed(self.numbers, self.scores + lifts, self.origins, lifts)._sorted()

    def only(self, allowed: Mask) -> "Mixed":
        """Return the candidates without those that aren't allowed (bool [B, U])."""
        numbers = np.where(allowed, self.numbers, -1)
        return Mixed(numbers, np.where(numbers >= 0, self.scores, NOTHING), self.origins, self.lifts)._sorted()

    def with_rows(self, rows: Sequence[int], others: "Mixed") -> "Mixed":
        """Return the candidates with those of some lists replaced."""
        width = max(self.numbers.shape[1], others.numbers.shape[1])
        mine, theirs = self._widened(width), others._widened(width)
        for own, other in zip(mine, theirs, strict=True):
            if own is not None and other is not None:
                own[rows] = other
        return mine

    def origin_of(self, picked: Ints, sources: Sequence[int], allowed: Mask | None, size: int) -> Ints:
        """Return for each picked item (int64 [B, P]) its number in `WHYS`, given those of the sources.

        An item of the session that would stand behind the first `size` of those allowed (bool [B, U]) without lifts is
        lifted in. What is no candidate gets the first source's.
        """
        if len(sources) == 1 and self.lifts is None:
            return np.full(picked.shape, sources[0])
        at = (picked[:, :, None] == self.numbers[:, None, :]).argmax(axis=2)  # [B, P]
        found: Ints = np.array(sources)[np.take_along_axis(self.origins, at, axis=1)]
        if self.lifts is not None and allowed is not None:
            plain = np.where(allowed, self.scores - self.lifts, NOTHING)
            size = min(size, plain.shape[1])
            last = -np.partition(-plain, size - 1, axis=1)[:, size - 1 : size]  # [B, 1]
            behind = np.take_along_axis(plain, at, axis=1) < last
            lifted = np.take_along_axis(self.lifts, at, axis=1) > 0
            found[behind & lifted & (found == WHYS.index("session"))] = WHYS.index("lifted_in")
        return found

    def _sorted(self) -> "Mixed":
        order = np.argsort(-self.scores, axis=1, kind="stable")
        arrays = (None if each is None else np.take_along_axis(each, order, axis=1) for each in self)
        return Mixed(*arrays)  # type: ignore[arg-type]

    def _widened(self, width: int) -> "Mixed":
        room = ((0, 0), (0, width - self.numbers.shape[1]))
        lifts = np.zeros_like(self.scores) if self.lifts is None else self.lifts
        return Mixed(
            np.pad(self.numbers, room, constant_values=-1),
            np.pad(self.scores, room, constant_values=NOTHING),
            np.pad(self.origins, room),
            np.pad(lifts, room),
        )


def mixed(offers: Sequence[tuple[float, Offer]]) -> Mixed:
    """Return the items of all offers, each with its weight.

    An item that a source doesn't offer has the lowest score that this source offers. A source that offers nothing
    counts as 0.
    """
    (weight, (numbers, scores)), *others = offers
    is_item = numbers >= 0
    if not others:
        totals = scores if weight == 1 else scores * np.float32(weight)
        totals = np.where(is_item, totals, NOTHING).astype(np.float32, copy=False)
        found = Mixed(numbers, totals, np.zeros(numbers.shape, np.int8))
        # Without the lifts under which the model was asked, its order is another one.
        return found._sorted() if (totals[:, 1:] > totals[:, :-1]).any() else found
    totals = np.where(is_item, np.float32(weight) * scores, 0).astype(np.float32)
    origins = np.zeros(numbers.shape, np.int8)
    lowest = np.float32(weight) * _lowest(numbers, scores)
    for place, (weight, offer) in enumerate(others, start=1):
        same = (numbers[:, :, None] == offer.numbers[:, None, :]) & (numbers >= 0)[:, :, None]  # [B, U, K]
        at, is_offered = same.argmax(axis=2), same.any(axis=2)
        least = _lowest(*offer)
        given = np.where(is_offered, np.take_along_axis(offer.scores, at, axis=1), least)
        totals += np.float32(weight) * given
        is_new = (offer.numbers >= 0) & ~same.any(axis=1)
        numbers = np.concatenate([numbers, np.where(is_new, offer.numbers, -1)], axis=1)
        totals = np.concatenate([totals, lowest + np.float32(weight) * offer.scores], axis=1)
        origins = np.concatenate([origins, np.full(offer.numbers.shape, place, np.int8)], axis=1)
        lowest = lowest + np.float32(weight) * least
    totals = np.where(numbers >= 0, totals, NOTHING)
    return Mixed(numbers, totals, origins)._sorted()


def _lowest(numbers: Ints, scores: Floats) -> Floats:
    """Return float32 [B, 1]: the lowest score of each row's items, 0 where there is none."""
    lowest = np.where(numbers >= 0, scores, np.inf).min(axis=1, keepdims=True)
    found: Floats = np.where(np.isfinite(lowest), lowest, 0).astype(np.float32)
    return found
