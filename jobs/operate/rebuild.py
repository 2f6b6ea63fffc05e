"""Rebuild Redis: lists from the topic `rankings`, features by reading the events again.

A list or a row is written unless the same or a newer one is there. So a rebuild may run beside the jobs, and twice.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec
import requests
from kafka import KafkaConsumer, TopicPartition

from jobs.connect import addresses, consent_topic, flink_rest, users
from jobs.connect.redis_pipeline import Command, Connection, Script
from jobs.contract.shelf import ShelfValue, read_logged, shelf_key
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
BATCH = 500


class Logged(ShelfValue):
    """A list in the log: its visitor and shelf, the place of the event that it answers, and its value in Redis."""

    visitor_id: str
    shelf: str
    partition: int
    offset: int


def lists(config: Config, connection: Connection, since_ms: int = 0) -> int:
    """Write the lists that were logged since `since_ms` (append time); return how many Redis lacked or had older."""
    restored, calls = 0, _calls(config, since_ms)
    while batch := list(islice(calls, BATCH)):
        restored += sum(1 for reply in connection.run(SCRIPT, batch) if reply == 1)
    return restored


def _calls(config: Config, since_ms: int) -> Iterator[Command]:
    encode = msgspec.json.Encoder().encode
    # The log keeps lists of visitors who withdrew or were erased since, until its retention ends: they stay away.
    consents = consent_topic.read(
        addresses.as_user(config.kafka_bootstrap, users.CLI), config.consent_topic, config.consent
    )
    for value in _log(config, since_ms):
        try:
            logged = read_logged(value, Logged)
        except msgspec.DecodeError as error:
            raise DataError(
                f"{config.rankings_topic} holds what isn't a list: {error}", "check rankings_topic"
            ) from error
        place = logged.visitor_id, logged.partition, logged.offset, logged.event_time_ms
        if logged.shelf == config.ranker.shelf and consents.verdict(*place) == "counts":
            shelf = ShelfValue(**{name: getattr(logged, name) for name in ShelfValue.__struct_fields__})
            key = shelf_key(logged.visitor_id, logged.shelf)
            expires_at_ms = logged.event_time_ms + config.ranker.list_ttl_s * 1000
            yield key, logged.version, encode(shelf), expires_at_ms, logged.event_time_ms, logged.computed_at_ms


def _log(config: Config, since_ms: int) -> Iterator[bytes]:
    """Yield the log's values from `since_ms` to its present end. A record without a value is an erased list."""
    reader = addresses.kafka_python(addresses.as_user(config.kafka_bootstrap, users.CLI))
    consumer = KafkaConsumer(**reader, enable_auto_commit=False, group_id=None)
    try:
        numbers = consumer.partitions_for_topic(config.rankings_topic) or ()
        partitions = [TopicPartition(config.rankings_topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        starts = consumer.offsets_for_times(dict.fromkeys(partitions, since_ms)) if since_ms else {}
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
