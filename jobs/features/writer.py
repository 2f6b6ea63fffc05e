"""Feature rows → Redis: one pipeline a batch of compare-and-set writes."""

from collections.abc import Sequence
from typing import NamedTuple

import redis

from jobs.errors import ServiceError
from jobs.features.online_store import WRITE_LUA, Row, RowEncoder
from jobs.features.plan import FeaturePlan
from jobs.rankings.connection import Connection, Script

SCRIPT = Script(WRITE_LUA)


class WriteCounts(NamedTuple):
    """Rows written, and rows that found a newer one and were not."""

    written: int
    stale: int


class RedisWriter:
    """Writes rows of all views of a plan."""

    def __init__(self, redis_url: str, plan: FeaturePlan) -> None:
        self._connection = Connection(redis_url)
        self._encoders = {view.key: RowEncoder(plan.project, view) for view in plan.views}

    def write(self, rows: Sequence[tuple[str, Row]]) -> WriteCounts:
        """Write each (view, row) unless a newer one is there; raises ServiceError when Redis is away or refuses."""
        replies = self._connection.run(SCRIPT, [self._encoders[view].arguments(row) for view, row in rows])
        for (view, row), reply in zip(rows, replies, strict=True):
            if isinstance(reply, redis.ResponseError):
                raise ServiceError(
                    f"Redis refused {view} of {row.entity!r}: {reply}", "make Redis writable (memory, rights, disk)"
                ) from reply
        written = sum(replies)
        return WriteCounts(written, len(replies) - written)

    def close(self) -> None:
        self._connection.close()
