"""List items by counts and nearest neighbours: the baselines that a model has to beat.

Each learns from encoded sessions (item numbers 1..N, oldest first, sessions in time order) and lists numbered items
with scores, as `Bundle.score` does. Of equal counts the more popular item goes first. `evaluate` ranks a target behind
all items with its score, so a baseline that left ties would look weaker than it is.

Shapes: N items, L listed items.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from scipy import sparse

from models.clicks.dataset import Encoded


class Recommender(Protocol):
    """List items for one session."""

    def list(self, session: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return scores [L] and items [L] in 1..N, in any order, for a session of one item or more.

        An item that isn't listed has no score.
        """


class Popular:
    """List the items that were seen most often, for any session."""

    def __init__(self, sessions: Encoded, n_items: int) -> None:
        counts = np.bincount(np.concatenate([[0], *sessions]).astype(np.int64), minlength=n_items + 1)[1:]
        self.share = counts / (counts.sum() + 1)  # below 1, so that it breaks ties and does nothing else
        self._items = np.arange(1, n_items + 1)

    def list(self, session: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        return self.share, self._items


class PopularInSession:
    """List the session's own items, the most frequent first, then the popular ones."""

    def __init__(self, sessions: Encoded, n_items: int) -> None:
        self._popular = Popular(sessions, n_items)

    def list(self, session: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        scores, items = self._popular.list(session)
        scores = scores.copy()
        np.add.at(scores, np.asarray(session) - 1, 1)
        return scores, items


class Markov:
    """List items by how often they came right after the session's last item."""

    def __init__(self, sessions: Encoded, n_items: int) -> None:
        self._popular = Popular(sessions, n_items)
        pairs = np.array([pair for session in sessions for pair in pairwise(session)], np.int64).reshape(-1, 2) - 1
        self._next = sparse.csr_array((np.ones(len(pairs)), pairs.T), shape=(n_items, n_items))

    def list(self, session: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        scores, items = self._popular.list(session)
        return _raised(scores, self._next, session[-1] - 1), items


class CoVisitation:
    """List items by how many sessions held them together with the session's items, as a cosine."""

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
    """List items by the votes of like sessions: VMIS-kNN (Kersbergen, Sprangers, Schelter: Serenade, SIGMOD 2022).

    Candidates are the `recent` latest sessions with one of the session's last `last` items. The `neighbours` most alike
    of them vote for their items. A vote weighs by likeness, by how late in the session the first shared item came, and
    by 1 + `idf` * the logarithm of the item's inverse frequency. The session's last item is never listed.
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
        owners, likeness, places = [], [], []
        latest_first = list(dict.fromkeys(reversed(recent)))
        for item in latest_first:
            place = recent[::-1].index(item)  # 0: the last event
            sessions = self._sessions_of[item]
            owners.append(sessions)
            likeness.append(np.full(len(sessions), (len(recent) - place) / len(latest_first)))
            places.append(np.full(len(sessions), place))
        neighbours, slots = np.unique(np.concatenate(owners), return_inverse=True)
        if not len(neighbours):
            return np.zeros(0), np.zeros(0, np.int64)
        alike = np.bincount(slots, np.concatenate(likeness))
        first = np.full(len(neighbours), len(recent))
        np.minimum.at(first, slots, np.concatenate(places))
        neighbours, alike, first = (array[-self._recent :] for array in (neighbours, alike, first))
        if len(neighbours) > self._neighbours:  # the most alike; of equally like ones the later
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
    """Return a copy of `scores` [N] with a sparse row added."""
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
