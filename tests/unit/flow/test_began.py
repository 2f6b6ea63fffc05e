"""From which events on a feature counts that was added to a running job."""

import struct
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from jobs.flow import began
from jobs.flow.began import Beginning
from jobs.settings import REPOSITORY

RELEASE = REPOSITORY / "tests" / "fixtures" / "savepoints" / "0.1.0"
TOPIC = "savepoint-0.1.0.events"


def test_a_savepoint_says_how_far_its_job_had_read() -> None:
    """The savepoint of the first release was taken when its job had read all of `before.jsonl`."""
    lines = (RELEASE / "before.jsonl").read_bytes().splitlines()
    read = Counter(msgspec.json.decode(line)["partition"] for line in lines)
    assert began.offsets_in(str(RELEASE / "features"), TOPIC) == dict(read) == {0: 5, 1: 4}
    assert began.offsets_in((RELEASE / "features").as_uri(), TOPIC) == {0: 5, 1: 4}


def test_a_savepoint_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert began.offsets_in("s3://bucket/savepoint-1", TOPIC) is None
    assert began.offsets_in(str(tmp_path), TOPIC) is None
    assert began.offsets_in(str(RELEASE / "features"), "events") is None


def place(partition: int, offset: int) -> bytes:
    return struct.pack(">H6siqq", 6, b"events", partition, offset, -(2**63))


def test_places_beside_the_metadata_are_found_too(tmp_path: Path) -> None:
    """The coordinator's -2 in `_metadata` isn't the reader's place, which a cluster may keep in a file of its own."""
    (tmp_path / "_metadata").write_bytes(b"x" + place(0, -2) + place(1, -2))
    assert began.offsets_in(str(tmp_path), "events") is None
    (tmp_path / "5f1e").write_bytes(place(0, 70) + b"y" + place(1, -2))
    assert began.offsets_in(str(tmp_path), "events") == {0: 70, 1: 0}


ADDED = {0: 70, 1: 40}


@pytest.mark.parametrize(
    ("running", "before", "offsets", "now"),
    [
        ([], {}, ADDED, ADDED),
        (["v:new"], {"v:new": Beginning(1, ADDED)}, {0: 90, 1: 60}, ADDED),
        (["v:new"], {"v:new": Beginning(1, ADDED)}, {0: 30}, {0: 30}),
        (["v:new"], {}, ADDED, None),
        (["v:new"], {"v:new": Beginning(1, ADDED)}, None, None),
        (["v:new"], {"v:new": Beginning(1, {})}, {0: 90, 1: 60}, {}),
        ([], {}, None, None),
    ],
    ids=[
        "is new",
        "goes on",
        "goes back",
        "was added before notes were kept",
        "unreadable",
        "new and unreadable",
        "began again",
    ],
)
def test_feature_counts_from_earliest_savepoint_that_it_went_on_from(running, before, offsets, now) -> None:
    """A partition that a savepoint doesn't name had no event then, so all of its events count."""
    assert began.after(before, ["v:old", *running], {"v:new": 1}, offsets) == {"v:new": Beginning(1, now)}


def test_the_note_is_kept_and_rewound(tmp_path: Path) -> None:
    assert began.read(tmp_path) == {}
    began.save(tmp_path, {"v:new": Beginning(1, {0: 7}), "v:lost": Beginning(2, None)})
    assert began.read(tmp_path) == {"v:new": Beginning(1, {0: 7}), "v:lost": Beginning(2, None)}
    began.rewind(tmp_path)
    assert began.read(tmp_path) == {"v:new": Beginning(1, {}), "v:lost": Beginning(2, {})}
