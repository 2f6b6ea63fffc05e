"""recall@20 and MRR@20: every prefix of every session is a question, every item of the catalogue a candidate.

    python -m models.evaluate --bundle models/artifacts/eshop --dataset eshop --data eshop_clothing_2008.csv.gz

The protocol of GRU4Rec's evaluation: items seen in the session aren't filtered, an item that training never saw
counts as a miss, and ties are conservative: a target stands behind every item with the same score.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.baselines import Markov, Popularity
from models.bundle import CONTEXT_FEATURES, load_bundle
from models.dataset import EVENT_TYPES, Batch, Parts, Session, pad, read

Score = Callable[..., tuple[np.ndarray, np.ndarray]]  # items, types, gaps, lengths, context → scores, listed items

CUTOFF = 20
BATCH_ROWS = 128


class Question(NamedTuple):
    """The events up to now, and the item that came next (0: one that training never saw)."""

    prefix: Session
    target: int


def questions(sessions: list[Session], item_index: dict[str, int]) -> list[Question]:
    """n - 1 questions of a session with n events, shortest prefix first, so that batches pad little."""
    asked = [
        Question(session[:end], item_index.get(session[end].item, 0))
        for session in sessions
        for end in range(1, len(session))
    ]
    return sorted(asked, key=lambda question: len(question.prefix))


def target_ranks(scores: np.ndarray, listed: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank of each target from 1, [B]; inf where it isn't listed. Ties are conservative.

    `scores` and `listed` are [B, K] in any order. K has to exceed the cutoff or be the whole catalogue: a tie that
    runs over the end of the list is counted only as far as the list goes.
    """
    at_target = listed == targets[:, None]  # [B, K]
    target_scores = np.where(at_target, scores, -np.inf).max(axis=1)  # [B]
    ranks = (scores >= target_scores[:, None]).sum(axis=1).astype(float)
    return np.where(at_target.any(axis=1), ranks, np.inf)


def metrics(ranks: np.ndarray, cutoff: int = CUTOFF) -> dict[str, float]:
    """Share of targets within the cutoff, and the mean of 1/rank with 0 beyond it."""
    hit = ranks <= cutoff
    return {
        f"recall@{cutoff}": float(hit.mean()),
        f"mrr@{cutoff}": float(np.where(hit, 1 / ranks, 0).mean()),
        "questions": len(ranks),
    }


def evaluate(score: Score, sessions: list[Session], item_index: dict[str, int]) -> dict[str, float]:
    """Metrics of one scorer; a prefix without a known item counts as a miss, for every scorer alike."""
    type_index = {name: index for index, name in enumerate(EVENT_TYPES, start=1)}
    asked = questions(sessions, item_index)
    ranks = []
    for start in range(0, len(asked), BATCH_ROWS):
        rows = asked[start : start + BATCH_ROWS]
        batch: Batch = pad([question.prefix for question in rows], item_index, type_index)
        context = np.zeros((len(rows), len(CONTEXT_FEATURES)), np.float32)
        targets = np.array([question.target for question in rows])
        found = target_ranks(*score(*batch, context), targets)
        ranks.append(np.where(batch.items[:, 0] > 0, found, np.inf))
    return metrics(np.concatenate(ranks))


def compare(score: Score, parts: Parts, item_index: dict[str, int]) -> dict[str, dict[str, float]]:
    """The model beside its baselines on the test part; all of them learned from `parts.ship`."""
    scorers = {
        "model": score,
        "markov": Markov(parts.ship, item_index).score,
        "popularity": Popularity(parts.ship, item_index).score,
    }
    return {name: evaluate(scorer, parts.test, item_index) for name, scorer in scorers.items()}


def main() -> None:
    """Print the test metrics of a bundle and of the baselines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--dataset", choices=["eshop", "serenade"], required=True)
    parser.add_argument("--data", type=Path, required=True, help="eshop: the csv.gz; serenade: the folder")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    print(json.dumps(compare(bundle.score, read(arguments.dataset, arguments.data), bundle.item_index), indent=2))


if __name__ == "__main__":
    main()
