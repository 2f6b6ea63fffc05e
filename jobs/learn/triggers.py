"""Decide when to learn: after enough sessions, enough time, or when the model no longer fits the clicks (pure)."""

from typing import NamedTuple

import numpy as np
from scipy.special import rel_entr

from models.clicks.dataset import Session
from models.clicks.sessions import questions_of
from models.quality.evaluate import answers_of_model, metrics
from models.serving.bundle import Bundle

BINS = 20  # groups of items, each with the same number of clicks in training
ASKED = 2_000  # questions by which recall is estimated; its standard error is then 1 %
LEAST_CLICKS = 500  # with fewer, PSI and recall say more about chance than about drift
LEAST_SESSIONS = 200  # since the last training, before drift is a reason: a refused version isn't tried again at once
LEAST_SHARE = 0.001  # an empty bin would make PSI infinite


class Triggers(NamedTuple):
    """The bounds; 0 switches one off."""

    sessions: int = 5_000  # that are over and new
    minutes: float = 60.0  # since the last time
    recall: float = 0.8  # of the recall@20 that the active version was published with, on the last hour's clicks
    psi: float = 0.25  # of the last hour's items against those of training; 0.25 is the usual "has shifted"


class Seen(NamedTuple):
    """The numbers that the triggers look at; `recall` and `psi` are None where there are too few clicks to tell."""

    sessions: int  # that are over, and new since the last training
    minutes: float  # since the last training
    recall: float | None
    psi: float | None


def due(bounds: Triggers, seen: Seen, published_recall: float | None) -> str:
    """Return the reason to learn now, "" if there is none."""
    if bounds.sessions and seen.sessions >= bounds.sessions:
        return f"{seen.sessions:,} new sessions"
    if bounds.minutes and seen.sessions and seen.minutes >= bounds.minutes:
        return f"{seen.minutes:.0f} minutes, {seen.sessions:,} new sessions"
    if seen.sessions < LEAST_SESSIONS:
        return ""
    if published_recall is not None and seen.recall is not None and seen.recall < bounds.recall * published_recall:
        return f"recall@20 of the last hour is {seen.recall:.3f}, it was published with {published_recall:.3f}"
    if bounds.psi and seen.psi is not None and seen.psi > bounds.psi:
        return f"PSI of the last hour's items is {seen.psi:.3f}"
    return ""


def population_stability(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the population stability index (PSI) of two vectors of counts over the same bins."""
    one, other = (np.maximum(counts / counts.sum(), LEAST_SHARE) for counts in (expected, found))
    return float(rel_entr(one, other).sum() + rel_entr(other, one).sum())


def item_drift(clicks: dict[str, int], sessions: list[Session]) -> float | None:
    """Return the PSI of the sessions' items against those of training, None for too few clicks.

    There are `BINS` bins with the same number of training clicks each, and one for items that training didn't have.
    """
    items = [event.item for session in sessions for event in session]
    if len(items) < LEAST_CLICKS or not clicks:
        return None
    upto = np.cumsum(list(clicks.values()))
    bins = dict(zip(clicks, np.minimum((upto - 1) * BINS // upto[-1], BINS - 1).tolist(), strict=True))
    expected = np.bincount(list(bins.values()), weights=list(clicks.values()), minlength=BINS + 1)
    found = np.bincount([bins.get(item, BINS) for item in items], minlength=BINS + 1)
    return population_stability(expected, found)


def recall_of(bundle: Bundle, sessions: list[Session], since_s: float) -> float | None:
    """Return recall@20 on the latest 2,000 clicks after `since_s`, None for too few."""
    asked = questions_of(sessions, since_s)
    if len(asked) < LEAST_CLICKS:
        return None
    n_context = len(bundle.context_features)
    answers = answers_of_model(bundle.score, asked[-ASKED:], bundle.item_index, n_context, bundle.offered())
    return metrics(answers.ranks, (20,))["recall@20"]
