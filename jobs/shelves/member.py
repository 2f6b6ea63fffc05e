"""Ask for a whole batch at once which values stand in a list of their row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SLOTS = 1024  # of a row's table: 64 kB for 64 rows, which stays in the processor's cache
FEW = 100  # hits, which are looked up one by one faster than all together
STRIDE = np.int64(1) << 32


def member(codes: npt.NDArray[Any], lists: Sequence[Sequence[int]]) -> npt.NDArray[np.bool_]:
    """Return bool [B, K]: which of `codes` (int [B, K]) are in `lists` (B of them, codes from 0).

    A table a row, by the code's last bits, excludes nearly all. What it leaves is looked up.
    """
    counts = [len(each) for each in lists]
    total = sum(counts)
    if not total:
        return np.zeros((max(len(lists), codes.shape[0]), codes.shape[1]), bool)
    values = np.fromiter((code for each in lists for code in each), np.int64, total)
    rows = np.repeat(np.arange(len(lists)), counts)
    table = np.zeros((len(lists), SLOTS), bool)
    table[rows, values & (SLOTS - 1)] = True
    if codes.shape[0] != len(lists):
        codes = np.broadcast_to(codes, (len(lists), codes.shape[1]))
    offsets = (np.arange(len(lists)) * SLOTS)[:, None]
    found = table.ravel()[(codes & (SLOTS - 1)) + offsets]
    hits = np.nonzero(found)
    if len(hits[0]) < FEW:
        for row, column, code in zip(hits[0].tolist(), hits[1].tolist(), codes[hits].tolist(), strict=True):
            found[row, column] = code in lists[row]
    else:
        found[hits] = np.isin(hits[0] * STRIDE + codes[hits], rows * STRIDE + values)
    return found
