"""Write what is new in the topics into the lake, each record once, and put an hour's small files together.

A run commits a partition's offsets after the files that hold them. A run that died leaves files behind whose offsets
weren't committed; the next run deletes them and reads these offsets again.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import pyarrow.parquet as pq

from jobs.connect import consent_topic, kafka_admin
from jobs.connect.kafka_read import Record, stream
from jobs.errors import DataError
from jobs.lake import forget, layout, repair, rows
from jobs.lake.layout import LakeFile
from jobs.lake.rows import Row, Topic
from jobs.lake.store import COMPRESSION, NextOffsets, Store
from jobs.settings import Settings

CHUNK_BYTES = 32 * 1024 * 1024  # of keys and values that are held of one partition; Python objects take some ten times
RECORD_BYTES = 100


@dataclass
class Run:
    """What a run did. `left_out` counts records whose visitors have withdrawn or were erased."""

    written: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # rows by topic
    files: int = 0
    left_out: int = 0
    forgotten: int = 0
    compacted: int = 0
    deleted_unread: dict[str, int] = field(default_factory=dict)  # offsets by topic

    @property
    def did_nothing(self) -> bool:
        return not (self.files or self.left_out or self.forgotten or self.compacted)


class Writer:
    """Writes a lake, run after run."""

    def __init__(self, settings: Settings, bootstrap: str, store: Store) -> None:
        self._settings, self._bootstrap, self._store = settings, bootstrap, store
        self._follower = consent_topic.Follower(bootstrap, settings.consent_topic, settings.consent)
        self._consents = self._follower.now()
        self._heard = set(self._consents.visitors())  # the lake may hold rows of whoever has said something

    def run(self) -> Run:
        """Write up to the topics' present ends. Raises ServiceError, and DataError for topics that aren't the lake's.

        First it forgets, so nothing that was said before this run is still in the lake when it ends.
        """
        run = Run()
        with self._store.locked():
            repair.clear(self._store, self._settings)
            self._heard |= self._follower.news()
            run.forgotten = forget.forget(self._store, rows.topics(self._settings), self._consents, self._heard)
            self._heard.clear()
            for topic in rows.topics(self._settings):
                self._write(topic, run)
            run.compacted = repair.compact(self._store, self._settings.lake_compact_after_s)
        return run

    def _write(self, topic: Topic, run: Run) -> None:
        offsets = self._store.next_offsets(topic.name)
        if gap := self._gap(topic, offsets):
            run.deleted_unread[topic.name] = gap
            self._store.commit(topic.name, offsets)
        held: dict[int, list[Record]] = defaultdict(list)
        size: dict[int, int] = defaultdict(int)
        for record in stream(self._bootstrap, topic.name, offsets, must_exist=False):
            held[record.partition].append(record)
            size[record.partition] += RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
            if size[record.partition] > CHUNK_BYTES:
                size[record.partition] = 0
                self._put(topic, held.pop(record.partition), offsets, run)
        for records in held.values():
            self._put(topic, records, offsets, run)

    def _put(self, topic: Topic, records: list[Record], offsets: NextOffsets, run: Run) -> None:
        """Write records of one partition, in their order, and commit them. `offsets` goes on to the one after them."""
        skew_ms = self._settings.max_clock_skew_s * 1000
        start, end, number = records[0].offset, records[-1].offset + 1, records[0].partition
        by_hour: dict[str, list[Row]] = defaultdict(list)
        for record in records:
            row = rows.row(topic.kind, record, skew_ms)
            if rows.counts(topic.kind, row, self._consents):
                by_hour[layout.hour_of(record.timestamp_ms)].append(row)
            else:
                run.left_out += 1
        for hour, of_hour in by_hour.items():
            with self._store.put(LakeFile(topic.name, hour, number, start, end).path) as partial:
                pq.write_table(rows.table(topic, of_hour), partial, compression=COMPRESSION)
            run.files += 1
            run.written[topic.name] += len(of_hour)
        offsets[number] = end
        self._store.commit(topic.name, offsets)

    def _gap(self, topic: Topic, offsets: NextOffsets) -> int:
        """Return how many offsets the topic's retention took before a run read them. `offsets` goes on to what is left.

        Raises DataError if the topic ends before what the lake holds of it: it is another topic of that name.
        """
        if not offsets:
            return 0
        bounds = kafka_admin.bounds(self._bootstrap, topic.name)
        for number, offset in offsets.items():
            end = bounds.get(number, (0, 0))[1]
            if offset > end:
                raise DataError(
                    f"the lake {self._store} holds {topic.name} up to offset {offset} of partition {number}, and the "
                    f"topic ends at {end}: it was made anew",
                    "begin another lake: --to FOLDER",
                )
        begins = {number: max(offset, bounds[number][0]) for number, offset in offsets.items()}
        gap = sum(begins.values()) - sum(offsets.values())
        offsets.update(begins)
        return gap
