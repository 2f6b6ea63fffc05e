"""Measure ranked lists: recall, MRR and nDCG with intervals, coverage, popularity, and the same by slices.

The protocol is that of GRU4Rec's evaluation. Every prefix of every session is a question, and every item of the
catalogue a candidate. Items that the session has seen aren't filtered. An item that training never saw counts as a
miss. Ties are conservative: a target ranks behind every item with the same score. What a bundle wouldn't show
(`models/serving/offered.py`) is no candidate, and a miss as a target.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.clicks.dataset import EVENT_TYPES, context_at, pad
from models.clicks.sessions import Question

if TYPE_CHECKING:
    from models.quality.baselines import Recommender  # needs scipy

Score = Callable[..., tuple[np.ndarray, np.ndarray]]  # items, types, gaps, lengths, context, k → scores, listed items

CUTOFFS = (5, 10, 20)
LISTED = 100  # more than the largest cutoff, so that a tie that runs over it is seen
BATCH_ROWS = 256
CELLS = 1 << 24  # scores of every item at once, 64 MB
NORMAL_95 = 1.96
TYPE_INDEX = {name: index for index, name in enumerate(EVENT_TYPES, start=1)}
LENGTHS = (("1", 1, 1), ("2", 2, 2), ("3-5", 3, 5), ("6+", 6, 1 << 30))  # of a prefix
# By the target's place among the items in order of popularity.
FREQUENCIES = (("head 10 %", 0.0, 0.1), ("middle 40 %", 0.1, 0.5), ("tail 50 %", 0.5, 1.0))


class Answers(NamedTuple):
    """Hold the lists for Q questions: the target's rank, float [Q], inf if it isn't listed, and the first 20 items.

    `listed` is int64 [Q, 20], padded with 0.
    """

    ranks: np.ndarray
    listed: np.ndarray


def rows_at_once(n_items: int) -> int:
    """Return of how many questions the scores of every item may be held at once."""
    return max(1, min(BATCH_ROWS, CELLS // n_items))


def target_ranks(scores: np.ndarray, listed: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return each target's rank from 1, [B], inf where it isn't listed. Ties are conservative.

    `scores` and `listed` are [B, K] in any order. K has to exceed the cutoff or be the whole catalogue, because a tie
    is counted only as far as the list goes.
    """
    at_target = listed == targets[:, None]  # [B, K]
    target_scores = np.where(at_target, scores, -np.inf).max(axis=1)  # [B]
    ranks = (scores >= target_scores[:, None]).sum(axis=1).astype(float)
    return np.where(at_target.any(axis=1) & (targets > 0), ranks, np.inf)


def metrics(ranks: np.ndarray, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Return recall, MRR and nDCG at each cutoff as fractions.

    A question has one target, so nDCG is the mean of 1 / log2(1 + rank).
    """
    value_of: dict[str, float] = {}
    for cutoff in cutoffs:
        hit = ranks <= cutoff
        value_of[f"recall@{cutoff}"] = float(hit.mean()) if len(ranks) else 0.0
        value_of[f"mrr@{cutoff}"] = float(np.where(hit, 1 / ranks, 0).mean()) if len(ranks) else 0.0
        value_of[f"ndcg@{cutoff}"] = float(np.where(hit, 1 / np.log2(1 + ranks), 0).mean()) if len(ranks) else 0.0
    return value_of


def intervals(ranks: np.ndarray, cutoff: int = 20) -> dict[str, list[float]]:
    """Return 95 % intervals of recall and MRR from their standard errors, as if all questions were independent."""
    if len(ranks) < 2:
        return {}
    values = {
        f"recall@{cutoff}": (ranks <= cutoff).astype(float),
        f"mrr@{cutoff}": np.where(ranks <= cutoff, 1 / ranks, 0),
    }
    interval_of = {}
    for name, sample in values.items():
        half = NORMAL_95 * sample.std(ddof=1) / len(sample) ** 0.5
        interval_of[name] = [float(sample.mean() - half), float(sample.mean() + half)]
    return interval_of


def answers_of_model(
    score: Score,
    questions: Sequence[Question],
    item_index: dict[str, int],
    n_context: int,
    offered: np.ndarray | None = None,
) -> Answers:
    """Ask a model. A prefix without an item that it knows has no answer, and counts as a miss for every scorer.

    `offered` is bool [N + 1]: which items may be shown, None for all.
    """
    hidden = 0 if offered is None else int((~offered[1:]).sum())
    order = sorted(range(len(questions)), key=lambda row: len(questions[row].prefix))  # batches pad little
    ranks, listed = answers = _misses(len(questions))
    for start in range(0, len(order), BATCH_ROWS):
        rows = np.array(order[start : start + BATCH_ROWS])
        batch = pad([questions[row].prefix for row in rows], item_index, TYPE_INDEX)
        context = context_at([questions[row].prefix[-1] for row in rows], n_context)
        real = batch.items[:, 0] > 0
        if not real.any():
            continue
        batch, rows, context = type(batch)(*(part[real] for part in batch)), rows[real], context[real]
        scores, items = score(*batch, context, k=LISTED + hidden)
        if hidden:
            scores, items = _offered(scores, items, offered)
        ranks[rows] = target_ranks(scores, items, _targets(questions, rows, item_index))
        first = items[:, : listed.shape[1]]
        listed[rows[:, None], np.arange(first.shape[1])] = first
    return answers


def _offered(scores: np.ndarray, items: np.ndarray, offered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lists, each [B, K], with what isn't offered at the end, as item 0 without a score."""
    may_show = offered[items]
    order = np.argsort(~may_show, axis=1, kind="stable")
    shown = np.where(may_show, scores, -np.inf), np.where(may_show, items, 0)
    return np.take_along_axis(shown[0], order, axis=1), np.take_along_axis(shown[1], order, axis=1)


def answers_of_baseline(baseline: "Recommender", questions: Sequence[Question], item_index: dict[str, int]) -> Answers:
    """Ask a baseline, one question at a time."""
    ranks, listed = answers = _misses(len(questions))
    for row, question in enumerate(questions):
        session = [item_index[event.item] for event in question.prefix if event.item in item_index]
        if session:
            scores, items = baseline.list(session)
            if not len(items):
                continue
            ranks[row] = target_ranks(scores[None], items[None], _targets(questions, [row], item_index))[0]
            best = items[np.argsort(-scores, kind="stable")[: listed.shape[1]]]
            listed[row, : len(best)] = best
    return answers


def answers_of_lists(
    lists: Sequence[Sequence[str]], questions: Sequence[Question], item_index: dict[str, int]
) -> Answers:
    """Rank targets in lists that another program made, which have no ties; `lists` and `questions` are parallel."""
    ranks, listed = answers = _misses(len(questions))
    for row, (ids, question) in enumerate(zip(lists, questions, strict=True)):
        if question.target in ids:
            ranks[row] = list(ids).index(question.target) + 1
        first = [item_index.get(item, 0) for item in ids[: listed.shape[1]]]
        listed[row, : len(first)] = first
    return answers


def report(answers: Answers, questions: Sequence[Question], item_index: dict[str, int]) -> dict:
    """Return the whole report of one scorer. `item_index` numbers the items from 1 in order of popularity."""
    targets = _targets(questions, range(len(questions)), item_index)
    lengths = np.array([len(question.prefix) for question in questions])
    share = targets / max(len(item_index), 1)
    shown = answers.listed[answers.listed > 0]
    return {
        **metrics(answers.ranks),
        "pairs": len(questions),
        "intervals": intervals(answers.ranks),
        "coverage@20": len(np.unique(shown)) / max(len(item_index), 1),
        # 0 is the most popular item of training, 1 the rarest. A value far below the targets' means popular lists.
        "mean_popularity_rank": {
            "listed": float(shown.mean() / len(item_index)) if len(shown) else None,
            "targets": float(share[targets > 0].mean()) if (targets > 0).any() else None,
        },
        "by_length": {name: _slice(answers.ranks[(lengths >= low) & (lengths <= high)]) for name, low, high in LENGTHS},
        "by_frequency": {
            name: _slice(answers.ranks[(targets > 0) & (share > low) & (share <= high)])
            for name, low, high in FREQUENCIES
        }
        | {"never seen": _slice(answers.ranks[targets == 0])},
    }


def _slice(ranks: np.ndarray) -> dict[str, float]:
    return {**metrics(ranks, (20,)), "pairs": len(ranks)}


def _misses(count: int) -> Answers:
    """Return answers without a listed item, to be filled in."""
    return Answers(np.full(count, np.inf), np.zeros((count, max(CUTOFFS)), np.int64))


def _targets(questions: Sequence[Question], rows: Sequence[int], item_index: dict[str, int]) -> np.ndarray:
    return np.array([item_index.get(questions[row].target, 0) for row in rows])
