"""A batch of questions → a list for each shelf that they ask for. No Flink and no network.

The session model is asked once for all shelves of all questions; the rest is each shelf's own (`one_shelf.py`).
Shapes: Q questions, B lists of one shelf, C context features.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jobs.catalogue.columns import Snapshot
from jobs.contract.shelf_plan import SEGMENT, WIDE, Shelf, ShelfPlan
from jobs.rankings.arrays import Floats, Ints
from jobs.rankings.candidates.newcomers import Newcomers
from jobs.rankings.candidates.session_model import ModelInput, SessionModel, encode
from jobs.rankings.candidates.sources import Scored, Sources, Wanted
from jobs.rankings.one_shelf import REASONS, OneShelf
from jobs.rankings.ranked_list import Fallback, RankedList
from jobs.rankings.session import Session
from jobs.shelves import pick
from jobs.shelves.items import Items
from jobs.shelves.masks import Batch
from models.serving.bundle import NO_SEGMENT, Bundle


class Question(NamedTuple):
    """What a visitor's lists are made from. `features` hold what the online store knows, by name."""

    session: Session
    context: Floats  # float32 [C]
    features: Mapping[str, Any]
    now_ms: int
    list_id: str
    is_anonymous: bool = False
    item: str = ""  # that the list is about, where it is nobody's
    place: tuple[str, ...] = ()  # that the list is of


class Made(NamedTuple):
    """A list, and the features that its rules could read, defaults in place."""

    ranked: RankedList
    visitor: Mapping[str, Any]


class _Asked(NamedTuple):
    """The questions of one batch, prepared once for all shelves."""

    questions: Sequence[Question]
    model_input: ModelInput
    contexts: Floats  # [Q, C]
    now_ms: Any  # float64 [Q]
    visitors: list[dict[str, Any]]
    session_items: list[list[str]]  # what the model saw
    session: Scored | None = None


class ShelfRanker:
    """Makes the lists of one version of shelves with one bundle."""

    def __init__(self, bundle: Bundle, plan: ShelfPlan, snapshot: Snapshot, threads: int = 1) -> None:
        """Open the bundle's model; `threads` share a batch."""
        self._bundle, self._plan = bundle, plan
        self._model = SessionModel(bundle, threads)
        self._sources, self._newcomers = Sources(bundle, plan, self._model), Newcomers(bundle)
        own = [shelf for shelf in plan.of_visitors if shelf.takes("session")]
        self._reach = max((shelf.candidates for shelf in own), default=0)
        self._ids: list[str] = bundle.items[1:]
        self._names = np.array(self._ids, dtype=object)
        self._items: Items | None = None
        self.take(snapshot)

    def take(self, snapshot: Snapshot) -> None:
        """Make lists with these facts from now on. An item that only the facts know comes behind the bundle's."""
        before = self._items
        ids = self._ids_of(snapshot, before)
        if ids is not self._ids:
            self._ids, self._names = ids, np.array(ids, dtype=object)
        self._items = items = Items(self._ids, snapshot, before)
        self._sources.take(self._newcomers.of(items))
        self._shelves = {
            shelf.name: OneShelf(self._plan, shelf, items, self._sources, self._names) for shelf in self._plan.shelves
        }

    def _ids_of(self, snapshot: Snapshot, before: Items | None) -> list[str]:
        """Return the bundle's items, then those that only the facts know."""
        rows, size = snapshot.rows, snapshot.size
        if before is not None and rows is before.snapshot.rows:
            known: Container[str] = before.number_of
            new = list(rows)[before.snapshot.size : size] if size > before.snapshot.size else []
            return [*self._ids, *(item for item in new if item not in known)] if new else self._ids
        known = self._bundle.item_index  # the catalogue has counted its rows anew, and dropped items that are gone
        return [*self._bundle.items[1:], *(item for item in list(rows)[:size] if item not in known)]

    @property
    def context_width(self) -> int:
        """Return C."""
        return len(self._bundle.context_features)

    def places(self, shelf: Shelf) -> list[tuple[str, ...]]:
        """Return the places of a shelf: each combination of values that an item has; () for everywhere."""
        if not shelf.place:
            return [()]
        facts = [self.items.facts(feature.name) for feature in shelf.place]
        if not all(each.coder for each in facts):  # a fact that no topic has
            return []
        codes: Any = np.stack([each.values for each in facts], axis=1)
        found = np.unique(codes[(codes >= 0).all(axis=1)], axis=0).tolist()
        return [tuple(each.coder.words[code] for each, code in zip(facts, row, strict=True)) for row in found]  # type: ignore[union-attr]

    @property
    def items(self) -> Items:
        assert self._items is not None, "facts were taken at the start"
        return self._items

    def close(self) -> None:
        """End the model's threads."""
        self._model.close()

    def make(self, questions: Sequence[Question], wanted: Mapping[str, Sequence[int]]) -> dict[str, list[Made]]:
        """Return for each shelf the lists of the questions at these places, in their order."""
        asked = self._prepared(questions, wanted)
        return {name: self._lists(self._plan.shelf(name), asked, rows) for name, rows in wanted.items() if rows}

    def _prepared(self, questions: Sequence[Question], wanted: Mapping[str, Sequence[int]]) -> _Asked:
        batch = encode([question.session for question in questions], self._bundle)
        ids = self._names[np.maximum(batch.items - 1, 0)].tolist()
        asked = _Asked(
            questions,
            batch,
            np.stack([question.context for question in questions]),
            np.array([question.now_ms for question in questions], np.float64),
            [self._features(question) for question in questions],
            [row[:length] for row, length in zip(ids, batch.lengths.tolist(), strict=True)],
        )
        lead = self._plan.lead
        rows = sorted({row for name, places in wanted.items() if self._asks_model(name) for row in places})
        if lead is not None and rows:
            asked = asked._replace(session=self._scored(asked, lead, rows, self._reach))
        if self._sources.reads_segments:
            self._tell_segments(asked, sorted({row for places in wanted.values() for row in places}))
        return asked

    def _tell_segments(self, asked: _Asked, rows: Sequence[int]) -> None:
        """Let the rules know in which segments the visitors are."""
        lengths, segments = asked.model_input.lengths, np.full(len(asked.questions), NO_SEGMENT)
        if asked.session is not None:
            segments = asked.session.segments
        known = [row for row in rows if lengths[row] > 0]
        if others := [row for row in known if segments[row] == NO_SEGMENT]:
            segments[others] = self._model.segments(asked.model_input, asked.contexts, np.array(others))
        for row in known:
            asked.visitors[row][SEGMENT] = int(segments[row])

    def _asks_model(self, name: str) -> bool:
        return any(shelf.takes("session") for shelf in (self._plan.shelf(name), *self._shelves[name].stand_ins))

    def _scored(self, asked: _Asked, shelf: Shelf, rows: Sequence[int], count: int) -> Scored:
        rules = self._shelves[shelf.name].rules
        return self._sources.scored(asked.model_input, asked.contexts, asked.now_ms, np.array(rows), rules, count)

    def _features(self, question: Question) -> dict[str, Any]:
        """Return the visitor's features that rules read, with their defaults where nothing is known."""
        session = question.session
        known = {} if question.is_anonymous else dict(question.features)
        known.pop(SEGMENT, None)  # the model gives it, if it has any
        if not question.is_anonymous:
            known["session_items"] = [item for item in session.items if item]
            bought = zip(session.items, session.types, strict=True)
            known["session_purchases"] = [item for item, kind in bought if item and kind == "purchase"]
        return {feature.name: known.get(feature.name, feature.default) for feature in self._plan.visitor}

    def _lists(self, shelf: Shelf, asked: _Asked, rows: Sequence[int]) -> list[Made]:
        one, questions = self._shelves[shelf.name], [asked.questions[row] for row in rows]
        abouts = [_about(shelf, question) for question in questions]
        visitors = [asked.visitors[row] for row in rows]
        places = [question.place for question in questions] if shelf.place else ()
        wanted = Wanted(
            shelf,
            rows,
            self._batch(shelf, asked, rows, abouts),
            visitors,
            asked.session,
            self._come_to(questions),
            places,
        )
        lists, candidates, wide = one.pick(
            wanted,
            [question.list_id for question in questions],
            lambda short: self._scored(asked, shelf, short, WIDE),
        )
        looked_at = abouts if shelf.about == "cart" else [asked.session_items[row] for row in rows]
        parts = one.parts(wanted, lists, candidates, wide, abouts, self._latest(looked_at))
        return [
            Made(
                RankedList(
                    items=one.ids(picked.numbers),
                    scores=picked.scores,
                    fallback=_fallback(question, pick.OWN in picked.how, _is_broken(asked, row)),
                    session_items=asked.session_items[row],
                    shelf=part,
                ),
                asked.visitors[row],
            )
            for row, question, picked, part in zip(rows, questions, lists, parts, strict=True)
        ]

    def _batch(self, shelf: Shelf, asked: _Asked, rows: Sequence[int], abouts: Sequence[Sequence[str]]) -> Batch:
        is_cart, number_of = shelf.about == "cart", self.items.number_of
        anchors = [-1 if is_cart or not about else number_of.get(about[0], -1) for about in abouts]
        return Batch(
            asked.now_ms[list(rows)],
            {feature.name: [asked.visitors[row][feature.name] for row in rows] for feature in self._plan.visitor},
            np.array(anchors, np.int64),
            abouts if is_cart else [],
        )

    def _come_to(self, questions: Sequence[Question]) -> Ints:
        """Return int64 [B]: the number of the item that each session has come to, -1 for none."""
        number_of = self.items.number_of
        latest = (next((item for item in reversed(each.session.items) if item), "") for each in questions)
        return np.array([number_of.get(item, -1) for item in latest], np.int64)

    def _latest(self, looked_at: Sequence[Sequence[str]]) -> Ints:
        """Return int64 [B, REASONS]: the last items of each list that the model knows, the latest first, 0 for none."""
        latest, index = np.zeros((len(looked_at), REASONS), np.int64), self._bundle.item_index
        for row, items in enumerate(looked_at):
            distinct = list(dict.fromkeys(item for item in reversed(items) if item in index))[:REASONS]
            latest[row, : len(distinct)] = [index[item] for item in distinct]
        return latest


def _about(shelf: Shelf, question: Question) -> list[str]:
    """Return the item in view, or the cart; nothing for a shelf that is about neither."""
    if question.item:
        return [question.item]
    if shelf.about == "cart":
        return basket(question.session)
    return viewed(question.session)[:1] if shelf.about == "viewed" else []


def viewed(session: Session) -> list[str]:
    """Return the items that were viewed, the latest first."""
    pairs = zip(reversed(session.items), reversed(session.types), strict=True)
    return [item for item, kind in pairs if item and kind == "view"]


def basket(session: Session) -> list[str]:
    """Return what was put into the cart and neither taken out of it nor bought since, the last put in last."""
    held: dict[str, None] = {}
    for item, kind in zip(session.items, session.types, strict=True):
        if item and kind in ("add_to_cart", "remove_from_cart", "purchase"):
            held.pop(item, None)
            if kind == "add_to_cart":
                held[item] = None
    return list(held)


def _is_broken(asked: _Asked, row: int) -> bool:
    return asked.session is not None and bool(asked.session.is_broken[row])


def _fallback(question: Question, is_own: bool, is_broken: bool) -> Fallback | None:
    if question.is_anonymous:
        return "no_consent"
    if is_own:
        return None
    return "model_error" if is_broken else "popular"
