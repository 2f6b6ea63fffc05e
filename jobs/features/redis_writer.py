"""Write feature rows to Redis, with pipelines of compare-and-set scripts."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import redis

from jobs.connect.redis_pipeline import Command, Connection, Script
from jobs.errors import ServiceError
from jobs.features.online_store import ERASE_LUA, REMOVE_LUA, WRITE_LUA, Row, RowEncoder
from jobs.features.plan import FeaturePlan

SCRIPT = Script(WRITE_LUA)
ERASE = Script(ERASE_LUA)
REMOVE = Script(REMOVE_LUA)
PIPELINE_ROWS = 200


class WriteCounts(NamedTuple):
    """The number of rows written, and of rows that found a newer one in Redis."""

    written: int
    stale: int


class RedisWriter:
    """Write the rows of all operators of a plan."""

    def __init__(self, redis_url: str, plan: FeaturePlan) -> None:
        self._connection = Connection(redis_url)
        self._sender = ThreadPoolExecutor(1, "redis")
        writers = plan.writers()
        self._encoders = {operator.key: RowEncoder(plan.project, operator, writers) for operator in writers}

    def write(self, rows: Sequence[tuple[str, Row]]) -> WriteCounts:
        """Write each (operator, row) unless a newer one is there; raises ServiceError when Redis is away or refuses."""
        # Rows are encoded while Redis works on those before them: it took as long as the encoding, one after the other.
        pending = [
            self._sender.submit(
                self._connection.run, SCRIPT, [self._encoders[operator].arguments(row) for operator, row in some]
            )
            for some in (rows[start : start + PIPELINE_ROWS] for start in range(0, len(rows), PIPELINE_ROWS))
        ]
        replies = [reply for each in pending for reply in each.result()]
        written = 0
        for (operator, _), reply in zip(rows, replies, strict=True):
            if isinstance(reply, redis.ResponseError):
                raise ServiceError(
                    f"Redis refused a row of {operator}: {reply}", "make Redis writable (memory, rights, disk)"
                ) from reply
            written += reply
        return WriteCounts(written, len(replies) - written)

    def erase(self, entities: Sequence[tuple[str, str, int]]) -> int:
        """Delete each (operator, entity)'s row for events before a time in ms; return how many were deleted.

        Raises as `write` does.
        """
        calls = [self._encoders[operator].erasure(entity, before_ms) for operator, entity, before_ms in entities]
        return self._delete(ERASE, calls, [operator for operator, *_ in entities])

    def remove(self, tombstones: Sequence[tuple[str, str, int, int]]) -> int:
        """Delete each (operator, item)'s facts, by the time and offset of a tombstone; return how many were deleted.

        Raises as `write` does.
        """
        calls = [self._encoders[operator].removal(*place) for operator, *place in tombstones]  # type: ignore[arg-type]
        return self._delete(REMOVE, calls, [operator for operator, *_ in tombstones])

    def _delete(self, script: Script, calls: Sequence[Command], operators: Sequence[str]) -> int:
        deleted = 0
        for operator, reply in zip(operators, self._connection.run(script, calls), strict=True):
            if isinstance(reply, redis.ResponseError):
                raise ServiceError(
                    f"Redis refused to erase a row of {operator}: {reply}", "make Redis writable"
                ) from reply
            deleted += reply
        return deleted

    def close(self) -> None:
        self._sender.shutdown(cancel_futures=True)
        self._connection.close()
