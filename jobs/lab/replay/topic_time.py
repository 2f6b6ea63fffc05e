"""See how far event time has come in a topic.

An event is late for features if it is older than (newest event time seen in its partition) - (watermark delay).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from kafka.partitioner.default import murmur2

from jobs.connect import kafka_admin
from jobs.connect.kafka_read import read_slice
from jobs.contract.events import Refusal, parse

# Of each partition. The newest event time needn't stand in the last record: a replay's last heartbeat lies 62 s ahead.
# Live traffic of up to 160 events/s a partition leaves it within so many records. Reading and parsing them takes 0.3 s.
TAIL_RECORDS = 10_000


@dataclass
class TopicTime:
    """The newest event time of each partition in ms since 1970; a partition without an accepted record isn't there.

    `delay_ms` is the watermark delay of the features job, `partitions` the number of them, and `ends` where each ended
    when it was looked at.
    """

    delay_ms: int
    partitions: int
    newest_ms: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._partition_by_key: dict[bytes, int] = {}

    def partition(self, key: bytes) -> int:
        """Return the partition of a key, as Kafka's Java producer chooses it."""
        if key not in self._partition_by_key:
            self._partition_by_key[key] = (murmur2(key) & 0x7FFFFFFF) % self.partitions
        return self._partition_by_key[key]

    def latest_ms(self) -> int:
        """Return the newest event time of all partitions, 0 if there is none."""
        return max(self.newest_ms.values(), default=0)

    def is_late(self, partition: int, time_ms: int) -> bool:
        """Return True if an event of that time, sent now, is late for features."""
        return time_ms <= self.newest_ms.get(partition, 0) - self.delay_ms

    def move(self, partition: int, time_ms: int) -> None:
        """Note an accepted record."""
        self.newest_ms[partition] = max(self.newest_ms.get(partition, 0), time_ms)


def look(bootstrap: str, topic: str, delay_ms: int) -> TopicTime:
    """Return how far event time has come in each partition; raise ServiceError if the topic can't be read."""
    ends = kafka_admin.end_offsets(bootstrap, topic)
    seen = TopicTime(delay_ms, len(ends), ends=ends)
    if any(ends.values()):
        since = {partition: max(0, end - TAIL_RECORDS) for partition, end in ends.items()}
        for record in read_slice(bootstrap, topic, since).records:
            event = parse(record.value)
            if not isinstance(event, Refusal):
                seen.move(record.partition, event["event_time_ms"])
    return seen


def moment(time_ms: int) -> str:
    """Return a time as a person reads it: date and time of day in UTC."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
