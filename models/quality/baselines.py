"""What the model has to beat, and what serves when there is none: counts and nearest neighbours, on the same footing.

Each learns from encoded sessions (item numbers 1..N, oldest first, sessions in time order) and lists numbered items
with scores, as `Bundle.score` does. Where counts are equal the more popular item goes first; otherwise the conservative
tie rule of `evaluate` would rank all of them behind each other, and the baseline would be weaker than it is.

Shapes: N items, L listed items.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from scipy import sparse

from models.clicks.dataset import Encoded


class Recommender(Protocol):
    """Lists items for one session."""

    def list(self, session: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Scores [L] and items [L] in 1..N, in any order, of a session of at least one item; others score nothing."""


class Popular:
    """The items seen most often, whatever the session."""

    def __init__(self, sessions: Encoded, n_items: int) -> None:
        counts = np.bincount(np.concatenate([[0], *sessions]).astype(np.int64), minlength=n_items + 1)[1:]
        self.share = counts / (counts.sum() + 1)  # below 1: breaks ties, and never more than that
        self._items = np.arange(1, n_items + 1)

    def list(self, session: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        return self.share, self._items


class PopularInSession:
    """The session's own items, the most frequent first, then the popular ones."""

    def __init__(self, sessions: Encoded, n_items: int) -> None:
        self._popular = Popular(sessions, n_items)

    def list(self, session: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        scores, items = self._popular.list(session)
        scores = scores.copy()
        np.add.at(scores, np.asarray(session) - 1, 1)
        return scores, items


class Markov:
    """How often each item came right after the last one."""

    def __init__(self, sessions: Encoded, n_items: int) -> None:
        self._popular = Popular(sessions, n_items)
        pairs = np.array([pair for session in sessions for pair in pairwise(session)], np.int64).reshape(-1, 2) - 1
        self._next = sparse.csr_array((np.ones(len(pairs)), pairs.T), shape=(n_items, n_items))

    def list(self, session: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        scores, items = self._popular.list(session)
        return _raised(scores, self._next, session[-1] - 1), items


class CoVisitation:
    """How many sessions held each item together with the session's items, by cosine."""

    def __init__(self, sessions: Encoded, n_items: int) -> None:
        self._popular = Popular(sessions, n_items)
        rows = np.repeat(np.arange(len(sessions)), [len(set(session)) for session in sessions])
        columns = np.array([item - 1 for session in sessions for item in set(session)], np.int64)
        held = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(sessions), n_items))
        together = sparse.csr_array(held.T @ held)
        together.setdiag(0)
        length = 1 / np.sqrt(np.maximum(held.sum(axis=0), 1))
        self._cosine = sparse.csr_array(sparse.diags_array(length) @ together @ sparse.diags_array(length))

    def list(self, session: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        scores, items = self._popular.list(session)
        scores = scores * 1e-6  # cosines are small
        for item in set(session):
            scores = _raised(scores, self._cosine, item - 1)
        return scores, items


class VmisKnn:
    """Vector-multiplication-indexed session kNN (Kersbergen, Sprangers, Schelter: Serenade, SIGMOD 2022).

    Of the `recent` latest sessions with an item of the session's last `last` ones, the `neighbours` most alike vote for
    their items: by likeness, how late in the session the first shared item came, and 1 + `idf` * inverse frequency. The
    last item itself is never listed.
    """

    def __init__(
        self,
        sessions: Encoded,
        n_items: int,
        recent: int = 1500,
        neighbours: int = 300,
        last: int = 4,
        idf: float = 2.0,
    ) -> None:
        self._recent, self._neighbours, self._last = recent, neighbours, last
        unique = [list(dict.fromkeys(session)) for session in sessions]
        lengths = np.array([len(session) for session in unique])
        self._ends = lengths.cumsum()
        self._starts = self._ends - lengths
        self._items = np.fromiter((item for session in unique for item in session), np.int64, int(lengths.sum()))
        owners = np.repeat(np.arange(len(unique)), lengths)
        order = np.argsort(self._items, kind="stable")  # within an item, sessions from old to new
        held = np.bincount(self._items, minlength=n_items + 1)
        stops = held.cumsum()
        self._sessions_of = [
            owners[order[stop - count : stop]][-recent:] for stop, count in zip(stops, held, strict=True)
        ]
        self._weight = 1 + idf * np.log(max(len(sessions), 1) / np.maximum(held, 1))

    def list(self, session: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        recent = list(session)[-self._last :]
        found, likeness, places = [], [], []
        latest_first = list(dict.fromkeys(reversed(recent)))
        for item in latest_first:
            place = recent[::-1].index(item)  # 0: the last event
            sessions = self._sessions_of[item]
            found.append(sessions)
            likeness.append(np.full(len(sessions), (len(recent) - place) / len(latest_first)))
            places.append(np.full(len(sessions), place))
        neighbours, slots = np.unique(np.concatenate(found), return_inverse=True)
        if not len(neighbours):
            return np.zeros(0), np.zeros(0, np.int64)
        alike = np.bincount(slots, np.concatenate(likeness))
        first = np.full(len(neighbours), len(recent))
        np.minimum.at(first, slots, np.concatenate(places))
        neighbours, alike, first = (each[-self._recent :] for each in (neighbours, alike, first))
        if len(neighbours) > self._neighbours:  # the most alike, the later one where they are equally so
            best = np.lexsort((neighbours, alike))[-self._neighbours :]
            neighbours, alike, first = neighbours[best], alike[best], first[best]
        votes = alike * (1 - 0.1 * (first + 1))
        items = np.concatenate([self._items[self._starts[n] : self._ends[n]] for n in neighbours])
        counts = (self._ends - self._starts)[neighbours]
        scores = np.bincount(items, np.repeat(votes, counts) * self._weight[items])
        listed = np.unique(items)
        listed = listed[listed != session[-1]]
        return scores[listed], listed


def _raised(scores: np.ndarray, matrix: sparse.csr_array, row: int) -> np.ndarray:
    """A copy of `scores` [N] with a sparse row added."""
    begin, end = matrix.indptr[row], matrix.indptr[row + 1]
    raised = scores.copy()
    raised[matrix.indices[begin:end]] += matrix.data[begin:end]
    return raised


BASELINES = {
    "popular": Popular,
    "popular_in_session": PopularInSession,
    "markov": Markov,
    "co_visitation": CoVisitation,
    "vmis_knn": VmisKnn,
}
