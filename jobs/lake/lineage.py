"""Trace a list back to the events that made it, by their offsets, from the lake's files alone.

Nothing needs to run for it, and it works for lists and events that Kafka's retention has taken.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.connect.kafka_read import Record
from jobs.contract.events import HEARTBEAT, Refusal, parse
from jobs.errors import DataError
from jobs.lake import layout
from jobs.lake.layout import LakeFile
from jobs.lake.rows import PERSON
from jobs.lake.store import Store
from jobs.settings import Settings
from jobs.verify.classify import Entry
from jobs.verify.lists import LAST_EVENTS, current_session

Row = dict[str, Any]
HOW_TO_WRITE = "liveshelf lake --once writes what is new; liveshelf show names visitors who have a list"


class Place(msgspec.Struct):
    """A record, and the file in which it lies."""

    partition: int
    offset: int
    event_time_ms: int
    file: str
    event_type: str = ""
    item_id: str | None = None


class Lineage(msgspec.Struct):
    """A list, its record in the log, and the events of its session, in the order of their times.

    `session_events` says of how many events the list was made. Where `events` has fewer, the lake doesn't hold them.
    """

    shelf: str
    list_id: str
    logged: Place
    session_events: int
    events: list[Place]


class _Value(msgspec.Struct):
    """What a lineage needs of a list's record beside the row's columns."""

    session_events: int = 0


def trace(settings: Settings, store: Store, visitor_ids: Sequence[str], shelf: str) -> Lineage:
    """Return the lineage of the newest of a visitor's lists on a shelf. Raises DataError if the lake holds none."""
    found = _newest(store, settings.rankings_topic, visitor_ids, shelf)
    if found is None:
        what = f"the lake {store} holds no list of this visitor on the shelf {shelf!r}"
        raise DataError(what, HOW_TO_WRITE)
    file, row = found
    value = msgspec.json.decode(row["value"], type=_Value)
    events = _session(settings, store, row)
    logged = Place(row["partition"], row["offset"], row["event_time_ms"], file.path)
    return Lineage(shelf, row["list_id"], logged, value.session_events, events)


def _newest(store: Store, topic: str, visitor_ids: Sequence[str], shelf: str) -> tuple[LakeFile, Row] | None:
    """Return a visitor's last logged list, by the time of its event and its place, and its file."""
    files = _counting(store.list(topic))
    for hour in sorted({file.hour for file in files}, reverse=True):
        lists = [
            (file, row)
            for file in files
            if file.hour == hour
            for row in _rows(store, file, visitor_ids)
            if row["shelf"] == shelf
        ]
        if lists:
            return max(lists, key=lambda each: (each[1]["event_time_ms"], each[1]["offset"]))
    return None


def _session(settings: Settings, store: Store, row: Row) -> list[Place]:
    """Return the events of the session that a list answers. A list keeps to the partition of its event."""
    partition, offset = row["event_partition"], row["event_offset"]
    entries: list[Entry] = []
    file_of: dict[int, LakeFile] = {}
    files = [file for file in _counting(store.list(settings.events_topic)) if file.partition == partition]
    for file in sorted(files, key=lambda each: each.start, reverse=True):
        # Files of one write have the same offsets and different hours: all of them are read before it is enough.
        if len(entries) >= LAST_EVENTS and file.end <= min(file_of):
            break
        for each in _rows(store, file, [row[PERSON]]):
            if each["offset"] <= offset and each["event_type"] != HEARTBEAT and each["value"] is not None:
                record = Record(partition, each["offset"], each["timestamp_ms"], None, each["value"].encode())
                event = parse(record.value, record.timestamp_ms, settings.max_clock_skew_s * 1000)
                if not isinstance(event, Refusal):  # the settings may be other ones now
                    entries.append(Entry(record, "counted", event))
                    file_of[record.offset] = file
    if not entries:
        return []
    entries.sort(key=lambda entry: entry.record.offset)
    session = current_session(entries, settings.ranker.session_gap_s * 1000)
    offset_of = {id(entry.event): entry.record.offset for entry in entries}
    return [
        Place(
            partition,
            offset_of[id(event)],
            event["event_time_ms"],
            file_of[offset_of[id(event)]].path,
            event["event_type"],
            event.get("item_id"),
        )
        for event in session.events
    ]


def _counting(files: Collection[LakeFile]) -> list[LakeFile]:
    """Return the files but for those that were compacted and are still there."""
    return sorted(set(files) - layout.compacted(files))


def _rows(store: Store, file: LakeFile, visitor_ids: Sequence[str]) -> list[Row]:
    """Return the rows of visitors in a file."""
    with store.opened(file) as opened:
        reading = pq.ParquetFile(opened)
        names = reading.read(columns=[PERSON])[PERSON]
        mine = pc.is_in(names, value_set=pa.array(visitor_ids, pa.string()))
        return reading.read().filter(mine).to_pylist() if pc.any(mine).as_py() else []
