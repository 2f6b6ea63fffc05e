"""A batch of sessions → a list for each: candidates, rules, selection. No Flink and no network.

Shapes: B sessions, C context features, K candidates, N items.
"""

from collections.abc import Sequence

import numpy as np

from jobs.rankings import rules, select
from jobs.rankings.arrays import Floats
from jobs.rankings.candidates import Candidates
from jobs.rankings.candidates.popular import PopularItems
from jobs.rankings.candidates.session_model import ModelInput, SessionModel, encode
from jobs.rankings.ranked_list import Fallback, RankedList
from jobs.rankings.select import Ranking
from jobs.rankings.session import Session
from models.serving.bundle import Bundle
from models.serving.offered import catalogue

# The model is asked for a list with room for what the rules drop. It is asked again about a session of which the rules
# drop more, each time for so many times more items.
SPARE_ITEMS = 10
WIDER = 8


class Ranker:
    """Makes lists of at most `list_size` items with one bundle."""

    def __init__(self, bundle: Bundle, list_size: int, threads: int = 1) -> None:
        """Open the bundle's model; `threads` share a batch."""
        self._bundle = bundle
        self._list_size = list_size
        self._model = SessionModel(bundle, threads)
        self._popular = PopularItems(bundle)
        self._in_catalogue = catalogue(bundle.items, bundle.names)  # bool [N + 1]
        self._ids = np.array(bundle.items, dtype=object)  # [N + 1]

    def rank(self, sessions: Sequence[Session], contexts: Floats) -> list[RankedList]:
        """Return one list for each session, in order; `contexts`: float32 [B, C].

        A session without an item and type that the model knows gets the popularity list. So does one whose scores
        aren't all finite: a list in a broken order is worse than one that says what it is.
        """
        batch = encode(sessions, self._bundle)
        personal = self._personal(sessions, batch, contexts)
        fallbacks = [_fallback(personal, row) for row in range(len(sessions))]
        others = [row for row, fallback in enumerate(fallbacks) if fallback]
        popular = self._popular_lists([sessions[row] for row in others])
        rankings = {row: ranking for row, ranking in personal.items() if ranking is not None}
        rankings |= dict(zip(others, popular, strict=True))
        session_items = self._session_items(batch)
        ranked = []
        for row, fallback in enumerate(fallbacks):
            items, scores = rankings[row]
            ranked.append(RankedList(items, scores, fallback, session_items[row]))
        return ranked

    def close(self) -> None:
        """End the model's threads."""
        self._model.close()

    def _personal(self, sessions: Sequence[Session], batch: ModelInput, contexts: Floats) -> dict[int, Ranking | None]:
        """Return the model's list for each row with a known item, None for a row with a score that isn't finite."""
        rankings: dict[int, Ranking | None] = {}
        rows, k = np.flatnonzero(batch.lengths), self._list_size + SPARE_ITEMS
        while rows.size:
            candidates = self._model.candidates(batch, contexts, rows, k)
            finite = np.isfinite(candidates.scores).all(axis=1)
            rankings |= dict.fromkeys(rows[~finite].tolist())
            rows = rows[finite]
            lists = self._select(candidates.of(finite), [sessions[row] for row in rows.tolist()])
            rankings |= dict(zip(rows.tolist(), lists, strict=True))
            short = [len(items) < self._list_size for items, _ in lists]
            rows = rows[short] if k < self._model.items else rows[:0]
            k *= WIDER
        return rankings

    def _popular_lists(self, sessions: Sequence[Session]) -> list[Ranking]:
        return self._select(self._popular.candidates(len(sessions)), sessions)

    def _select(self, candidates: Candidates, sessions: Sequence[Session]) -> list[Ranking]:
        """Return the best candidates of each session that the rules allow."""
        index = self._bundle.item_index
        bought = [[index[item] for item in session.purchased if item in index] for session in sessions]
        may_show = rules.allowed(candidates.items, self._in_catalogue, bought)
        return select.best(candidates, may_show, self._list_size, self._ids)

    def _session_items(self, batch: ModelInput) -> list[list[str]]:
        """Return the ids of what the model saw of each session, oldest first."""
        ids = self._ids[batch.items].tolist()
        return [row[:length] for row, length in zip(ids, batch.lengths.tolist(), strict=True)]


def _fallback(personal: dict[int, Ranking | None], row: int) -> Fallback | None:
    if row not in personal:
        return "popular"
    return "model_error" if personal[row] is None else None
