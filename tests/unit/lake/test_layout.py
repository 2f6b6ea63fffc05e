"""The lake's names: what they say, which files are left-overs, and what one made of several is called."""

import pytest

from jobs.lake.layout import LakeFile, compacted, groups, hour_of, merged, parse, uncommitted

HOUR = "2026-11-30T04"


def file(start: int, end: int, partition: int = 0, hour: str = HOUR) -> LakeFile:
    return LakeFile("events", hour, partition, start, end)


@pytest.mark.parametrize(
    ("timestamp_ms", "expected"),
    [(0, "1970-01-01T00"), (3_599_999, "1970-01-01T00"), (3_600_000, "1970-01-01T01"), (-1, "1970-01-01T00")],
)
def test_an_hour_ends_before_the_next_full_hour(timestamp_ms: int, expected: str) -> None:
    assert hour_of(timestamp_ms) == expected


def test_a_name_says_what_it_was_made_of() -> None:
    path = "topic=events.dead/hour=2026-11-30T04/3-120-480.parquet"
    assert parse(path) == LakeFile("events.dead", HOUR, 3, 120, 480)
    assert parse(path).path == path


@pytest.mark.parametrize(
    "path",
    [
        "_lake/next/events.json",
        "topic=events/hour=1/0-1-2.parquet.tmp",
        "topic=a/b/hour=1/0-1-2.parquet",
        "0-1-2.parquet",
    ],
)
def test_other_files_are_not_the_lakes(path: str) -> None:
    assert parse(path) is None


def test_a_file_that_another_covers_was_compacted() -> None:
    """The same offsets in another hour or partition are other rows."""
    others = {file(0, 40), file(40, 50), file(0, 10, partition=1), file(10, 20, hour="2026-11-30T05")}
    assert compacted(others | {file(0, 10), file(10, 40)}) == {file(0, 10), file(10, 40)}


def test_a_file_past_the_commit_is_uncommitted() -> None:
    files = {file(0, 10), file(10, 20), file(0, 5, partition=1)}
    assert uncommitted(files, {"events": {0: 10}}) == {file(10, 20), file(0, 5, partition=1)}


def test_files_of_one_hour_and_partition_become_one() -> None:
    files = [file(30, 40), file(0, 10), file(10, 25), file(0, 99, partition=1)]
    found = groups(files)
    assert found["events", HOUR, 0] == [file(0, 10), file(10, 25), file(30, 40)]
    assert merged(found["events", HOUR, 0]) == file(0, 40)
