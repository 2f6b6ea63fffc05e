"""Bring a lake's files in order: delete what runs that died have left, and put an hour's small files together."""

import time

import pyarrow.parquet as pq

from jobs.flow import failpoints
from jobs.lake import layout, rows
from jobs.lake.layout import LakeFile
from jobs.lake.store import COMPRESSION, Store
from jobs.settings import Settings


def clear(store: Store, settings: Settings) -> None:
    """Delete what runs that died have left: files that aren't committed, and those that were compacted."""
    files = store.list()
    next_offsets = {topic.name: store.next_offsets(topic.name) for topic in rows.topics(settings)}
    ours = [file for file in files if file.topic in next_offsets]
    for file in layout.uncommitted(ours, next_offsets) | layout.compacted(ours):
        store.delete(file)


def compact(store: Store, after_s: float) -> int:
    """Make one file of the files of each partition and hour to which nothing was added for `after_s` seconds.

    Return how many files were replaced. Between the new file and the deletion of the old ones both are there.
    """
    replaced, files, now_ns = 0, store.list(), time.time_ns()
    for group in layout.groups(files).values():
        if len(group) > 1 and max(files[file] for file in group) + after_s * 1e9 <= now_ns:
            _merge(store, group)
            replaced += len(group)
    return replaced


def _merge(store: Store, group: list[LakeFile]) -> None:
    """Replace files by one, a row group at a time, so an hour needn't fit into memory. Their order is the offsets'."""
    with store.opened(group[0]) as opened:
        schema = pq.read_schema(opened)
    with (
        store.put(layout.merged(group).path) as partial,
        pq.ParquetWriter(partial, schema, compression=COMPRESSION) as writer,
    ):
        for file in group:
            with store.opened(file) as opened:
                for batch in pq.ParquetFile(opened).iter_batches():
                    writer.write_batch(batch)
    failpoints.reached("lake.after_merge")
    for file in group:
        store.delete(file)
