"""Write a batch of lists to Redis in one pipeline, and make their records for the log.

A list carries a version: the partition and the offset of the event that it answers. A write replaces older versions.
So a restarted job, or a zombie beside it, writes the same list again, or finds a newer one and leaves it. Expiry is
absolute and counted from event time, so a replay expires as the first run did.

A visitor's events should sit in one partition. They sit in several where producers place a key differently, or after a
topic has grown. Offsets of two partitions can't be compared, so between them the list with the newer event stands; of
equal ones the later write, which knows more. A topic that is created anew needs another shelf or an emptied Redis.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import redis

from jobs.connect.redis_pipeline import PATIENCE_S, Command, Connection, Script
from jobs.contract.shelf import LISTS, Provenance, ShelfValue, shelf_key
from jobs.errors import ServiceError
from jobs.rankings.ranked_list import RankedList
from jobs.rankings.session import Session

# Versions are digits that compare as strings, because a Lua number is a double and exact to 2^53 only. GETRANGE reads
# the version without the list: a value always begins {"version":"<20 digits>", (see `ShelfValue`).
# KEYS: the lists of one event. ARGV: their version, their expiry in epoch ms, the session's newest event time, then the
# value of each. Returns for each list 1 if it was written, 0 if not; 2 and -1 where the stored list answers an event in
# another partition.
SCRIPT = Script("""
local answers = {}
for number, key in ipairs(KEYS) do
  local stored = redis.call('GETRANGE', key, 12, 31)
  local wrote, kept = 1, 0
  if stored ~= '' and string.sub(stored, 1, 4) ~= string.sub(ARGV[1], 1, 4) then
    local read, list = pcall(cjson.decode, redis.call('GET', key))
    wrote, kept = 2, -1
    if read and type(list) == 'table' and list.event_time_ms and list.fallback ~= 'erased' then
      stored = list.event_time_ms > tonumber(ARGV[3]) and '~' or ''
    end
  end
  if stored > ARGV[1] then
    answers[number] = kept
  else
    redis.call('SET', key, ARGV[3 + number], 'PXAT', ARGV[2])
    answers[number] = wrote
  end
end
return answers
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
    shelf: str
    partition: int
    offset: int
    ranked: RankedList
    session: Session
    context: list[float]  # the features' values that the model got
    computed_at_ms: int
    now_ms: int = 0
    visitor: Mapping[str, Any] = {}  # the features that rules read


class Forgotten(NamedTuple):
    """The list of a visitor who withdrew or was erased: it must go."""

    visitor_id: str
    shelf: str
    newest: tuple[int, int]  # partition and offset of the visitor's newest event that counted; -1, -1 if none is known
    event_time_ms: int  # of the withdrawal; for an erasure, lists for events before this time go
    ranked: RankedList | None  # what stands there instead; None: nothing
    computed_at_ms: int
    is_withdrawn: bool

    @property
    def mark(self) -> str:
        return (self.ranked and self.ranked.fallback) or ERASED

    @property
    def gone_before_ms(self) -> int:
        return ALWAYS_MS if self.is_withdrawn else self.event_time_ms

    @property
    def version(self) -> str:
        partition, offset = self.newest
        return version(max(partition, 0), offset + 1)

    def expires_at_ms(self, ttl_ms: int) -> int:
        return self.event_time_ms + ttl_ms if self.ranked else self.computed_at_ms + TOMBSTONE_S * 1000


class PublishCounts(NamedTuple):
    """How many lists were written, and how many found a newer one in their place (`stale`).

    `elsewhere` counts those of both that found a list for an event in another partition.
    """

    written: int
    stale: int
    elsewhere: int = 0


NOTHING = RankedList([], [], None, [])
NO_FACTS: Mapping[str, int] = {}


class Encoder:
    """Encode lists as JSON, for Redis and for the topic `rankings`. `shelves` is the version of the shop's shelves."""

    def __init__(self, model: str, context_features: Sequence[str], shelves: str = "") -> None:
        self._model = model
        self._context_features = list(context_features)
        self._shelves = shelves
        self._json = msgspec.json.Encoder()

    def value(self, publication: Publication, facts: Mapping[str, int] = NO_FACTS) -> bytes:
        """Return the list as Redis holds it, made with facts before these offsets.

        It begins {"version":"<20 digits>".
        """
        partition, offset, session = publication.partition, publication.offset, publication.session
        return self._json.encode(
            self._shelf_value(
                publication.ranked,
                facts,
                version=version(partition, offset),
                event_time_ms=session.event_time_ms,
                computed_at_ms=publication.computed_at_ms,
                session_events=session.session_events,
                fallback=publication.ranked.fallback,
                list_id=f"{partition}-{offset}",
            )
        )

    def behind_version(self, forgotten: Forgotten, facts: Mapping[str, int] = NO_FACTS) -> bytes:
        """Return what stands in the place of a list that goes, without its beginning and its version."""
        value = self._shelf_value(
            forgotten.ranked or NOTHING,
            facts,
            version=version(0, 0),
            event_time_ms=forgotten.event_time_ms if forgotten.ranked else 0,
            computed_at_ms=forgotten.computed_at_ms,
            session_events=0,
            fallback=forgotten.mark,
            list_id="",
        )
        return self._json.encode(value)[len('{"version":"') + len(version(0, 0)) :]

    def log_record(self, publication: Publication, value: bytes) -> str:
        """Return the record for the topic `rankings`: visitor and shelf, the fields of `value`, then `Provenance`."""
        head = self._json.encode({"visitor_id": publication.visitor_id, "shelf": publication.shelf})
        part = publication.ranked.shelf
        provenance = Provenance(
            partition=publication.partition,
            offset=publication.offset,
            context=publication.context,
            context_features=self._context_features,
            session_items=publication.ranked.session_items,
        )
        if part is not None:
            provenance.now_ms, provenance.visitor = publication.now_ms, dict(publication.visitor)
            provenance.wide = part.is_wide
        return b",".join((head[:-1], value[1:-1], self._json.encode(provenance)[1:])).decode()

    def _shelf_value(self, ranked: RankedList, facts: Mapping[str, int], **header: Any) -> ShelfValue:
        value = ShelfValue(items=ranked.items, scores=ranked.scores, model=self._model, **header)
        if (part := ranked.shelf) is not None:
            value.shelves, value.facts, value.about, value.spare = self._shelves, dict(facts), part.about, part.spare
            value.why, value.seen, value.because = part.why, part.seen, part.because
        return value


class Publisher:
    """Write lists to `shelf:{VISITOR}:SHELF`, or with another first word, `lists`."""

    def __init__(self, redis_url: str, ttl_s: int, patience_s: float = PATIENCE_S, lists: str = LISTS) -> None:
        self._lists = lists
        self._connection = Connection(redis_url, patience_s)
        self._ttl_ms = ttl_s * 1000

    def publish(self, publications: Sequence[Publication], values: Sequence[bytes]) -> PublishCounts:
        """Write each publication's value unless a newer one is there. A list expires `ttl_s` after its event.

        The lists of one event stand side by side, and one call writes them.
        Raises ServiceError if Redis is away for too long or refuses a write. Then a part may be written, and writing
        the batch again does no harm.
        """
        calls: list[Command] = []
        counts: list[int] = []
        for _, group in groupby(zip(publications, values, strict=True), key=lambda pair: _event(pair[0])):
            lists = list(group)
            calls.append(self._call([publication for publication, _ in lists], [value for _, value in lists]))
            counts.append(len(lists))
        answers = self._checked(self._connection.run(SCRIPT, calls, counts), calls)
        replies = [reply for answer in answers for reply in answer]
        written = sum(reply > 0 for reply in replies)
        return PublishCounts(written, len(replies) - written, sum(reply in (2, -1) for reply in replies))

    def forget(self, lists: Sequence[Forgotten], values: Sequence[bytes]) -> int:
        """Replace lists by popular items, or a mark that expires by itself, and return how many were replaced.

        `values` are what `Encoder.behind_version` gave. Raises ServiceError as `publish` does. Doing it again does no
        harm.
        """
        calls: list[Command] = [
            (
                shelf_key(each.visitor_id, each.shelf, self._lists),
                each.version,
                each.gone_before_ms,
                value,
                each.expires_at_ms(self._ttl_ms),
                each.mark,
            )
            for each, value in zip(lists, values, strict=True)
        ]
        return sum(self._checked(self._connection.run(FORGET, calls), calls))

    def _checked(self, replies: Sequence[Any], calls: Sequence[Command]) -> list[Any]:
        """Return what a script returned for its calls; raise ServiceError for the first error reply."""
        for reply, call in zip(replies, calls, strict=True):
            if isinstance(reply, redis.ResponseError):
                raise self._refused(reply, str(call[0])) from reply
        return list(replies)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, publications: Sequence[Publication], values: Sequence[bytes]) -> Command:
        """Return the keys and arguments of `SCRIPT` for the lists of one event."""
        first = publications[0]
        return (
            *(shelf_key(publication.visitor_id, publication.shelf, self._lists) for publication in publications),
            version(first.partition, first.offset),
            first.session.event_time_ms + self._ttl_ms,
            first.session.event_time_ms,
            *values,
        )

    def _refused(self, error: redis.ResponseError, key: str) -> ServiceError:
        """Return an error that names the key without the visitor: it will stand in Flink's logs."""
        nameless = shelf_key("…", key.rpartition(":")[2], self._lists)
        return ServiceError(
            f"Redis refused to write {nameless}: {error}",
            "if a key of that form holds something else (SCAN, TYPE), delete it; if Redis is full or read-only, "
            "make it writable",
        )


def _event(publication: Publication) -> tuple[str, int, int]:
    return publication.visitor_id, publication.partition, publication.offset
