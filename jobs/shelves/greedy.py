"""Pick a batch of lists place by place. Each step depends on what stands already, and on nothing else.

Shapes: B lists, C columns (items that may be picked, the better ones first), P places.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]

NOTHING = -3  # equals no code, not even that of what isn't known


class Window(NamedTuple):
    """Of any `within` neighbouring places at most `n` have one code."""

    n: int
    within: int
    codes: Codes  # [B, C], -1 where it isn't known: that is like nothing


class Likeness(NamedTuple):
    """Weigh each score, scaled to 0 to 1, against the likeness to what stands already."""

    weight: float
    scaled: Floats  # [B, C]
    codes: Sequence[Codes]  # each [B, C]


class Turn(NamedTuple):
    """Columns that may be picked at one place only, before all others."""

    rows: Ints  # [T]
    columns: Ints  # [T]
    is_forced: bool = False  # windows don't hold for it


def greedy(
    numbers: Ints,
    alive: Mask,
    is_open: Mask,
    places: int,
    *,
    windows: Sequence[Window] = (),
    groups: Codes | None = None,
    likeness: Likeness | None = None,
    turns: Sequence[Sequence[Turn]] = (),
    late: int = 0,
) -> Ints:
    """Return the columns picked, int64 [B, P], -1 behind a list's end.

    `alive` (changed here) are the columns that may stand in the list, `is_open` those that may be picked at any place.
    What has the number of an item that was picked, or its group, is dead from then on. Where nothing may
    be picked, the first `late` columns may, wherever their turn would be.
    """
    if not (windows or likeness or turns or groups is not None):
        return _in_order(alive & is_open, places)
    first = np.arange(len(numbers)) * numbers.shape[1]  # of each row, in flat arrays
    picked = np.full((len(numbers), places), -1, np.int64)
    fields = _Fields(first, [window.codes for window in windows], likeness.codes if likeness else (), groups)
    twins = numbers.astype(np.int32) if turns else None
    counts = [np.zeros(numbers.shape, np.int8) for _ in windows]
    alike = np.zeros(numbers.shape, np.int8)
    penalty = np.float32((1 - likeness.weight) / len(likeness.codes) if likeness else 0)
    ended = np.zeros(len(numbers), bool)
    for place in range(places):
        may = _may(alive, is_open, windows, counts, turns[place] if turns else ())
        column = _best(may, likeness, penalty, alike)
        empty = ~may.ravel().take(first + column)
        if late and empty.any():
            column[empty] = alive[empty, :late].argmax(axis=1)
            empty &= ~alive.ravel().take(first + column)
        ended |= empty
        if ended.all():
            break
        picked[:, place] = np.where(ended, -1, column)
        at = first + column
        alive.reshape(-1)[at] = False
        if twins is not None:
            alive &= twins != twins.ravel().take(at)[:, None]
        if groups is not None:
            alive &= ~fields.equal(groups, at, place)
        for window, count in zip(windows, counts, strict=True):
            count += fields.equal(window.codes, at, place)
            if place + 1 >= window.within:
                count -= fields.equal_again(window.codes, place + 1 - window.within)
        if likeness:
            same, *more = (fields.equal(codes, at, place).view(np.int8) for codes in likeness.codes)
            for mask in more:  # np.add.reduce of a list would copy it into an array first: seven times as slow
                same = same + mask
            np.maximum(alike, same, out=alike)
    return picked


class _Fields:
    """The codes by which items are equal; what isn't known equals nothing. A list that has ended picks nothing more,
    so what is compared with it doesn't matter.
    """

    def __init__(self, first: Ints, *fields: Sequence[Codes] | Codes | None) -> None:
        arrays = [
            each
            for field in fields
            if field is not None
            for each in ([field] if isinstance(field, np.ndarray) else field)
        ]
        self._own = {id(codes): np.where(codes < 0, NOTHING, codes).astype(np.int32).ravel() for codes in arrays}
        self._picked: dict[tuple[int, int], Codes] = {}
        self._place, self._equal = -1, dict[int, Mask]()

    def equal(self, codes: Codes, at: Ints, place: int) -> Mask:
        """Return where codes equal those of what was picked at a place; several rules of one field compare once."""
        if place != self._place:
            self._place, self._equal = place, {}
        mask = self._equal.get(id(codes))
        if mask is None:
            own = self._picked[id(codes), place] = self._own[id(codes)].take(at)[:, None]
            mask = self._equal[id(codes)] = codes == own
        return mask

    def equal_again(self, codes: Codes, place: int) -> Mask:
        """Return what `equal` returned at an earlier place."""
        mask: Mask = codes == self._picked[id(codes), place]
        return mask


def _best(may: Mask, likeness: Likeness | None, penalty: np.float32, alike: Counts) -> Ints:
    if likeness is None:
        first: Ints = may.argmax(axis=1)
        return first
    worth = likeness.scaled - penalty * alike
    np.copyto(worth, -np.inf, where=~may)
    best: Ints = worth.argmax(axis=1)
    return best


def _in_order(may: Mask, places: int) -> Ints:
    """Return the first columns that may be picked: no step depends on another."""
    picked = np.full((len(may), places), -1, np.int64)
    columns = np.argsort(~may, axis=1, kind="stable")[:, :places]
    picked[:, : columns.shape[1]] = np.where(np.take_along_axis(may, columns, axis=1), columns, -1)
    return picked


def _may(
    alive: Mask, is_open: Mask, windows: Sequence[Window], counts: Sequence[Counts], turns: Sequence[Turn]
) -> Mask:
    """Return the columns that may be picked at a place."""
    may = alive & is_open
    for window, count in zip(windows, counts, strict=True):
        may &= count < window.n
    for turn in turns:
        at = turn.rows, turn.columns
        may[at] = alive[at]
        for window, count in () if turn.is_forced else zip(windows, counts, strict=True):
            may[at] &= count[at] < window.n
    return may
