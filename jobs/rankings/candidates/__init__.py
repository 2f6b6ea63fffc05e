"""Where the items of a list may come from: each module offers candidates for a batch of sessions, best first.

Shapes: B sessions, K candidates of each, N items of the bundle (1..N; 0 is padding).
"""

from typing import NamedTuple

from jobs.rankings.arrays import Floats, Ints, Mask


class Candidates(NamedTuple):
    """K items for each of B sessions, in descending order of score."""

    items: Ints  # int64 [B, K], 1..N
    scores: Floats  # float32 [B, K]
    segments: Ints | None = None  # int64 [B], where they were asked for

    def of(self, rows: Ints | Mask) -> "Candidates":
        """Return the candidates of some sessions; `rows` is an index or a mask over B."""
        segments = None if self.segments is None else self.segments[rows]
        return Candidates(self.items[rows], self.scores[rows], segments)
