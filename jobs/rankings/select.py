"""The last step of a list: take the best of the candidates that may be shown. Pure.

Shapes: B lists, K candidates of each in descending order of score, N items (1..N; 0 is padding).
"""

import numpy as np

from jobs.rankings.arrays import Ids, Ints, Mask
from jobs.rankings.candidates import Candidates

SCORE_DECIMALS = 6  # float32 carries 7 digits; without rounding a score is 18 characters in every list

Ranking = tuple[list[str], list[float]]  # item ids and their scores, best first


def best(candidates: Candidates, may_show: Mask, n: int, ids: Ids) -> list[Ranking]:
    """Return the ids and rounded scores of each row's first `n` candidates that `may_show` (bool [B, K]) allows.

    `ids` (object [N + 1]) names the items.
    """
    columns, counts = first_allowed(may_show, n)
    items = ids[np.take_along_axis(candidates.items, columns, axis=1)].tolist()
    scores = np.take_along_axis(candidates.scores, columns, axis=1).astype(np.float64).round(SCORE_DECIMALS).tolist()
    rows = zip(items, scores, counts.tolist(), strict=True)
    return [(row_items[:count], row_scores[:count]) for row_items, row_scores, count in rows]


def first_allowed(may_show: Mask, n: int) -> tuple[Ints, Ints]:
    """Return the columns of each row's first `n` allowed candidates, and how many of these count.

    The columns are int64 [B, min(n, K)], the counts int64 [B]. A row with fewer than `n` allowed candidates gives a
    shorter list rather than what may not be shown.
    """
    columns = np.argsort(~may_show, axis=1, kind="stable")[:, :n]  # stable: the order of scores stays
    return columns, np.minimum(may_show.sum(axis=1), n)
