"""Decide by the list's id which places explore, and where in the pool: no random state, so the oracle can follow.

The numbers are SplitMix64's, from the 64 bits of `hash_seed`: the (2p + 1)th decides whether place p (from 0) explores,
the (2p + 2)th where in the pool its tries begin. A number's first 53 bits are its share of 1.
"""

import numpy as np
import numpy.typing as npt

from jobs.contract.shelf_plan import hash_seed

Shares = npt.NDArray[np.float64]
_STEP, _MIX = np.uint64(0x9E3779B97F4A7C15), (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def seeds(list_ids: list[str]) -> npt.NDArray[np.uint64]:
    """Return uint64 [B]."""
    return np.array([hash_seed(list_id) for list_id in list_ids], np.uint64)


def shares(list_seeds: npt.NDArray[np.uint64], places: int) -> tuple[Shares, Shares]:
    """Return two shares of 1 for each list and place, float64 [B, P]: the first is compared, the second chooses."""
    with np.errstate(over="ignore"):  # the arithmetic is modulo 2^64
        z = list_seeds[:, None] + np.arange(1, 2 * places + 1, dtype=np.uint64) * _STEP
        z = (z ^ (z >> np.uint64(30))) * _MIX[0]
        z = (z ^ (z >> np.uint64(27))) * _MIX[1]
    share = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
    return share[:, 0::2], share[:, 1::2]
