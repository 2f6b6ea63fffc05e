"""Candidates from what happens now at a place: its items by their trends. Pure.

Shapes: M items, B lists, K items of a place.
"""

from collections.abc import Sequence

import numpy as np

from jobs.contract.shelf_plan import TREND, TREND_LEAST, Shelf
from jobs.rankings.arrays import Ints
from jobs.rankings.candidates.mixed import Offer
from jobs.shelves.items import Items

Place = tuple[int, ...]  # the values of the place's features, as codes; () is everywhere


class TrendBoard:
    """The trends of one snapshot of facts."""

    def __init__(self, items: Items, shelf: Shelf) -> None:
        self._count = shelf.candidates
        self._names = [*(feature.name for feature in shelf.place), TREND, shelf.trend_visitors]
        self._ids, made_of = items.ids, [items.facts(name) for name in self._names]
        *self._facts, of_trend, of_visitors = self._made_of = made_of
        trend = np.nan_to_num(of_trend.values.astype(np.float64))
        by_id = sorted(np.flatnonzero(trend > 0).tolist(), key=items.ids.__getitem__)
        self._order = np.array(sorted(by_id, key=lambda number: -trend[number]), np.int64)
        self._trend = trend
        self._visitors = np.nan_to_num(of_visitors.values.astype(np.float64))
        self._known: dict[Place, Ints] = {}

    def is_of(self, items: Items) -> bool:
        """Return True if the board is right for these facts, too."""
        same = (
            items.facts(name).values is before.values for name, before in zip(self._names, self._made_of, strict=True)
        )
        return items.ids is self._ids and all(same)

    def of_items(self, numbers: Ints) -> list[Place]:
        """Return the places of items (int64 [B]), everywhere for -1."""
        codes = [facts.values[np.maximum(numbers, 0)].tolist() for facts in self._facts]
        return [
            tuple(each[row] for each in codes) if number >= 0 else () for row, number in enumerate(numbers.tolist())
        ]

    def of_values(self, values: Sequence[str]) -> Place:
        """Return the place whose features have these values; of fewer values it is a wider one."""
        return tuple(
            facts.coder.code(value) if facts.coder else -1 for facts, value in zip(self._facts, values, strict=False)
        )

    def offer(self, places: Sequence[Place]) -> Offer:
        """Return what trends at each place, or at the next wider one where too few visitors have made the trend."""
        rows = [self._wide_enough(place) for place in places]
        numbers = np.full((len(rows), max(1, *map(len, rows))), -1, np.int64)
        for row, each in enumerate(rows):
            numbers[row, : len(each)] = each
        trends = self._trend[np.maximum(numbers, 0)]
        scores = np.log(np.where((numbers >= 0) & (trends > 0), trends, 1)).astype(np.float32)
        return Offer(numbers, scores)

    def _wide_enough(self, place: Place) -> Ints:
        """Return the items of a place, the greatest trend first.

        A place has had at least as many visitors as each of its items, or of its categories.
        """
        if place not in self._known:
            at = self._order
            for facts, code in zip(self._facts, place, strict=False):
                at = at[facts.values[at] == code] if code >= 0 else at[:0]
            if len(at) and self._visitors[at].max() >= TREND_LEAST:
                self._known[place] = at[: self._count]
            else:
                self._known[place] = self._wide_enough(place[:-1]) if place else at[:0]
        return self._known[place]
