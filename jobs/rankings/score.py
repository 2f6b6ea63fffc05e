"""Sessions → ranked items: the ONNX model on a batch, then the rules.

Shapes: B sessions, T kept events of the longest, C context features, K candidates, N items.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from typing import Literal, NamedTuple

import numpy as np

from jobs.rankings import rules
from jobs.rankings.session import Session
from models.serving.bundle import Bundle

SCORE_DECIMALS = 6  # float32 carries 7 digits; without rounding a score is 18 characters in every list

# The GRU walks a whole call through T steps, so one session of 50 events makes 200 short ones expensive. Measured, µs a
# row at 200 rows, sessions of 7 events on average and 50 at most, one core: 59 in one call, 24 in eight (217 items);
# 136 and 103 (18,009 items). Groups under 16 rows lose again, as every call reads the whole item matrix. Padding B to a
# power of two cost what the added rows cost and gained nothing, so it isn't done.
GROUP_ROWS = 16
MAX_GROUPS = 8

# A list is asked for with room for what the rules drop; a row that drops more is asked again, for this many times more.
SPARE_ITEMS = 10
WIDER = 8

Fallback = Literal["popular", "model_error", "no_consent"]
Ranking = tuple[list[str], list[float]]  # item ids and their scores, best first


class RankedList(NamedTuple):
    """What a visitor should see, best first; `scores` is parallel to `items`, all 0.0 where a `fallback` is named."""

    items: list[str]
    scores: list[float]
    fallback: (
        Fallback | None
    )  # popular: no known item in the session; model_error: a score that isn't finite; no_consent
    session_items: list[str]  # what the model saw of the session, oldest first


class ModelInput(NamedTuple):
    """Sessions as the model reads them: left-aligned, padded with 0; `lengths` int64 [B] may be 0 here."""

    items: np.ndarray  # int64 [B, T]
    types: np.ndarray  # int64 [B, T]
    gaps: np.ndarray  # float32 [B, T], log1p(seconds since the kept event before), 0 for the first
    lengths: np.ndarray  # int64 [B]


class Scorer:
    """Ranks batches of sessions with one bundle."""

    def __init__(self, bundle: Bundle, list_size: int, threads: int = 1) -> None:
        """`threads` score the groups of a batch; onnxruntime lets go of the interpreter while it works."""
        self._bundle = bundle
        self._list_size = list_size
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._ids = np.array(bundle.items, dtype=object)  # [N + 1]
        self._offered = rules.catalogue(bundle.items, bundle.names)  # [N + 1]
        self._popular = np.array([bundle.item_index[item] for item in bundle.popular])

    def rank(self, sessions: Sequence[Session], contexts: np.ndarray) -> list[RankedList]:
        """One list per session, in order; `contexts`: float32 [B, C].

        A session without an item and type that the model knows gets the popularity list, and so does one whose scores
        aren't all finite: a list with a broken order is worse than one that says what it is.
        """
        batch = encode(sessions, self._bundle)
        known = np.flatnonzero(batch.lengths)
        lists = dict(zip(known.tolist(), self._personal(sessions, batch, contexts, known), strict=True))
        fallbacks: list[Fallback | None] = ["popular"] * len(sessions)
        for row, found in lists.items():
            fallbacks[row] = "model_error" if found is None else None
        others = [row for row, fallback in enumerate(fallbacks) if fallback]
        lists |= dict(zip(others, self._popular_lists([sessions[row] for row in others]), strict=True))
        seen = self._session_items(batch)
        return [RankedList(*lists[row], fallbacks[row], seen[row]) for row in range(len(sessions))]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def _personal(
        self, sessions: Sequence[Session], batch: ModelInput, contexts: np.ndarray, known: np.ndarray
    ) -> list[Ranking | None]:
        """Ids and scores for the rows `known`, None for a row with a score that isn't finite."""
        k, found, missing = self._list_size + SPARE_ITEMS, {}, known
        while missing.size:
            scores, items = self._score(batch, contexts, missing, k)
            finite = np.isfinite(scores).all(axis=1)
            found |= dict.fromkeys(missing[~finite].tolist())
            rows = missing[finite]
            lists = self._keep(items[finite], scores[finite], [sessions[row] for row in rows.tolist()])
            found |= dict(zip(rows.tolist(), lists, strict=True))
            short = [len(ids) < self._list_size for ids, _ in lists]
            missing = rows[short] if k < len(self._bundle.items) - 1 else rows[:0]
            k *= WIDER
        return [found[row] for row in known.tolist()]

    def _score(
        self, batch: ModelInput, contexts: np.ndarray, known: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and items [len(known), K] of the sessions that the model can read; K is k, or the whole catalogue."""
        groups = length_groups(batch.lengths, known)

        def score(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            lengths = batch.lengths[rows]
            items, types, gaps = (part[rows, : lengths.max()] for part in batch[:3])
            return self._bundle.score(items, types, gaps, lengths, contexts[rows], k)

        # The longest first: the last one to end is then a short one.
        spread = self._pool.map if self._pool and len(groups) > 1 else map
        outputs = list(spread(score, groups[::-1]))
        places = np.argsort(np.concatenate(groups[::-1]))  # `known` is ascending: puts the groups' rows in its order
        scores, items = (np.concatenate(parts)[places] for parts in zip(*outputs, strict=True))
        return scores, items

    def _popular_lists(self, sessions: Sequence[Session]) -> list[Ranking]:
        items = np.broadcast_to(self._popular, (len(sessions), len(self._popular)))
        return self._keep(items, np.zeros(items.shape, np.float32), sessions)

    def _keep(self, items: np.ndarray, scores: np.ndarray, sessions: Sequence[Session]) -> list[Ranking]:
        """Ids and scores of the first allowed candidates of each row of items and scores [B, K]."""
        index = self._bundle.item_index
        purchased = [[index[item] for item in session.purchased if item in index] for session in sessions]
        columns, counts = rules.first_allowed(rules.allowed(items, self._offered, purchased), self._list_size)
        ids = self._ids[np.take_along_axis(items, columns, axis=1)].tolist()
        rounded = np.take_along_axis(scores, columns, axis=1).astype(np.float64).round(SCORE_DECIMALS).tolist()
        return [(row[:n], numbers[:n]) for row, numbers, n in zip(ids, rounded, counts.tolist(), strict=True)]

    def _session_items(self, batch: ModelInput) -> list[list[str]]:
        ids = self._ids[batch.items].tolist()
        return [row[:length] for row, length in zip(ids, batch.lengths.tolist(), strict=True)]


def length_groups(lengths: np.ndarray, known: np.ndarray) -> list[np.ndarray]:
    """The rows of `known` in groups of like `lengths` (int64 [B]): each group is one ONNX call, padded to its longest.

    See GROUP_ROWS for why a batch isn't one call.
    """
    by_length = known[np.argsort(lengths[known], kind="stable")]
    return np.array_split(by_length, min(MAX_GROUPS, max(1, len(known) // GROUP_ROWS)))


def encode(sessions: Sequence[Session], bundle: Bundle) -> ModelInput:
    """The events of each session whose item and type the bundle knows, in order.

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


def _codes(names: chain[str], index: dict[str, int], total: int) -> np.ndarray:
    """int64 [total]: the index of each name, 0 for one that isn't in it."""
    return np.fromiter(map(index.get, names, repeat(0)), np.int64, total)
