"""Name the lake's files, and tell from the names alone which of them count. Pure.

    topic=events/hour=2026-11-30T04/0-120-480.parquet

holds those records of partition 0 from offset 120 to 479 whose Kafka timestamp lies in that hour (UTC). A name says
which offsets were read, so writing them again can't add a second copy.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np

HOUR_MS = 3_600_000
NAME = re.compile(
    r"topic=(?P<topic>[^/]+)/hour=(?P<hour>[^/]+)/(?P<partition>\d+)-(?P<start>\d+)-(?P<end>\d+)\.parquet"
)


class LakeFile(NamedTuple):
    """A file's name in parts: `start` is the first offset that it may hold, `end` the one after the last."""

    topic: str
    hour: str
    partition: int
    start: int
    end: int

    @property
    def path(self) -> str:
        """Return the path below the lake."""
        return f"topic={self.topic}/hour={self.hour}/{self.partition}-{self.start}-{self.end}.parquet"

    @property
    def group(self) -> tuple[str, str, int]:
        """Return what files share that may be compacted into one."""
        return self.topic, self.hour, self.partition

    def covers(self, other: "LakeFile") -> bool:
        """Return True if this file was made of the other one, of the same group, among others."""
        return self != other and self.start <= other.start and other.end <= self.end


def hour_of(timestamp_ms: int) -> str:
    """Return the hour (UTC) of a Kafka timestamp. A record without one (-1) belongs to the first hour of 1970."""
    return str(np.datetime64(max(timestamp_ms, 0) // HOUR_MS, "h"))


def parse(path: str) -> LakeFile | None:
    """Return the parts of a path below the lake, None for a file that isn't the lake's own."""
    parts = NAME.fullmatch(path)
    if parts is None:
        return None
    return LakeFile(parts["topic"], parts["hour"], int(parts["partition"]), int(parts["start"]), int(parts["end"]))


def compacted(files: Iterable[LakeFile]) -> set[LakeFile]:
    """Return the files whose rows another file holds too. They lie there if a compaction was interrupted."""
    return {each for group in groups(files).values() for each in group if any(other.covers(each) for other in group)}


def uncommitted(files: Iterable[LakeFile], next_offsets: Mapping[str, Mapping[int, int]]) -> set[LakeFile]:
    """Return the files of a write that didn't end: their offsets will be read again.

    `next_offsets` is, by topic and partition, the first offset that isn't committed.
    """
    return {each for each in files if each.end > next_offsets.get(each.topic, {}).get(each.partition, 0)}


def groups(files: Iterable[LakeFile]) -> dict[tuple[str, str, int], list[LakeFile]]:
    """Return the files of each topic, hour and partition, in the order of their offsets."""
    found: dict[tuple[str, str, int], list[LakeFile]] = defaultdict(list)
    for each in sorted(files):
        found[each.group].append(each)
    return dict(found)


def merged(files: Collection[LakeFile]) -> LakeFile:
    """Return the name of the file that holds all rows of some files of one group."""
    first = next(iter(files))
    return first._replace(start=min(each.start for each in files), end=max(each.end for each in files))
