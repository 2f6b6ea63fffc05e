"""Take out of the lake the rows of visitors who withdrew or were erased.

A row is judged as the jobs judge the event that it is about, by time and place. So an event after an erasure stays.
"""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.connect import consent_topic
from jobs.contract.consent import Consents
from jobs.lake import repair, rows
from jobs.lake.layout import LakeFile
from jobs.lake.rows import PERSON, Topic
from jobs.lake.store import COMPRESSION, Store, known
from jobs.settings import Settings


class LakeCopy:
    """A lake as `person erase` sees it: a copy of what the topics hold of visitors."""

    def __init__(self, settings: Settings, bootstrap: str, store: Store) -> None:
        self.name = f"lake {store}"
        self._settings, self._bootstrap, self._store = settings, bootstrap, store

    def holding(self, visitor_ids: Sequence[str]) -> set[str]:
        """Return the visitors of whom the lake holds rows."""
        with self._store.locked():
            return holding(self._store, rows.topics(self._settings), visitor_ids)

    def erase(self, visitor_ids: Sequence[str]) -> str:
        """Take out what the topic of consents says may not be there any more; return what a receipt says of it.

        A running `liveshelf lake` holds the lock while it writes, and asks the topic again before it writes more.
        """
        with self._store.locked():
            repair.clear(self._store, self._settings)
            settings = self._settings
            consents = consent_topic.read(self._bootstrap, settings.consent_topic, settings.consent)
            count = forget(self._store, rows.topics(settings), consents, visitor_ids)
        return f"{count} rows of {len(visitor_ids)} ids"


def copies(settings: Settings, bootstrap: str) -> list[LakeCopy]:
    """Return the lakes that this system has written, and the one that the settings name."""
    return [LakeCopy(settings, bootstrap, store) for store in known(settings)]


def forget(store: Store, topics: Collection[Topic], consents: Consents, visitors: Collection[str]) -> int:
    """Write each file again that holds a row which may not be there any more, each in one step; return how many rows.

    Only rows of `visitors` are looked at. The caller holds the lake's lock.
    """
    if not visitors:
        return 0
    sought, count = pa.array(sorted(visitors), pa.string()), 0
    for topic, file in _of_persons(store, topics):
        stays = _staying(store, topic, file, consents, sought)
        if not stays.all():
            _rewrite(store, file, stays)
            count += int((~stays).sum())
    return count


def holding(store: Store, topics: Collection[Topic], visitors: Collection[str]) -> set[str]:
    """Return the visitors of whom the lake holds rows."""
    sought, found = pa.array(sorted(visitors), pa.string()), set[str]()
    for _, file in _of_persons(store, topics):
        with store.opened(file) as opened:
            names = pq.read_table(opened, columns=[PERSON])[PERSON].unique()
        found.update(names.filter(pc.is_in(names, value_set=sought)).to_pylist())
    return found


def _of_persons(store: Store, topics: Collection[Topic]) -> Iterator[tuple[Topic, LakeFile]]:
    for topic in topics:
        if topic.holds_persons:
            yield from ((topic, file) for file in sorted(store.list(topic.name)))


def _staying(store: Store, topic: Topic, file: LakeFile, consents: Consents, sought: pa.Array) -> np.ndarray:
    """Return for each row of a file whether it may stay. Rows of others than `sought` do."""
    columns = [PERSON, *rows.ABOUT[topic.kind], rows.TIME]
    with store.opened(file) as opened:
        table = pq.read_table(opened, columns=columns)
    stays = np.ones(table.num_rows, bool)
    places = np.flatnonzero(pc.is_in(table[PERSON], value_set=sought).to_numpy())
    for place, row in zip(places, table.take(places).to_pylist(), strict=True):
        stays[place] = rows.counts(topic.kind, row, consents)
    return stays


def _rewrite(store: Store, file: LakeFile, stays: np.ndarray) -> None:
    """Put a file without some rows in the place of the one with them, a row group at a time."""
    if not stays.any():
        return store.delete(file)
    with store.put(file.path) as partial, store.opened(file) as opened:
        before, begin = pq.ParquetFile(opened), 0
        with pq.ParquetWriter(partial, before.schema_arrow, compression=COMPRESSION) as writer:
            for number in range(before.num_row_groups):
                table = before.read_row_group(number)
                writer.write_table(table.filter(pa.array(stays[begin : begin + table.num_rows])))
                begin += table.num_rows
