"""Divide visitors into segments: k-means over the vectors that the model compares with items.

A segment holds visitors who are likely to want the same items next. It says nothing of who they are, and it changes
with each event. When a model learns on, its vectors move. So each new segment gets the number of the old one with which
it shares the most visitors, and a shelf's rule on segment 3 goes on to mean the same people.

Shapes: Q visitors, N items, H hidden units, S segments.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import MiniBatchKMeans

from models.clicks.dataset import MAX_EVENTS, Session, context_at, pad
from models.quality.evaluate import TYPE_INDEX
from models.session.gru import SessionGRU

SEGMENTS = 8
LEAST = 50  # visitors of a segment, in the mean; where there are fewer, there are fewer segments
VISITORS = 20_000  # newest sessions that are divided
ROWS = 256
BATCH = 2_048
STARTS = 3  # of k-means, the best of which is taken
TYPICAL = 5  # items by which a segment is told


class Segments(NamedTuple):
    """Hold the segments of a model, and what a person is told of them."""

    centres: np.ndarray  # float32 [S, H]
    shares: list[float]  # of the visitors that were divided
    typical: list[list[str]]  # the items that set a segment's visitors apart, the most telling first
    kept: float = 1.0  # share of visitors who kept their segment when the model learned on

    def told(self) -> str:
        """Return the line for a person."""
        shares = ", ".join(f"{share:.0%}" for share in self.shares)
        return f"visitors are divided into {len(self.shares)} segments of {shares}" + (
            f"; {self.kept:.1%} keep theirs" if self.kept < 1 else ""
        )

    def of(self, vectors: np.ndarray) -> np.ndarray:
        """Return int64 [Q]: the segment of each visitor's vector [Q, H], the one whose centre is nearest."""
        return _nearest(vectors, self.centres)


class Visitors(NamedTuple):
    """Hold visitors as the model sees them at some event of their sessions."""

    prefixes: list[Session]
    vectors: np.ndarray  # float32 [Q, H]


def biases(centres: np.ndarray) -> np.ndarray:
    """Return float32 [S]: what makes the largest product with a centre that of the nearest one."""
    return (-0.5 * (centres**2).sum(1)).astype(np.float32)


def prefixes_of(sessions: Sequence[Session], index: Mapping[str, int], seed: int) -> list[Session]:
    """Return the newest sessions that hold an item of `index`, each up to an event of its own chosen by chance."""
    rng, found = np.random.default_rng(seed), []
    for session in reversed(sessions):
        prefix = session[: int(rng.integers(len(session))) + 1][-MAX_EVENTS:]
        if any(event.item in index for event in prefix):
            found.append(prefix)
        if len(found) == VISITORS:
            break
    return found[::-1]


@torch.no_grad()
def vectors_of(model: SessionGRU, prefixes: Sequence[Session], index: Mapping[str, int]) -> np.ndarray:
    """Return float32 [Q, H]: the vectors with which the model compares items."""
    vectors = model.eval().vectors()
    found = np.empty((len(prefixes), vectors.shape[1]), np.float32)
    order = sorted(range(len(prefixes)), key=lambda place: len(prefixes[place]))  # batches pad little
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        part = [prefixes[row] for row in rows]
        arrays = [*pad(part, index, TYPE_INDEX), context_at([each[-1] for each in part], model.n_context)]
        inputs = [torch.from_numpy(array).to(vectors.device) for array in arrays]
        found[rows] = model.asked(vectors, *inputs).cpu().numpy()
    return found


def divide(
    model: SessionGRU, sessions: Sequence[Session], index: Mapping[str, int], seed: int, count: int = SEGMENTS
) -> Segments | None:
    """Return at most `count` segments of the newest visitors, the largest first; None where there would be one."""
    prefixes = prefixes_of(sessions, index, seed)
    count = min(count, len(prefixes) // LEAST)
    if count < 2:
        return None
    visitors = Visitors(prefixes, vectors_of(model, prefixes, index))
    count = min(count, len(np.unique(visitors.vectors, axis=0)))
    if count < 2:
        return None
    means = MiniBatchKMeans(count, random_state=seed, n_init=STARTS, batch_size=BATCH).fit(visitors.vectors)
    by_size = np.argsort(-np.bincount(means.labels_, minlength=count), kind="stable")
    return describe(means.cluster_centers_[by_size], visitors)


def carry(
    before: SessionGRU,
    old: Mapping[str, int],
    after: SessionGRU,
    new: Mapping[str, int],
    sessions: Sequence[Session],
    seed: int,
) -> Segments | None:
    """Return the segments of a model that learned on from `sessions`, None where it had none.

    `old` and `new` are the indexes of the items before and after. The centres begin at the means of the visitors whom
    the old model counted to each segment, and mini-batches of all of them move them. A segment then gets the number
    of the old one, so that as many visitors as possible keep theirs. Where few came, the centres stay.
    """
    segments = before.segments
    if segments is None:
        return None
    prefixes = prefixes_of(sessions, old, seed)
    if len(prefixes) < LEAST * len(segments.centres):
        return segments
    were = segments.of(vectors_of(before, prefixes, old))
    visitors = Visitors(prefixes, vectors_of(after, prefixes, new))
    begun = _means(visitors.vectors, were, segments.centres)
    means = MiniBatchKMeans(len(begun), init=begun, n_init=1, random_state=seed, batch_size=BATCH)
    order = np.random.default_rng(seed).permutation(len(prefixes))
    for start in range(0, len(order), BATCH):
        if len(rows := order[start : start + BATCH]) >= len(begun):
            means.partial_fit(visitors.vectors[rows])
    found = means.cluster_centers_.astype(np.float32)
    carried = describe(in_order_of(were, found, visitors.vectors), visitors)
    return carried._replace(kept=float((carried.of(visitors.vectors) == were).mean()))


def in_order_of(before: np.ndarray, centres: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the centres [S, H] in the order by which as many visitors as possible have the segment of `before` [Q]."""
    shared = np.zeros((len(centres), len(centres)), np.int64)
    np.add.at(shared, (before, _nearest(vectors, centres)), 1)
    ordered: np.ndarray = centres[linear_sum_assignment(shared, maximize=True)[1]]
    return ordered


def describe(centres: np.ndarray, visitors: Visitors) -> Segments:
    """Return segments with these centres, and what the visitors say of them."""
    segments = Segments(centres.astype(np.float32), [], [])
    numbers = segments.of(visitors.vectors)
    everybody = Counter(event.item for prefix in visitors.prefixes for event in prefix)
    total = sum(everybody.values())
    for segment in range(len(centres)):
        members = np.flatnonzero(numbers == segment)
        clicks = Counter(event.item for row in members for event in visitors.prefixes[row])
        own = max(1, sum(clicks.values()))
        # What an item adds to how far the segment's clicks are from everybody's (Kullback and Leibler's divergence).
        weight = {item: n / own * math.log(n / own * total / everybody[item]) for item, n in clicks.items()}
        telling = sorted((item for item in weight if weight[item] > 0), key=lambda item: (-weight[item], item))
        segments.shares.append(round(len(members) / len(numbers), 4))
        segments.typical.append(telling[:TYPICAL])
    return segments


def _nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return int64 [Q]."""
    found: np.ndarray = (vectors @ centres.T + biases(centres)).argmax(1)
    return found


def _means(vectors: np.ndarray, numbers: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return float32 [S, H]: the mean vector of each segment, its old centre where it has no visitor."""
    means = centres.copy()
    for segment in range(len(centres)):
        if (members := numbers == segment).any():
            means[segment] = vectors[members].mean(0)
    return means
