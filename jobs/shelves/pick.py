"""Pick the lists of one shelf: pins at their places, explored items by the list's id, and else the best that may stand.

Shapes: B lists, K candidates of each, P places (those in reserve included), M items.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jobs.contract.shelf_plan import TRIES, Pin, Shelf
from jobs.shelves import chance
from jobs.shelves.greedy import Likeness, Turn, Window, greedy
from jobs.shelves.items import NOT_KNOWN, Items
from jobs.shelves.masks import Batch, Ints, Mask
from jobs.shelves.rules import Floats, ShelfRules

# How an item came into its place. From `INSTEAD` on: by the first, second, … shelf that stands in.
OWN, EXPLORED, PINNED, INSTEAD = 0, 1, 2, 3
SCORE_DECIMALS = 6  # float32 carries 7 digits


class Picked(NamedTuple):
    """One list: numbers of items, their scores (0.0 where the model gave none), and how each came into its place."""

    numbers: list[int]
    scores: list[float]
    how: list[int]


class _Gathered:
    """The codes of all candidates, gathered once a field: rules of one field share what they compare."""

    def __init__(self, items: Items, numbers: Ints) -> None:
        self._items, self._numbers = items, numbers
        self._codes: dict[str, npt.NDArray[np.int32]] = {}

    def __getitem__(self, name: str) -> npt.NDArray[np.int32]:
        if name not in self._codes:
            self._codes[name] = _codes(self._items, name, self._numbers)
        return self._codes[name]


def pick(
    rules: ShelfRules, one_of: str, candidates: Ints, scores: Floats, batch: Batch, list_ids: Sequence[str]
) -> list[Picked]:
    """Return the lists; `candidates` and `scores` are [B, K], best first, lifts included."""
    shelf = rules.shelf
    pins, pinned = _pins(rules, batch)
    tries, slots = _tries(rules, batch, list_ids)
    numbers = np.concatenate([pinned, tries, candidates], axis=1)
    alive = rules.allowed(np.maximum(numbers, 0), batch) & (numbers >= 0)
    alive[:, : len(pins)] &= np.stack([_holds(rules, pin, batch) for pin in pins], axis=1) if pins else True
    first = len(pins) + tries.shape[1]
    is_open = np.zeros(numbers.shape, bool)
    is_open[:, first:] = True
    for place in range(len(pins)):  # a pinned item, and its kind, waits for its place
        alive[:, first - tries.shape[1] :] &= _others(numbers, place, alive, rules.items, one_of)[:, len(pins) :]
    turns = _turns(shelf.places, pins, alive, slots, len(pins))
    gathered = _Gathered(rules.items, numbers)
    columns = greedy(
        numbers,
        alive,
        is_open,
        shelf.places,
        windows=_windows(shelf, gathered),
        groups=gathered[one_of] if one_of else None,
        likeness=_likeness(shelf, gathered, scores, alive[:, first:], first),
        turns=turns if pins or tries.shape[1] else (),
        late=len(pins),
    )
    how = np.full(numbers.shape[1], OWN)
    how[: len(pins)], how[len(pins) : first] = PINNED, EXPLORED
    all_scores = np.concatenate([np.zeros((len(numbers), first), np.float32), scores], axis=1)
    return _lists(numbers, all_scores, np.broadcast_to(how, numbers.shape), columns)


def fill(rules: ShelfRules, one_of: str, lists: Sequence[Picked], others: Sequence[Ints], batch: Batch) -> list[Picked]:
    """Return lists that are filled up behind what is there; `others` are [B, K] for each shelf that stands in.

    -1 in `others` is no item. Gate, where, windows and one_of hold for them too.
    """
    shelf = rules.shelf
    width = max(len(each.numbers) for each in lists)
    own = np.full((len(lists), width), -1, np.int64)
    own_how = np.full((len(lists), width), OWN)
    own_scores = np.zeros((len(lists), width), np.float32)
    for row, each in enumerate(lists):
        length = len(each.numbers)
        own[row, :length], own_scores[row, :length], own_how[row, :length] = each
    numbers = np.concatenate([own, *others], axis=1)
    how = np.concatenate([own_how, *(np.full(o.shape, INSTEAD + place) for place, o in enumerate(others))], axis=1)
    alive = numbers >= 0
    alive[:, width:] &= rules.allowed(np.maximum(numbers[:, width:], 0), batch)
    rows = np.arange(len(lists))
    turns = [[Turn(rows, np.full(len(lists), place), is_forced=True)] for place in range(min(width, shelf.places))]
    turns += [[] for _ in range(shelf.places - len(turns))]
    is_open = np.zeros(numbers.shape, bool)
    is_open[:, width:] = True
    gathered = _Gathered(rules.items, numbers)
    columns = greedy(
        numbers,
        alive,
        is_open,
        shelf.places,
        windows=_windows(shelf, gathered),
        groups=gathered[one_of] if one_of else None,
        turns=turns,
    )
    scores = np.concatenate([own_scores, np.zeros((len(lists), numbers.shape[1] - width), np.float32)], axis=1)
    return _lists(numbers, scores, how, columns)


def _lists(numbers: Ints, scores: Floats, how: npt.NDArray[Any], columns: Ints) -> list[Picked]:
    places = np.maximum(columns, 0)
    scores = scores.astype(np.float64).round(SCORE_DECIMALS)  # type: ignore[assignment]
    rows = zip(
        (columns >= 0).sum(axis=1).tolist(),
        *(np.take_along_axis(each, places, axis=1).tolist() for each in (numbers, scores, how)),
        strict=True,
    )
    return [Picked(row[:length], row_scores[:length], row_how[:length]) for length, row, row_scores, row_how in rows]


def _pins(rules: ShelfRules, batch: Batch) -> tuple[list[Pin], Ints]:
    """Return the pins whose items are known, lowest place first, and their numbers, [B, pins]."""
    pins = [pin for pin in rules.shelf.pins if pin.item in rules.items.number_of]
    numbers = np.array([rules.items.number_of[pin.item] for pin in pins], np.int64)
    return pins, np.broadcast_to(numbers, (len(batch.now_ms), len(pins)))


def _holds(rules: ShelfRules, pin: Pin, batch: Batch) -> Mask:
    holds = rules.only(pin.only, batch)
    holds = holds & (batch.now_ms >= pin.since_ms) if pin.since_ms is not None else holds
    return holds & (batch.now_ms < pin.until_ms) if pin.until_ms is not None else holds


def _others(numbers: Ints, pin: int, alive: Mask, items: Items, one_of: str) -> Mask:
    """Return bool [B, C]: what isn't a pinned item, nor of its group, in the lists in which the pin holds."""
    same = numbers == numbers[:, pin : pin + 1]
    if one_of:
        codes = _codes(items, one_of, numbers)
        same |= (codes == codes[:, pin : pin + 1]) & (codes != NOT_KNOWN)
    result: Mask = ~(same & alive[:, pin : pin + 1])
    return result


def _tries(rules: ShelfRules, batch: Batch, list_ids: Sequence[str]) -> tuple[Ints, Ints]:
    """Return the items that explored places try, [B, X], -1 for none, and int64 [E, 3]: row, place and first column."""
    nothing = np.empty((len(list_ids), 0), np.int64), np.empty((0, 3), np.int64)
    explore = rules.shelf.explore
    if explore is None or not list_ids:
        return nothing
    share, where = chance.shares(chance.seeds(list(list_ids)), rules.shelf.places)
    rows, places = np.nonzero(share < explore.share)
    if not len(rows):
        return nothing
    slot = np.arange(len(rows)) - np.searchsorted(rows, rows)
    tries = np.full((len(list_ids), (int(slot.max()) + 1) * TRIES), -1, np.int64)
    left, steps = np.arange(len(rows)), np.arange(TRIES)
    while len(left):  # most events of a batch have one pool, though each has its own moment
        pool = rules.pool(explore, float(batch.now_ms[rows[left[0]]]))
        holds = pool.holds(batch.now_ms[rows[left]])
        mine, left = left[holds], left[~holds]
        if count := len(pool.numbers):
            begin = (where[rows[mine], places[mine]] * count).astype(np.int64)
            columns = slot[mine, None] * TRIES + steps
            tries[rows[mine, None], columns] = pool.numbers[(begin[:, None] + steps) % count]
    return tries, np.stack([rows, places, slot * TRIES], axis=1)


def _turns(places: int, pins: Sequence[Pin], alive: Mask, slots: Ints, first: int) -> list[list[Turn]]:
    """Return what may be picked at one place only: explored items, and pins, which come first in their columns."""
    turns: list[list[Turn]] = [[] for _ in range(places)]
    by_place = np.argsort(slots[:, 1], kind="stable")
    bounds = np.searchsorted(slots[by_place, 1], np.arange(places + 1))
    for place in range(places):
        chosen = slots[by_place[bounds[place] : bounds[place + 1]]]
        if len(chosen):
            columns = first + chosen[:, 2:] + np.arange(TRIES)
            turns[place].append(Turn(np.repeat(chosen[:, 0], TRIES), columns.ravel()))
    rows = np.arange(len(alive))
    for column, pin in enumerate(pins):
        turns[pin.at - 1].append(Turn(rows, np.full(len(rows), column), is_forced=True))
    return turns


def _windows(shelf: Shelf, gathered: _Gathered) -> list[Window]:
    return [Window(rule.n, rule.within or shelf.places, gathered[rule.of]) for rule in shelf.spread]


def _likeness(shelf: Shelf, gathered: _Gathered, scores: Floats, alive: Mask, first: int) -> Likeness | None:
    """Return the scores scaled to 0 to 1 over the candidates that may stand in the list; what has a turn is above."""
    if shelf.mmr is None:
        return None
    lowest = np.where(alive, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    highest = np.where(alive, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    span = np.where(highest > lowest, highest - lowest, 1)
    scaled = np.empty((len(scores), first + scores.shape[1]), np.float32)
    scaled[:, :first] = 10.0 + np.arange(first, 0, -1)
    scaled[:, first:] = shelf.mmr.weight * np.where(alive, (scores - lowest) / span, 0)
    return Likeness(shelf.mmr.weight, scaled, [gathered[name] for name in shelf.mmr.by])


def _codes(items: Items, name: str, numbers: Ints) -> npt.NDArray[np.int32]:
    facts = items.facts(name)
    codes: npt.NDArray[Any] = facts.values[np.maximum(numbers, 0)]
    if facts.coder is None:
        known = ~np.isnan(codes)
        places = np.unique(codes[known], return_inverse=True)[1]
        whole = np.full(codes.shape, NOT_KNOWN, np.int32)
        whole[known] = places
        return whole
    return codes
