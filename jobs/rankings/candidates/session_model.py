"""Candidates from the session model: a batch of sessions → ONNX → each session's best items.

Shapes: B sessions, T kept events of the longest, C context features, K candidates, N items.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np

from jobs.rankings.arrays import Floats, Ints
from jobs.rankings.candidates import Candidates
from jobs.rankings.candidates.newcomers import NewItems
from jobs.rankings.session import Session
from models.serving.bundle import SEGMENT, Bias, Bundle

# The GRU walks a whole call through T steps, so one session of 50 events makes 200 short ones expensive: sessions of
# like length share a call. Larger calls lose too, as their scores leave the processor's cache: at 18,009 items and 3
# events a row took 34, 37, 41, 45 and 50 µs in calls of 8, 16, 32, 64 and 128 rows, the fastest of some; at 217 items
# 16, 11, 9, 10 and 11. In a whole batch, calls of 8 rows gain nothing over 16, as each reads the whole item matrix (one
# core, 2026-11-30). Padding B to a power of two cost what the added rows cost and gained nothing, so it isn't done.
GROUP_ROWS = 16


class ModelInput(NamedTuple):
    """Sessions as the model reads them: left-aligned, padded with 0; `lengths` may be 0 here."""

    items: Ints  # int64 [B, T]
    types: Ints  # int64 [B, T]
    gaps: Floats  # float32 [B, T], log1p(seconds since the kept event before), 0 for the first
    lengths: Ints  # int64 [B]


class SessionModel:
    """Scores sessions with one bundle."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Open the model. `threads` score the groups of a batch; onnxruntime lets go of the interpreter meanwhile."""
        self._bundle = bundle
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    @property
    def items(self) -> int:
        """Return N, the number of items that the model can list."""
        return len(self._bundle.items) - 1

    def candidates(
        self,
        batch: ModelInput,
        contexts: Floats,
        rows: Ints,
        k: int,
        bias: Bias | None = None,
        newcomers: NewItems | None = None,
        has_segments: bool = False,
    ) -> Candidates:
        """Return the best K = min(k, N) items of the sessions at `rows` (ascending), none of which may be empty.

        contexts: float32 [B, C]. `bias` (`Bundle.bias`) is added to the items' scores. `newcomers` are listed
        beside the model's own. Scores are the model's as they are, so they may be not finite. With `has_segments` the
        sessions' segments come along, which only a bundle with segments can give.
        """
        groups = length_groups(batch.lengths, rows)[::-1]  # the longest first: the last call to end is then a short one
        more = [*(["query"] if newcomers else []), *([SEGMENT] if has_segments else [])]

        def score(group: Ints) -> Candidates:
            lengths = batch.lengths[group]
            events = slice(lengths.max())
            items, types, gaps = batch.items[group, events], batch.types[group, events], batch.gaps[group, events]
            inputs = items, types, gaps, lengths, contexts[group]
            scores, best, *others = self._bundle.score_with(more, *inputs, k=k, bias=bias)
            found = Candidates(best, scores, others[-1] if has_segments else None)
            return _with_newcomers(found, others[0], newcomers) if newcomers else found

        spread = self._pool.map if self._pool and len(groups) > 1 else map
        parts = list(spread(score, groups))
        places = np.argsort(np.concatenate(groups))  # puts the groups' rows back into the order of `rows`
        items, scores = np.concatenate([each.items for each in parts]), np.concatenate([each.scores for each in parts])
        segments = [each.segments for each in parts if each.segments is not None]
        return Candidates(items, scores, np.concatenate(segments) if segments else None).of(places)

    def segments(self, batch: ModelInput, contexts: Floats, rows: Ints) -> Ints:
        """Return int64: the segments of the sessions at `rows`, none of which may be empty."""
        found = self.candidates(batch, contexts, rows, 1, has_segments=True).segments
        assert found is not None, "they were asked for"
        return found

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _with_newcomers(found: Candidates, queries: Floats, newcomers: NewItems) -> Candidates:
    """Return the best K of the candidates [B, K] and of new items, given the sessions' vectors [B, H]."""
    scores = queries @ newcomers.vectors[:, :-1].T + newcomers.vectors[:, -1]  # [B, M]
    scores[~np.isfinite(found.scores).all(axis=1)] = -np.inf  # what the model can't say of others isn't said of these
    new = np.broadcast_to(newcomers.numbers + 1, scores.shape)
    items, scores = np.concatenate([found.items, new], axis=1), np.concatenate([found.scores, scores], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : found.items.shape[1]]
    items, scores = (np.take_along_axis(each, order, axis=1) for each in (items, scores))
    return Candidates(items, scores, found.segments)


def length_groups(lengths: Ints, rows: Ints) -> list[Ints]:
    """Return `rows` in groups of like `lengths` (int64 [B]): each is one call of the model, padded to its longest.

    See GROUP_ROWS for why a batch isn't one call.
    """
    by_length = rows[np.argsort(lengths[rows], kind="stable")]
    return np.array_split(by_length, max(1, len(rows) // GROUP_ROWS))


def encode(sessions: Sequence[Session], bundle: Bundle) -> ModelInput:
    """Return the events of each session whose item and type the bundle knows, in order.

    A gap is measured to the kept event before, as in training, so an unknown item changes nothing.
    """
    counts = [len(session.items) for session in sessions]
    total = sum(counts)
    items = _codes(chain.from_iterable(session.items for session in sessions), bundle.item_index, total)
    types = _codes(chain.from_iterable(session.types for session in sessions), bundle.type_index, total)
    times = np.fromiter(chain.from_iterable(session.event_times_ms for session in sessions), np.int64, total)
    kept = (items > 0) & (types > 0)
    rows = np.repeat(np.arange(len(sessions)), counts)[kept]  # [M]: the session of each kept event
    lengths = np.bincount(rows, minlength=len(sessions))
    columns = np.arange(len(rows)) - np.repeat(lengths.cumsum() - lengths, lengths)  # [M]: its place in the session
    pauses_ms = np.diff(times[kept], prepend=0)
    pauses_ms[columns == 0] = 0
    shape = (len(sessions), int(lengths.max(initial=0)))
    batch = ModelInput(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.float32), lengths)
    batch.items[rows, columns] = items[kept]
    batch.types[rows, columns] = types[kept]
    batch.gaps[rows, columns] = np.log1p(pauses_ms / 1000)
    return batch


def _codes(names: chain[str], index: dict[str, int], total: int) -> Ints:
    """Return int64 [total]: the index of each name, 0 for one that isn't in it."""
    return np.fromiter(map(index.get, names, repeat(0)), np.int64, total)
