"""Rule: show only what the shop offers: `models/serving/offered.py` says what that is."""

from jobs.rankings.arrays import Ints, Mask


def allowed(candidates: Ints, in_catalogue: Mask) -> Mask:
    """Return bool [B, K]: which of `candidates` (int64 [B, K]) stand in the catalogue (bool [N + 1])."""
    may_show: Mask = in_catalogue[candidates]
    return may_show
