"""What each source offers a list: item → score, best first. The model is asked in batches, `Together` once an item.

`jobs/shelves/README.md` says what a source offers, under "Sources".
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jobs.contract import shelf_plan as plan
from jobs.contract.events import Event
from jobs.verify.everywhere import Everywhere
from jobs.verify.fact_history import FactHistory, Offsets
from jobs.verify.lists import model_inputs
from jobs.verify.shelf_lists import TOLERANCE, lift_of_items, of_item_only, pool_rule
from jobs.verify.shelf_rules import Known, is_true
from jobs.verify.trending import Trending

if TYPE_CHECKING:  # onnxruntime takes 0.3 s to import
    from models.serving.bundle import Bundle
    from models.serving.newcomers import Words

BATCH = 64
HELD = 8  # groups of lists that are filled at once: a group has one vector
DROPPED, DROPPED_BELOW = -1e9, -1e8
FOLLOWERS, FOLLOWER_TYPE = 64, "view"
Offer = Mapping[str, float]
NONE: Offer = {}


@dataclass(frozen=True)
class Question:
    """A list that was made: what its session, its visitor and the facts were. `context` is what the model read.

    A list that isn't a visitor's has no events; one of a place has the values that make it.
    """

    shelf: plan.Shelf
    list_id: str
    known: Known
    offsets: Offsets
    events: Sequence[Event]
    context: Sequence[float]
    about: Sequence[str] = ()
    wide: bool = False
    place: tuple[str, ...] | None = None

    @property
    def moment(self) -> tuple[Any, ...]:
        return tuple(sorted(self.offsets.items())), self.known.now_ms


@dataclass
class SessionOffer:
    """What the session model offers for a question, without lifts. `is_broken`: a score wasn't finite."""

    scores: Offer = field(default_factory=dict)
    is_broken: bool = False


class Sources:
    """Offers of one model under one plan."""

    def __init__(self, shop: plan.ShelfPlan, bundle: "Bundle", history: FactHistory) -> None:
        self.shop, self.bundle, self.history = shop, bundle, history
        self._in_bundle = set(bundle.item_index)
        self._followers = max([FOLLOWERS, *(shelf.candidates for shelf in shop.shelves)])
        self._together: dict[tuple[str, tuple[str, ...]], Offer] = {}
        self._biases: dict[str, tuple[NDArray[np.float32], Everywhere[float]]] = {}
        self._pools: dict[str, _Pool] = {}
        self._of_items: dict[str, tuple[dict[str, bool], Everywhere[bool]]] = {}
        self._trending: dict[str, Trending] = {}
        self._vectors: dict[tuple[int, ...], list[float]] = {}
        self._beyond = sorted(history.items() - self._in_bundle)
        self._new_items: _New | None = None

    def may_show(self, offsets: Offsets, item: str) -> bool:
        """Return True for an item that a worker may show: the model knows it, or a topic had named it by then."""
        return item in self._in_bundle or self.history.was_named(item, offsets)

    def all_items(self) -> list[str]:
        return [*self._in_bundle, *(self.history.items() - self._in_bundle)]

    def pool(self, question: Question) -> Sequence[str] | None:
        """Return the items that may be explored, by id; None for a shelf that doesn't explore."""
        shelf = question.shelf
        if shelf.explore is None:
            return None
        if shelf.name not in self._pools:
            self._pools[shelf.name] = _Pool(self, shelf)
        return self._pools[shelf.name].at(question)

    def of_items(self, question: Question) -> Mapping[str, bool]:
        """Return for each item whether all conditions of gate and where are true that read the item alone.

        What is returned changes with the next question: rules of the item alone are evaluated where facts have changed.
        """
        shelf = question.shelf
        if shelf.name not in self._of_items:
            held, conditions = dict[str, bool](), of_item_only(self.shop, shelf)

            def value(known: Known, item: str) -> bool:
                return all(is_true(each, known, item) for each in conditions)

            everywhere = Everywhere(self.history, self.all_items(), value, conditions, held.__setitem__)
            self._of_items[shelf.name] = held, everywhere
        held, everywhere = self._of_items[shelf.name]
        everywhere.move_to(question.offsets, question.known.now_ms)
        return held

    def sessions(self, questions: Sequence[Question]) -> list[SessionOffer]:
        """Return what the session model offers: under the leading shelf's rules, or the list's own if it is wide."""
        lead, offers = self.shop.lead, [SessionOffer() for _ in questions]
        if lead is None:
            return offers
        known = [number for number, question in enumerate(questions) if self.model_events(question)]
        groups: dict[object, tuple[plan.Shelf, NDArray[np.float32], list[int]]] = {}
        for number in sorted(known, key=lambda number: questions[number].moment):
            question = questions[number]
            shelf = question.shelf if question.wide else lead
            vector, everywhere = self._bias(shelf)
            changes = everywhere.move_to(question.offsets, question.known.now_ms)
            key = question.wide, shelf.name, changes
            if key in groups and len(groups[key][2]) == BATCH:
                self._score(questions, *groups.pop(key), offers)
            groups.setdefault(key, (shelf, vector.copy(), []))[2].append(number)
            if len(groups) > HELD:
                self._score(questions, *groups.pop(next(iter(groups))), offers)
        for group in groups.values():
            self._score(questions, *group, offers)
        return offers

    def _bias(self, shelf: plan.Shelf) -> tuple[NDArray[np.float32], Everywhere[float]]:
        if shelf.name not in self._biases:
            vector = np.zeros(len(self.bundle.items) - 1, np.float32)
            conditions = of_item_only(self.shop, shelf)
            lifts = [each for each in shelf.lift if each.rule.cost == "N"]

            def value(known: Known, item: str) -> float:
                if not all(is_true(each, known, item) for each in conditions):
                    return DROPPED
                return lift_of_items(shelf, known, item)

            def changed(item: str, bias: float) -> None:
                vector[self.bundle.item_index[item] - 1] = bias

            read = [*conditions, *(each.rule.condition for each in lifts)]
            self._biases[shelf.name] = vector, Everywhere(self.history, self._in_bundle, value, read, changed)
        return self._biases[shelf.name]

    def of_model(self, events: Sequence[Event], context: Sequence[float], logged: Mapping[str, Any]) -> dict[str, int]:
        """Return the visitor's segment, by the feature's name. Of nearly equal ones it is the logged one."""
        known = self._known(events)
        if not known or not self.bundle.segments:
            return {plan.SEGMENT: self._no_segment}
        nearness = self.bundle.segments_of(*model_inputs([known], [context], self.bundle))[1][0].tolist()
        nearest = [number for number, near in enumerate(nearness) if near >= max(nearness) - TOLERANCE]
        given = logged.get(plan.SEGMENT)
        return {plan.SEGMENT: given if given in nearest else nearest[0]}

    @property
    def _no_segment(self) -> Any:
        return next(feature.default for feature in self.shop.visitor if feature.name == plan.SEGMENT)

    def model_events(self, question: Question) -> list[Event]:
        return self._known(question.events)

    def _known(self, events: Sequence[Event]) -> list[Event]:
        bundle = self.bundle
        return [
            event
            for event in events
            if event["event_type"] in bundle.type_index and event.get("item_id") in bundle.item_index
        ]

    def _score(
        self,
        questions: Sequence[Question],
        shelf: plan.Shelf,
        bias: NDArray[np.float32],
        group: Sequence[int],
        offers: list[SessionOffer],
    ) -> None:
        """Ask the model for questions with one bias."""
        asked = [questions[number] for number in group]
        inputs = model_inputs(
            [self.model_events(each) for each in asked], [each.context for each in asked], self.bundle
        )
        reach = max(each.candidates for each in self.shop.of_visitors if each.takes("session"))
        count = plan.WIDE if asked[0].wide else reach
        queries: NDArray[np.float32] | None = None
        if self.bundle.words is None:
            scores, items = self.bundle.score(*inputs, k=count, bias=bias)
        else:
            scores, items, queries = self.bundle.score_with(["query"], *inputs, k=count, bias=bias)
        for row_number, (number, row, places) in enumerate(zip(group, scores.tolist(), items.tolist(), strict=True)):
            if not all(map(math.isfinite, row)):
                offers[number] = SessionOffer(is_broken=True)
                continue
            known = questions[number].known
            named = [(self.bundle.items[place], score) for place, score in zip(places, row, strict=True)]
            if queries is not None:
                new = self._newcomers(questions[number], shelf, queries[row_number])
                named = sorted([*named, *new], key=lambda pair: -pair[1])[: len(row)]
            found = {item: score - lift_of_items(shelf, known, item) for item, score in named if score > DROPPED_BELOW}
            offers[number] = SessionOffer(_best_first(found))

    def _newcomers(self, question: Question, shelf: plan.Shelf, query: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Return what the model says of items that training never saw, by their facts, with the shelf's lifts."""
        words, known = self.bundle.words, question.known
        assert words is not None, "only a bundle with words lists such items"
        new = self._new(words).at(question)
        if len(new) > words.MOST:
            return []
        found, conditions = [], of_item_only(self.shop, shelf)
        for item, rows in new.items():
            if all(is_true(each, known, item) for each in conditions):
                *vector, bias = self._vector(rows)
                found.append((item, float(np.dot(query, vector)) + bias + lift_of_items(shelf, known, item)))
        return found

    def _new(self, words: "Words") -> "_New":
        if self._new_items is None:
            self._new_items = _New(self.history, words, self._beyond)
        return self._new_items

    def _vector(self, rows: tuple[int, ...]) -> list[float]:
        if rows not in self._vectors:
            self._vectors[rows] = self.bundle.newcomers(np.array([rows]))[0].tolist()
        return self._vectors[rows]

    def together(self, items: Sequence[str], as_type: str) -> Offer:
        """Return the model's best for a session of one event of each item that it knows, with a context of zeros.

        It is asked for as many as any shelf wants: how many is asked for decides which the int8 product looks at.
        """
        key = self._key(items, as_type)
        if key is None:
            return NONE
        if key not in self._together:
            self.prepare([(items, as_type)])
        return self._together[key]

    def _key(self, items: Sequence[str], as_type: str) -> tuple[str, tuple[str, ...]] | None:
        known = tuple(item for item in items if item in self.bundle.item_index)
        return (as_type, known) if known and as_type in self.bundle.type_index else None

    def prepare(self, wanted: Iterable[tuple[Sequence[str], str]]) -> None:
        """Ask the model for many sessions of `together` at once."""
        keys = {key for key in (self._key(*each) for each in wanted) if key is not None}
        new = sorted(keys - self._together.keys(), key=lambda key: (len(key[1]), key))
        zeros = [0.0] * len(self.bundle.context_features)
        for begin in range(0, len(new), BATCH):
            batch = new[begin : begin + BATCH]
            events: list[list[Event]] = [
                [{"event_type": as_type, "item_id": item, "event_time_ms": 0} for item in items]
                for as_type, items in batch
            ]
            inputs = model_inputs(events, [zeros] * len(batch), self.bundle)
            scores, listed = self.bundle.score(*inputs, k=self._followers)
            for key, row, places in zip(batch, scores.tolist(), listed.tolist(), strict=True):
                offer = {self.bundle.items[place]: score for place, score in zip(places, row, strict=True)}
                self._together[key] = offer if all(map(math.isfinite, row)) else NONE

    def followers(self, item: str) -> Offer:
        """Return what the model shows to somebody who viewed this item and nothing else."""
        return dict(list(self.together([item], FOLLOWER_TYPE).items())[:FOLLOWERS])

    def trending(self, shelf: plan.Shelf, question: Question) -> Offer:
        if shelf.name not in self._trending:
            self._trending[shelf.name] = Trending(self, shelf)
        return self._trending[shelf.name].at(question)

    def popular(self, count: int) -> Offer:
        return {item: -math.log1p(place) for place, item in enumerate(self.bundle.popular[:count])}


class _New:
    """The items that training never saw and of which a word is known, with the numbers of their words."""

    def __init__(self, history: FactHistory, words: "Words", items: Sequence[str]) -> None:
        self._held: dict[str, tuple[int, ...]] = {}

        def value(known: Known, item: str) -> tuple[int, ...]:
            return tuple(words.rows(partial(known.fact, item)))

        self._everywhere = Everywhere(history, items, value, [], self._change)

    def at(self, question: Question) -> Mapping[str, tuple[int, ...]]:
        """Return the items at a question's moment. What is returned changes with the next question."""
        self._everywhere.move_to(question.offsets, question.known.now_ms)
        return self._held

    def _change(self, item: str, rows: tuple[int, ...]) -> None:
        if any(rows):
            self._held[item] = rows
        else:
            self._held.pop(item, None)


class _Pool:
    """The items that a shelf may explore, by id."""

    def __init__(self, sources: Sources, shelf: plan.Shelf) -> None:
        assert shelf.explore is not None, "only a shelf that explores has a pool"
        self._held: set[str] = set()
        self._sorted: list[str] | None = None
        self._offsets: Offsets = {}

        def value(known: Known, item: str) -> bool:
            return sources.may_show(self._offsets, item) and pool_rule(sources.shop, shelf, known)(item)

        conditions = [shelf.explore.among.condition, *of_item_only(sources.shop, shelf)]
        self._everywhere = Everywhere(sources.history, sources.all_items(), value, conditions, self._change)

    def at(self, question: Question) -> Sequence[str]:
        self._offsets = question.offsets
        self._everywhere.move_to(question.offsets, question.known.now_ms)
        if self._sorted is None:
            self._sorted = sorted(self._held)
        return self._sorted

    def _change(self, item: str, may_explore: bool) -> None:
        self._held.add(item) if may_explore else self._held.discard(item)
        self._sorted = None


def _best_first(scores: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(scores.items(), key=lambda pair: -pair[1]))
