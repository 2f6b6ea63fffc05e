"""What the sources of a shelf offer for its lists. What each source means stands in `jobs/shelves/README.md`.

Shapes: B lists of one shelf, Q questions of a batch, K items that a source offers, N items of the bundle.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from jobs.contract.shelf_plan import Shelf, ShelfPlan, Source
from jobs.rankings.arrays import Floats, Ints, Mask
from jobs.rankings.candidates import Candidates
from jobs.rankings.candidates.mixed import Mixed, Offer, mixed
from jobs.rankings.candidates.newcomers import NewItems
from jobs.rankings.candidates.session_model import ModelInput, SessionModel
from jobs.rankings.candidates.together import Followers
from jobs.rankings.candidates.trending import TrendBoard
from jobs.shelves.items import Items
from jobs.shelves.masks import Batch
from jobs.shelves.rules import DROPPED, Bias, ShelfRules
from models.serving.bundle import NO_SEGMENT, Bundle
from models.serving.bundle import Bias as Inputs

FOLLOWERS = 64  # among which the item of a list must be, for the list to say "because"


class Scored(NamedTuple):
    """What the session model offers for each question, [Q, K]; its lifts are taken off."""

    offer: Offer  # -1 in rows of which the model has nothing to say
    is_broken: Mask  # [Q]: a score wasn't finite
    segments: Ints  # int64 [Q], NO_SEGMENT where the model has nothing to say or no rule reads it


class Wanted(NamedTuple):
    """The lists of one shelf, B of them: the questions that they answer, and what their rules know."""

    shelf: Shelf
    rows: Sequence[int]  # of the questions
    batch: Batch
    visitors: Sequence[Mapping[str, Any]]
    session: Scored | None
    latest: Ints  # int64 [B], the number of the item that the session has come to, -1 for none
    places: Sequence[tuple[str, ...]] = ()  # values of the features that make the shelf's places

    def of(self, places: Sequence[int], session: Scored | None) -> "Wanted":
        """Return some of the lists, with another answer of the session model."""
        return Wanted(
            self.shelf,
            [self.rows[place] for place in places],
            self.batch.of(places),
            [self.visitors[place] for place in places],
            session,
            self.latest[list(places)],
            [self.places[place] for place in places] if self.places else (),
        )


class Sources:
    """The sources of one plan with one bundle."""

    def __init__(self, bundle: Bundle, plan: ShelfPlan, model: SessionModel) -> None:
        self._bundle, self._model = bundle, model
        self.reads_segments = plan.reads_segments and bool(bundle.segments)
        count = max((shelf.candidates for shelf in plan.shelves), default=FOLLOWERS)
        self._followers = Followers(bundle, model, max(count, FOLLOWERS))
        self._boards: dict[str, TrendBoard] = {}
        self._biased: tuple[Bias, Inputs | None, NewItems | None] | None = None
        self._newcomers: NewItems | None = None
        self._popular = np.array([bundle.item_index[item] - 1 for item in bundle.popular], np.int64)

    def take(self, newcomers: NewItems | None) -> None:
        """List these items beside the bundle's from now on."""
        self._newcomers, self._biased = newcomers, None

    def mixed(self, shelf: Shelf, wanted: Wanted, items: Items) -> Mixed:
        """Return what all sources of a shelf offer for some lists, best first, without lifts."""
        return mixed([(source.weight, self._offer(source, shelf, wanted, items)) for source in shelf.take])

    def scored(
        self, batch: ModelInput, contexts: Floats, now_ms: Any, rows: Ints, rules: ShelfRules, count: int
    ) -> Scored:
        """Return what the model offers for the questions at `rows`, under rules of the item alone and class N lifts."""
        total, count = len(batch.lengths), min(count, self._model.items)
        offer = Offer(np.full((total, count), -1, np.int64), np.zeros((total, count), np.float32))
        is_broken, segments = np.zeros(total, bool), np.full(total, NO_SEGMENT)
        rows = rows[batch.lengths[rows] > 0]
        while len(rows):
            bias = rules.bias(float(now_ms[rows[0]]))
            holds = bias.holds(now_ms[rows])
            now, rows = rows[holds], rows[~holds]
            inputs, newcomers = self._inputs(bias)
            found = self._model.candidates(batch, contexts, now, count, inputs, newcomers, self.reads_segments)
            if found.segments is not None:
                segments[now] = found.segments
            is_broken[now] = ~np.isfinite(found.scores).all(axis=1)
            numbers = np.where((found.scores > DROPPED / 10) & ~is_broken[now, None], found.items - 1, -1)
            lifts = bias.lifts[np.maximum(numbers, 0)] if bias.lifts.any() else np.float32(0)
            offer.numbers[now], offer.scores[now] = numbers, found.scores - lifts
        return Scored(offer, is_broken, segments)

    def _inputs(self, bias: Bias) -> tuple[Inputs | None, NewItems | None]:
        """Return a bias as the model takes it, None if it changes nothing, and new items with theirs.

        It lives as long as a snapshot of facts.
        """
        if self._biased is None or self._biased[0] is not bias:
            inputs = self._bundle.bias(bias.added[: self._model.items]) if bias.added.any() else None
            newcomers = self._newcomers
            if newcomers is not None:
                vectors = newcomers.vectors.copy()
                vectors[:, -1] += bias.added[newcomers.numbers]
                newcomers = newcomers._replace(vectors=vectors)
            self._biased = bias, inputs, newcomers
        return self._biased[1:]

    def followers(self, items: Ints) -> Ints:
        """Return int64 [R, F]: the numbers of what is viewed after each item (index of the model, int64 [R])."""
        return self._followers.of(items, "view").items[:, :FOLLOWERS] - 1

    def _board(self, shelf: Shelf, items: Items) -> TrendBoard:
        """Return the trends of the newest facts; most snapshots change others than those that make a board."""
        board = self._boards.get(shelf.name)
        if board is None or not board.is_of(items):
            board = self._boards[shelf.name] = TrendBoard(items, shelf)
        return board

    def _offer(self, source: Source, shelf: Shelf, wanted: Wanted, items: Items) -> Offer:
        count = shelf.candidates
        match source.kind:
            case "session" if wanted.session is not None:
                numbers, scores = wanted.session.offer
                return Offer(numbers[wanted.rows], scores[wanted.rows])
            case "together" if source.what == "anchor":
                anchors = wanted.batch.anchors
                known = np.where(anchors < self._model.items, anchors + 1, 0)
                return _of_model(self._followers.of(known, source.as_type), count)
            case "together":
                index = self._bundle.item_index
                baskets = [[index[item] for item in each if item in index] for each in wanted.batch.baskets]
                return _of_model(
                    self._followers.of_baskets(baskets or [[] for _ in wanted.rows], source.as_type), count
                )
            case "popular":
                popular = self._popular[:count]
                return _in_order(np.broadcast_to(popular, (len(wanted.rows), len(popular))))
            case "trend":
                board = self._board(shelf, items)
                places = [board.of_values(_shared(wanted.shelf, each, shelf)) for each in wanted.places]
                places = places or board.of_items(wanted.latest)
                return board.offer(places)
            case "list":
                return _of_lists([visitor[source.list] for visitor in wanted.visitors], count, items)
        return Offer(np.full((len(wanted.rows), 1), -1, np.int64), np.zeros((len(wanted.rows), 1), np.float32))


def _shared(own: Shelf, place: Sequence[str], other: Shelf) -> list[str]:
    """Return the values of a place that make one of another shelf, too: none behind a fact that isn't known."""
    value_of = {feature.name: value for feature, value in zip(own.place, place, strict=True)}
    return [value_of[name] for name in takewhile(value_of.__contains__, (feature.name for feature in other.place))]


def _of_model(found: Candidates, count: int) -> Offer:
    items, scores = found.items[:, :count], found.scores[:, :count]
    return Offer(items - 1, np.where(items > 0, scores, 0).astype(np.float32))


def _of_lists(lists: Sequence[Sequence[str]], count: int, items: Items) -> Offer:
    """Return each visitor's own items, the last first."""
    rows = [items.numbers(dict.fromkeys(reversed(each)))[:count] for each in lists]
    numbers = np.full((len(rows), max(1, *map(len, rows))), -1, np.int64)
    for row, each in enumerate(rows):
        numbers[row, : len(each)] = each
    return Offer(numbers, np.broadcast_to(0 - np.arange(numbers.shape[1], dtype=np.float32), numbers.shape))


def _in_order(numbers: Ints) -> Offer:
    """Return an offer of items that stand in their order (int64 [B, K])."""
    scores = -np.log1p(np.arange(numbers.shape[1], dtype=np.float32))
    return Offer(numbers, np.broadcast_to(scores, numbers.shape))
