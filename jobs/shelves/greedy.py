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
    rows = np.arange(len(numbers))
    picked = np.full((len(numbers), places), -1, np.int64)
    counts = [np.zeros(numbers.shape, np.int8) for _ in windows]
    alike = np.zeros(numbers.shape, np.int8)
    penalty = (1 - likeness.weight) / len(likeness.codes) if likeness else 0.0
    has_twins = bool(turns)
    ended = np.zeros(len(numbers), bool)
    for place in range(places):
        may = _may(alive, is_open, windows, counts, turns[place] if turns else ())
        worth = np.where(may, likeness.scaled - np.float32(penalty) * alike, -np.inf) if likeness else may
        column = worth.argmax(axis=1)
        empty = ~may[rows, column]
        if late and empty.any():
            column[empty] = alive[empty, :late].argmax(axis=1)
            empty[empty] = ~alive[empty, column[empty]]
        ended |= empty
        if ended.all():
            break
        picked[:, place] = np.where(ended, -1, column)
        alive[rows, column] = False
        if has_twins:
            alive &= numbers != numbers[rows, column][:, None]
        if groups is not None:
            alive &= groups != _code(groups, rows, column, ended)
        equal: dict[int, Mask] = {}
        for window, count in zip(windows, counts, strict=True):
            count += _equal(equal, window.codes, rows, column, ended)
            leaving = place - window.within + 1
            if leaving >= 0:
                count -= window.codes == _code(window.codes, rows, picked[:, leaving], picked[:, leaving] < 0)
        if likeness:
            now_alike = sum(_equal(equal, codes, rows, column, ended).view(np.int8) for codes in likeness.codes)
            np.maximum(alike, now_alike, out=alike)
    return picked


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


def _code(codes: Codes, rows: Ints, column: Ints, ended: Mask) -> Codes:
    """Return the code of each row's column, int32 [B, 1]; `NOTHING` where it isn't known or the list has ended."""
    code = codes[rows, column]
    code[ended | (code < 0)] = NOTHING
    return code[:, None]


def _equal(known: dict[int, Mask], codes: Codes, rows: Ints, column: Ints, ended: Mask) -> Mask:
    """Return where codes equal what was picked; the same array is compared once a step."""
    mask = known.get(id(codes))
    if mask is None:
        mask = known[id(codes)] = codes == _code(codes, rows, column, ended)
    return mask
