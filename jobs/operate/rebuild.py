"""Rebuild Redis: lists from the topic `rankings`, features by reading the events again.

A list or a row is written unless the same or a newer one is there. So a rebuild may run beside the jobs, and twice.
Consent is asked again while lists are written. What was written for somebody who withdrew meanwhile is taken away.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice, product, repeat, starmap
from pathlib import Path

import msgspec
import requests
from kafka import KafkaConsumer, TopicPartition

from jobs.connect import addresses, consent_topic, flink_rest, users
from jobs.connect.kafka_patience import patiently
from jobs.connect.redis_pipeline import Command, Connection, Script
from jobs.contract.shelf import Logged, ShelfValue, read_logged, shelf_key
from jobs.errors import DataError
from jobs.flow import submissions
from jobs.flow.submissions import Config, Submitted

# As in `publish.py`, but an equal version stays: the job may have published it again and not yet logged it. Of two
# partitions' lists with one event time the one that was computed later stands.
SCRIPT = Script("""
local stored = redis.call('GETRANGE', KEYS[1], 12, 31)
if stored ~= '' and string.sub(stored, 1, 4) ~= string.sub(ARGV[1], 1, 4) then
  local read, list = pcall(cjson.decode, redis.call('GET', KEYS[1]))
  if read and type(list) == 'table' and list.event_time_ms and list.fallback ~= 'erased' then
    local at, computed = tonumber(ARGV[4]), tonumber(ARGV[5])
    if list.event_time_ms > at or (list.event_time_ms == at and list.computed_at_ms >= computed) then return 0 end
    stored = ''
  end
end
if stored >= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1
""")
# Takes a list away if it is still the one that was judged. It expires at once, as the job's user may not delete.
# KEYS[1]: the list. ARGV: its version.
REMOVE = Script("""
if redis.call('GETRANGE', KEYS[1], 12, 31) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], 0)
""")
BATCH = 500
ASK_EVERY_S = 1.0
NOT_PERSONAL = ("no_consent", "erased")  # what the job itself writes for those who mayn't have a list


def lists(config: Config, connection: Connection, since_ms: int = 0) -> int:
    """Write the lists that were logged since `since_ms` (append time); return how many Redis lacked or had older.

    The log keeps lists of visitors who withdrew or were erased since, until its retention ends: they stay away. A list
    may be written just after the job has obeyed its visitor. So whoever was heard of on the way is looked at again.
    """
    consents, shelves = _Asked(config), {config.ranker.shelf}
    restored, calls = 0, _calls(config, consents, since_ms, shelves)
    while batch := list(islice(calls, BATCH)):
        restored += sum(1 for reply in connection.run(SCRIPT, batch) if reply == 1)
        consents.ask_again()
    return restored - _take_away(connection, consents, sorted(shelves))


class _Asked:
    """The consents, asked again about once a second, and the visitors of whom something was heard meanwhile."""

    def __init__(self, config: Config) -> None:
        kafka = addresses.as_user(config.kafka_bootstrap, users.CLI)
        self._follower = consent_topic.Follower(kafka, config.consent_topic, config.consent)
        self.now = self._follower.now()
        self.heard: set[str] = set()
        self._asked_s = time.monotonic()

    def ask_again(self, after_s: float = ASK_EVERY_S) -> None:
        if time.monotonic() - self._asked_s >= after_s:
            self.heard |= self._follower.news()
            self._asked_s = time.monotonic()

    def counts(self, visitor_id: str, partition: int, offset: int, event_time_ms: int) -> bool:
        return self.now.verdict(visitor_id, partition, offset, event_time_ms) == "counts"


def _take_away(connection: Connection, consents: _Asked, shelves: Sequence[str]) -> int:
    """Remove the lists of those who were heard of since the rebuild began, and mayn't have them any more."""
    consents.ask_again(after_s=0)
    removed, heard = 0, iter(sorted(consents.heard))
    while visitors := list(islice(heard, BATCH)):
        places = list(product(visitors, shelves))
        keys = list(starmap(shelf_key, places))
        stored = connection.exchange([("GET", key) for key in keys])
        versions = map(_unwanted, repeat(consents), (visitor_id for visitor_id, _ in places), stored)
        calls = [(key, version) for key, version in zip(keys, versions, strict=True) if version]
        removed += sum(1 for reply in connection.run(REMOVE, calls) if reply == 1) if calls else 0
    return removed


def _unwanted(consents: _Asked, visitor_id: str, value: object) -> str:
    """Return the version of a personal list that doesn't count any more; "" for any other value."""
    try:
        shelf = msgspec.json.decode(value if isinstance(value, bytes) else b"", type=ShelfValue)
    except msgspec.DecodeError:  # nothing is there, or no list
        return ""
    if shelf.fallback in NOT_PERSONAL or not shelf.list_id:
        return ""
    partition, offset = map(int, shelf.list_id.split("-"))
    return "" if consents.counts(visitor_id, partition, offset, shelf.event_time_ms) else shelf.version


def _calls(config: Config, consents: _Asked, since_ms: int, shelves: set[str]) -> Iterator[Command]:
    """Yield a call for each list in the log that counts; add the shelves that are met to `shelves`.

    A job with another name for its one list may share the topic. Lists of shelves name their version.
    """
    encode = msgspec.json.Encoder().encode
    for value in _log(config, since_ms):
        try:
            logged = read_logged(value, Logged)
        except msgspec.DecodeError as error:
            raise DataError(
                f"{config.rankings_topic} holds what isn't a list: {error}", "check rankings_topic"
            ) from error
        place = logged.visitor_id, logged.partition, logged.offset, logged.event_time_ms
        if (logged.shelf == config.ranker.shelf or logged.shelves) and consents.counts(*place):
            shelves.add(logged.shelf)
            shelf = ShelfValue(**{name: getattr(logged, name) for name in ShelfValue.__struct_fields__})
            key = shelf_key(logged.visitor_id, logged.shelf)
            expires_at_ms = logged.event_time_ms + config.ranker.list_ttl_s * 1000
            yield key, logged.version, encode(shelf), expires_at_ms, logged.event_time_ms, logged.computed_at_ms


def _log(config: Config, since_ms: int) -> Iterator[bytes]:
    """Yield the log's values from `since_ms` to its present end. A record without a value is an erased list."""
    reader = addresses.kafka_python(addresses.as_user(config.kafka_bootstrap, users.CLI))
    consumer = KafkaConsumer(**reader, enable_auto_commit=False, group_id=None)
    try:
        numbers = patiently(consumer.partitions_for_topic, config.rankings_topic) or ()
        partitions = [TopicPartition(config.rankings_topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        ends = patiently(consumer.end_offsets, partitions)
        starts = patiently(consumer.offsets_for_times, dict.fromkeys(partitions, since_ms)) if since_ms else {}
        for partition in partitions:
            if since_ms:
                consumer.seek(partition, starts[partition].offset if starts[partition] else ends[partition])
            else:
                consumer.seek_to_beginning(partition)
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for records in consumer.poll(timeout_ms=1000).values():
                yield from (record.value for record in records if record.value is not None)
    finally:
        consumer.close()


def features(state_dir: Path, rest_url: str, submitted: Submitted, before_s: float = 0) -> Submitted:
    """Restart the features job so that it writes again everything that it wrote after `before_s` (epoch seconds).

    It goes back to the newest retained checkpoint that is older, or to the topic's beginning. Raise `ServiceError`.
    """
    start = submissions.start_before(state_dir, submitted, before_s)
    with suppress(requests.HTTPError):  # it has ended, or nobody knows it
        flink_rest.cancel(rest_url, submitted.job_id)
        flink_rest.wait_gone(rest_url, submitted.job_id)
    return submissions.start_again(state_dir, submitted, start)
