"""Decide by its time to live if a row or a list must stand, must be gone, or may be either."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from jobs.verify.features import Key, Row
from jobs.verify.views import View

Fate = Literal["stands", "gone", "either"]
NEAR_MS = 10_000  # clocks of this machine and of Redis may differ by so much
NEVER = math.inf


@dataclass(frozen=True)
class Reading:
    """The time in which the stores were read: from `begin_ms` to `end_ms`, by this machine's clock."""

    begin_ms: int
    end_ms: int

    def fate(self, earliest_ms: float, latest_ms: float) -> Fate:
        """Return what must be found of something that expires between these two times."""
        if latest_ms + NEAR_MS < self.begin_ms:
            return "gone"
        return "stands" if earliest_ms - NEAR_MS > self.end_ms else "either"


def expiry_ms(view: View, row: Row) -> float:
    """Return when a row's own time to live is over."""
    return row.event_time_ms + view.ttl_ms if view.ttl_ms else NEVER


def entity_expiries(views: Iterable[View], rows: Mapping[str, Mapping[Key, Row]]) -> dict[Key, float]:
    """Return when nothing of an entity is left, for `views` that share their join keys.

    All rows of an entity are one hash in Redis, and it expires as a whole, with the row that lives longest.
    """
    latest_ms: dict[Key, float] = {}
    for view in views:
        for key, row in rows[view.name].items():
            latest_ms[key] = max(latest_ms.get(key, 0), expiry_ms(view, row))
    return latest_ms
