"""What trends at a place, from the facts about trends as of a list's offsets.

A place is the values of some facts, such as a category. Where no item of a place has had twenty different visitors, the
place without its last fact counts, at last everywhere.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs.contract import shelf_plan as plan
from jobs.verify.everywhere import Everywhere
from jobs.verify.shelf_rules import Known

if TYPE_CHECKING:
    from jobs.verify.shelf_sources import Question, Sources

Trend = tuple[float, float, tuple[Any, ...]]  # trend, visitors, values of the place's facts


class Trending:
    """The trends of all items for one shelf, kept up from list to list."""

    def __init__(self, sources: "Sources", shelf: plan.Shelf) -> None:
        self._shelf, self._trends = shelf, dict[str, Trend]()
        self._everywhere = Everywhere(sources.history, sources.all_items(), self._value, (), self._changed)
        self._made: dict[tuple[Any, ...], Mapping[str, float]] = {}
        self._changes = -1

    def at(self, question: "Question") -> Mapping[str, float]:
        """Return the items that trend where the session of a question has come to, each with its score."""
        changes = self._everywhere.move_to(question.offsets, question.known.now_ms)
        if changes != self._changes:
            self._changes = changes
            self._made.clear()
        place = self._place_of(question)
        if place not in self._made:
            self._made[place] = self._offer(place)
        return self._made[place]

    def _place_of(self, question: "Question") -> tuple[Any, ...]:
        if question.place is not None:
            return self._as_far_as_known(question)
        items = [item for event in question.events if (item := event.get("item_id"))]
        return self._place(question.known, items[-1]) if items and self._is_known(question, items[-1]) else ()

    def _as_far_as_known(self, question: "Question") -> tuple[Any, ...]:
        """Return the place of a list of another shelf: up to this shelf's first fact that doesn't make that place."""
        assert question.place is not None, "only a place's list has one"
        own, values = [feature.name for feature in question.shelf.place], []
        for feature in self._shelf.place:
            if feature.name not in own:
                break
            values.append(question.place[own.index(feature.name)])
        return tuple(values)

    def _is_known(self, question: "Question", item: str) -> bool:
        return item in self._trends or bool(question.known.facts.get(item))

    def _offer(self, place: Sequence[Any]) -> Mapping[str, float]:
        for length in range(len(place), -1, -1):
            wanted = tuple(place[:length])
            found = {
                item: trend
                for item, (trend, _, values) in self._trends.items()
                if trend > 0 and None not in wanted and values[:length] == wanted
            }
            if found and max(self._trends[item][1] for item in found) >= plan.TREND_LEAST:
                best = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[: self._shelf.candidates]
                return {item: math.log(trend) for item, trend in best}
        return {}

    def _place(self, known: Known, item: str) -> tuple[Any, ...]:
        return tuple(known.fact(item, feature.name) for feature in self._shelf.place)

    def _value(self, known: Known, item: str) -> Trend:
        trend = known.fact(item, plan.TREND)
        return (trend or 0.0, known.fact(item, self._shelf.trend_visitors) or 0, self._place(known, item))

    def _changed(self, item: str, value: Trend) -> None:
        self._trends[item] = value
