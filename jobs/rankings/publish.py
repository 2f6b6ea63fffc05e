"""Write a batch of lists to Redis in one pipeline, and make their records for the log.

A list carries a version: the partition and the offset of the event that it answers. A write replaces older versions.
So a restarted job, or a zombie beside it, writes the same list again, or finds a newer one and leaves it. Expiry is
absolute and counted from event time, so a replay expires as the first run did.

A visitor's events should sit in one partition. They sit in several where producers place a key differently, or after a
topic has grown. Offsets of two partitions can't be compared, so between them the list with the newer event stands; of
equal ones the later write, which knows more. A topic that is created anew needs another shelf or an emptied Redis.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import redis

from jobs.connect.redis_pipeline import PATIENCE_S, Command, Connection, Script
from jobs.contract.shelf import ShelfValue, shelf_key
from jobs.errors import ServiceError
from jobs.rankings.ranked_list import RankedList
from jobs.rankings.session import Session

# Versions are digits that compare as strings, because a Lua number is a double and exact to 2^53 only. GETRANGE reads
# the version without the list: a value always begins {"version":"<20 digits>", (see `ShelfValue`).
# KEYS[1]: the list. ARGV: the version, the value, the expiry in epoch ms, the session's newest event time.
# Returns 1 if it wrote, 0 if not; 2 and -1 where the stored list answers an event in another partition.
SCRIPT = Script("""
local stored = redis.call('GETRANGE', KEYS[1], 12, 31)
local wrote, kept = 1, 0
if stored ~= '' and string.sub(stored, 1, 4) ~= string.sub(ARGV[1], 1, 4) then
  local read, list = pcall(cjson.decode, redis.call('GET', KEYS[1]))
  wrote, kept = 2, -1
  if read and type(list) == 'table' and list.event_time_ms and list.fallback ~= 'erased' then
    if list.event_time_ms > tonumber(ARGV[4]) then return kept end
    stored = ''
  end
end
if stored > ARGV[1] then return kept end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return wrote
""")

# Replaces the list of a visitor who withdrew or was erased, and returns 1 if it did. The new version is one above the
# stored one, and above the newest list that may be on its way. So neither a replay nor a zombie puts an old list back,
# and the visitor's next event, which lies at that offset or behind it, can write one. (The last 16 digits of a version
# are an offset, far below 2^53.)
# KEYS[1]: the list. ARGV: the least version, the first event time that stays, the value without its version, the expiry
# in epoch ms, the mark.
FORGET = Script("""
local stored = redis.call('GET', KEYS[1])
local version = ARGV[1]
if stored then
  local list = cjson.decode(stored)
  if list.fallback == ARGV[5] or list.event_time_ms >= tonumber(ARGV[2]) then return 0 end
  local above = string.sub(list.version, 1, 4) .. string.format('%016.0f', tonumber(string.sub(list.version, 5)) + 1)
  if above > version then version = above end
elseif ARGV[5] == 'erased' then return 0 end
redis.call('SET', KEYS[1], '{"version":"' .. version .. ARGV[3], 'PXAT', ARGV[4])
return 1
""")
ERASED = "erased"
ALWAYS_MS = 2**53 - 1
# A worker that outlived its own failure is gone within Flink's heartbeat timeout of 10 s; after that no mark is needed,
# as a replay knows who was erased before it reads the first event.
TOMBSTONE_S = 20


def version(partition: int, offset: int) -> str:
    """Return the version of the list that answers an event: 4 digits of its partition, 16 of its offset."""
    return f"{partition:04d}{offset:016d}"


class Publication(NamedTuple):
    """A list, and where it comes from."""

    visitor_id: str
    partition: int
    offset: int
    ranked: RankedList
    session: Session
    context: list[float]  # the features' values that the model got
    computed_at_ms: int


class Forgotten(NamedTuple):
    """The list of a visitor who withdrew (`ranked` is then the popularity list) or was erased (None): it must go."""

    visitor_id: str
    newest: tuple[int, int]  # partition and offset of the visitor's newest event that counted; -1, -1 if none is known
    event_time_ms: int  # of the withdrawal; for an erasure, lists for events before this time go
    ranked: RankedList | None
    computed_at_ms: int
    model: str

    def arguments(self, ttl_ms: int) -> Command:
        """Return the arguments of `FORGET`."""
        mark = self.ranked.fallback if self.ranked else ERASED
        assert mark is not None, "a popularity list says why it is one"
        value = ShelfValue(
            version=version(0, 0),
            items=self.ranked.items if self.ranked else [],
            scores=self.ranked.scores if self.ranked else [],
            model=self.model,
            event_time_ms=self.event_time_ms if self.ranked else 0,
            computed_at_ms=self.computed_at_ms,
            session_events=0,
            fallback=mark,
            list_id="",
        )
        behind_version = msgspec.json.encode(value)[len('{"version":"') + len(version(0, 0)) :]
        gone_before_ms = ALWAYS_MS if self.ranked else self.event_time_ms
        expiry_ms = self.event_time_ms + ttl_ms if self.ranked else self.computed_at_ms + TOMBSTONE_S * 1000
        partition, offset = self.newest
        return version(max(partition, 0), offset + 1), gone_before_ms, behind_version, expiry_ms, mark


class PublishCounts(NamedTuple):
    """How many lists were written, and how many found a newer one in their place (`stale`).

    `elsewhere` counts those of both that found a list for an event in another partition.
    """

    written: int
    stale: int
    elsewhere: int = 0


class Provenance(msgspec.Struct):
    """What a record of the log holds beside the value in Redis."""

    partition: int
    offset: int
    context: list[float]
    context_features: list[str]
    session_items: list[str]


class Encoder:
    """Encode publications as JSON, for Redis and for the topic `rankings`."""

    def __init__(self, shelf: str, model: str, context_features: Sequence[str]) -> None:
        self._shelf = shelf
        self._model = model
        self._context_features = list(context_features)
        self._json = msgspec.json.Encoder()

    def value(self, publication: Publication) -> bytes:
        """Return the list as Redis holds it. It begins {"version":"<20 digits>"."""
        ranked, session = publication.ranked, publication.session
        shelf = ShelfValue(
            version=version(publication.partition, publication.offset),
            items=ranked.items,
            scores=ranked.scores,
            model=self._model,
            event_time_ms=session.event_time_ms,
            computed_at_ms=publication.computed_at_ms,
            session_events=session.session_events,
            fallback=ranked.fallback,
            list_id=f"{publication.partition}-{publication.offset}",
        )
        return self._json.encode(shelf)

    def log_record(self, publication: Publication, value: bytes) -> str:
        """Return the record for the topic `rankings`: visitor and shelf, the fields of `value`, then `Provenance`."""
        head = self._json.encode({"visitor_id": publication.visitor_id, "shelf": self._shelf})
        provenance = Provenance(
            partition=publication.partition,
            offset=publication.offset,
            context=publication.context,
            context_features=self._context_features,
            session_items=publication.ranked.session_items,
        )
        return b",".join((head[:-1], value[1:-1], self._json.encode(provenance)[1:])).decode()


class Publisher:
    """Write lists to `shelf:{VISITOR}:SHELF`."""

    def __init__(self, redis_url: str, shelf: str, ttl_s: int, patience_s: float = PATIENCE_S) -> None:
        self._connection = Connection(redis_url, patience_s)
        self._shelf = shelf
        self._ttl_ms = ttl_s * 1000

    def publish(self, publications: Sequence[Publication], values: Sequence[bytes]) -> PublishCounts:
        """Write each publication's value unless a newer one is there. A list expires `ttl_s` after its event.

        Raises ServiceError if Redis is away for too long or refuses a write. Then a part may be written, and writing
        the batch again does no harm.
        """
        replies = self._checked(self._connection.run(SCRIPT, list(map(self._call, publications, values))))
        written = sum(reply > 0 for reply in replies)
        return PublishCounts(written, len(replies) - written, sum(reply in (2, -1) for reply in replies))

    def forget(self, lists: Sequence[Forgotten]) -> int:
        """Replace lists by a popularity list, or a mark that expires by itself, and return how many were replaced.

        Raises ServiceError as `publish` does. Doing it again does no harm.
        """
        replies = self._connection.run(
            FORGET,
            [(shelf_key(forgotten.visitor_id, self._shelf), *forgotten.arguments(self._ttl_ms)) for forgotten in lists],
        )
        return sum(self._checked(replies))

    def _checked(self, replies: list[int | redis.ResponseError]) -> list[int]:
        """Return what a script returned for its calls; raise ServiceError for the first error reply."""
        returned = []
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise self._refused(reply) from reply
            returned.append(reply)
        return returned

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, publication: Publication, value: bytes) -> Command:
        expires_at_ms = publication.session.event_time_ms + self._ttl_ms
        return (
            shelf_key(publication.visitor_id, self._shelf),
            version(publication.partition, publication.offset),
            value,
            expires_at_ms,
            publication.session.event_time_ms,
        )

    def _refused(self, error: redis.ResponseError) -> ServiceError:
        """Return an error that names the key without the visitor: it will stand in Flink's logs."""
        key = shelf_key("…", self._shelf)
        return ServiceError(
            f"Redis refused to write {key}: {error}",
            "if a key of that form holds something else (SCAN, TYPE), delete it; if Redis is full or read-only, "
            "make it writable",
        )
