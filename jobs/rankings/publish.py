"""Lists → Redis: one pipeline per batch, versioned, with an absolute expiry; and the record of them for the log.

A replay writes the same: the version is the partition and the offset of the event that a list answers, so a restarted job,
or a zombie beside it, puts the same list in its place again or finds a newer one and leaves it. A visitor's events sit in
one partition, and where a topic grows to a multiple of its partitions, a visitor stays or moves to a higher one (its hash is
taken modulo their number). A topic that is created anew needs another channel or an emptied Redis.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import redis

from jobs.errors import ServiceError
from jobs.rankings.connection import PATIENCE_S, Command, Connection, Script
from jobs.rankings.history import Session
from jobs.rankings.score import RankedList

# Versions are digits that compare as strings: a Lua number is a double, exact to 2^53 only. GETRANGE reads the version
# without the list; a value always begins {"version":"<20 digits>", (see `ShelfValue`).
SCRIPT = Script("""
if redis.call('GETRANGE', KEYS[1], 12, 31) > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1
""")


def version(partition: int, offset: int) -> str:
    """The version of the list that answers the event at a place in Kafka: 4 digits of partition, 16 of offset."""
    return f"{partition:04d}{offset:016d}"


class Publication(NamedTuple):
    """A list with where it comes from: what Redis and the log hold."""

    visitor_id: str
    partition: int
    offset: int
    ranked: RankedList
    session: Session
    context: list[float]  # the feature service's values that the model got
    computed_at_ms: int


class PublishCounts(NamedTuple):
    """Lists written, and lists that found a newer one and were not."""

    written: int
    stale: int


class ShelfValue(msgspec.Struct):
    """The value in Redis. `version` comes first: the script reads it by its place."""

    version: str
    items: list[str]
    scores: list[float]
    model: str
    event_time_ms: int
    computed_at_ms: int
    session_events: int
    fallback: str | None
    list_id: str


class Provenance(msgspec.Struct):
    """What the log holds beside the value."""

    partition: int
    offset: int
    context: list[float]
    context_features: list[str]
    session_items: list[str]


class Encoder:
    """Publications → JSON, for Redis and for the topic `rankings`."""

    def __init__(self, channel: str, model: str, context_features: Sequence[str]) -> None:
        self._channel = channel
        self._model = model
        self._context_features = list(context_features)
        self._json = msgspec.json.Encoder()

    def value(self, publication: Publication) -> bytes:
        """The list as Redis holds it, beginning {"version":"<20 digits>"."""
        partition, offset, ranked, session = publication[1:5]
        shelf = ShelfValue(
            version=version(partition, offset),
            items=ranked.items,
            scores=ranked.scores,
            model=self._model,
            event_time_ms=session.event_time_ms,
            computed_at_ms=publication.computed_at_ms,
            session_events=session.session_events,
            fallback=ranked.fallback,
            list_id=f"{partition}-{offset}",
        )
        return self._json.encode(shelf)

    def log_record(self, publication: Publication, value: bytes) -> str:
        """The JSON for the topic `rankings`: visitor and channel, then `value`'s fields, then where they come from."""
        head = self._json.encode({"visitor_id": publication.visitor_id, "channel": self._channel})
        partition, offset, ranked = publication[1:4]
        tail = self._json.encode(
            Provenance(partition, offset, publication.context, self._context_features, ranked.session_items)
        )
        return b",".join((head[:-1], value[1:-1], tail[1:])).decode()


class Publisher:
    """Writes lists to `shelf:{visitor_id}:channel`."""

    def __init__(self, redis_url: str, channel: str, ttl_s: int, patience_s: float = PATIENCE_S) -> None:
        self._connection = Connection(redis_url, patience_s)
        self._channel = channel
        self._ttl_ms = ttl_s * 1000

    def publish(self, publications: Sequence[Publication], values: Sequence[bytes]) -> PublishCounts:
        """Write each publication's value unless a newer one is there; a list expires `ttl_s` after its event.

        Raises ServiceError when Redis is away for too long or refuses a write; then a part may be written, and writing
        the batch again does no harm.
        """
        replies = self._connection.run(SCRIPT, list(map(self._call, publications, values)))
        for publication, reply in zip(publications, replies, strict=True):
            if isinstance(reply, redis.ResponseError):
                raise self._refused(publication, reply) from reply
        written = sum(replies)
        return PublishCounts(written, len(replies) - written)

    def close(self) -> None:
        self._connection.close()

    def _call(self, publication: Publication, value: bytes) -> Command:
        key = f"shelf:{{{publication.visitor_id}}}:{self._channel}"
        expires_at_ms = publication.session.event_time_ms + self._ttl_ms
        return key, version(publication.partition, publication.offset), value, expires_at_ms

    def _refused(self, publication: Publication, error: redis.ResponseError) -> ServiceError:
        key = f"shelf:{{{publication.visitor_id}}}:{self._channel}"
        return ServiceError(
            f"Redis refused to write {key}: {error}",
            f"if the key holds something else (TYPE {key}), delete it; if Redis is full or read-only, make it writable",
        )
