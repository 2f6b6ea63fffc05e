"""Count the items that followed each item in training, as sparse rows that the graph adds to the scores.

A network learns what sessions have in common; counts know the pairs that are one shop's own. Followers came up to eight
clicks after an item or before it, successors right after it. Shapes: N items, M followers of an item.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import sparse

from models.clicks.dataset import Encoded

REACH = 8  # clicks apart at most
FADE = 0.5  # each click apart counts half as much
BACKWARD = 0.5  # an item that came before counts half as much as one that came after
KEPT = 60  # followers of an item
KEPT_SUCCESSORS = 20


class Rows(NamedTuple):
    """Hold the strongest followers, or successors, of each item, best first; row i is item i, row 0 is empty."""

    columns: np.ndarray  # int64 [N + 1, M], item - 1
    weights: np.ndarray  # float32 [N + 1, M], 0 where an item has fewer


def none(n_items: int) -> Rows:
    """Return rows without anything in them."""
    return Rows(np.zeros((n_items + 1, 1), np.int64), np.zeros((n_items + 1, 1), np.float32))


def followers(sessions: Encoded, n_items: int) -> Rows:
    """Return the strongest followers in sessions of items 1..N, oldest first (see `weigh`)."""
    return strongest(weigh(sessions, n_items), KEPT)


def successors(sessions: Encoded, n_items: int) -> Rows:
    """Return the items that came right after each item most often; the weight is log(1 + n) for n times.

    Such weights alone, after a softmax, are a first-order Markov chain to which each item is added once.
    """
    return strongest(succession(sessions, n_items).log1p(), KEPT_SUCCESSORS)


def succession(sessions: Encoded, n_items: int) -> sparse.csr_array:
    """Return [N, N]: how often the column's item came right after the row's."""
    pairs = np.array([pair for session in sessions for pair in pairwise(session)], np.int64).reshape(-1, 2) - 1
    return sparse.csr_array((np.ones(len(pairs), np.float32), pairs.T), shape=(n_items, n_items))


def weigh(sessions: Encoded, n_items: int) -> sparse.csr_array:
    """Return [N, N]: how strongly the column's item follows the row's, as the sum of two views of the same counts.

    The first view is the share of an item's clicks that led to the other one, where nearer ones count
    more. The second is the counts in both directions, divided by the root of both items' clicks: it favours rare pairs.
    """
    clicks = np.maximum(np.bincount(_flat(sessions), minlength=n_items + 1)[1:], 1).astype(np.float32)
    forward = _counts(sessions, n_items)
    led_to = sparse.diags_array(1 / clicks) @ forward
    root = sparse.diags_array(clicks**-0.5)
    companions = root @ (forward + BACKWARD * forward.T) @ root
    return sparse.csr_array(led_to + companions)


def _flat(sessions: Encoded) -> np.ndarray:
    return np.fromiter((item for session in sessions for item in session), np.int64)


def _counts(sessions: Encoded, n_items: int) -> sparse.csr_array:
    """Return [N, N]: how often the column's item came up to REACH clicks after the row's, by FADE ** (distance - 1)."""
    flat = _flat(sessions) - 1
    ends = np.cumsum([len(session) for session in sessions])
    left = np.repeat(ends, [len(session) for session in sessions]) - np.arange(len(flat))  # clicks left, itself too
    counts = sparse.csr_array((n_items, n_items), dtype=np.float32)
    for distance in range(1, REACH + 1):
        rows = np.flatnonzero(left > distance)
        weights = np.full(len(rows), FADE ** (distance - 1), np.float32)
        pairs = (weights, (flat[rows], flat[rows + distance]))
        counts = counts + sparse.csr_array(sparse.coo_array(pairs, shape=(n_items, n_items)))
    return counts


def strongest(scores: sparse.csr_array, kept: int) -> Rows:
    """Return the `kept` best columns of each row."""
    n_items = scores.shape[0]
    kept = min(kept, n_items)
    columns = np.zeros((n_items + 1, kept), np.int64)
    weights = np.zeros((n_items + 1, kept), np.float32)
    for row in range(n_items):
        begin, end = scores.indptr[row], scores.indptr[row + 1]
        best = begin + np.argsort(-scores.data[begin:end], kind="stable")[:kept]
        columns[row + 1, : len(best)] = scores.indices[best]
        weights[row + 1, : len(best)] = scores.data[best]
    return Rows(columns, weights)
