"""What a person is told, and what a receipt gives away."""

import hashlib
import hmac
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import ServiceError
from jobs.person.export import write
from jobs.person.known import HIDDEN, Known, text
from jobs.person.receipt import Receipt, Remains, store, subject, until
from jobs.settings import Settings
from liveshelf.reader import Shelf

DAY_MS = 86_400_000
EVENT = {"event_id": "e1", "event_type": "view", "event_time_ms": DAY_MS, "visitor_id": "v", "item_id": "a"}
FEATURE = {"view": "visits", "feature": "n", "value": [1, 2], "event_time_ms": DAY_MS}
SHELF = Shelf("v", "fresh", ("a", "b"), (2.0, 1.0), model="m-1", session_events=1)
KNOWN = Known(
    "v",
    [{"visitor_id": "v", "state": "granted", "at_ms": 0}],
    [EVENT],
    3,
    [FEATURE],
    SHELF,
    [{"offset": 7}],
    [],
    [{"file": "f.parquet", "n": 1}],
)
NOBODY = Known("v", [], [], 0, [], Shelf("v"), [], [], [])


def test_a_person_is_shown_what_is_kept_with_its_times() -> None:
    """A person is shown consent events list and features with their times."""
    assert text(KNOWN).splitlines() == [
        "consent   granted since 1970-01-01 00:00:00 UTC",
        "events    1 in retention, the newest of 1970-01-02 00:00:00 UTC; "
        "3 more are out of use and wait for the topic's retention",
        "list      fresh, 2 items by m-1, 1 events in the session",
        "log       1 lists, 0 letters about refused or late events",
        "offline   1 rows",
        "visits:n = [1, 2] (1970-01-02 00:00:00 UTC)",
    ]
    assert text(NOBODY).startswith("consent   nothing said\nevents    0 in retention; 0 more")


ROWS = [
    ("consent", {"visitor_id": "v", "state": "granted", "at_ms": 0}), ("events", EVENT), (HIDDEN, (0, 7)),
    ("features", FEATURE), ("list", SHELF), ("lists", {"offset": 7}), ("offline", {"file": "f.parquet", "n": 1}),
]  # fmt: skip


def test_an_export_holds_a_line_for_each_thing_known(tmp_path: Path) -> None:
    """An export holds a line for each thing known and tells what the files are. Only its owner can read it."""
    folder = tmp_path / "new" / "out"
    counts = write(folder, ROWS).counts
    assert counts == {"consent": 1, "events": 1, "features": 1, "lists": 1, "list": 1, "offline": 1, "dead": 0}
    assert json.loads((folder / "events.jsonl").read_text()) == EVENT
    assert json.loads((folder / "list.jsonl").read_text())["model"] == "m-1"
    readme = (folder / "README.md").read_text()
    assert all(f"{name}.jsonl" in readme for name in counts)
    assert "1 events are so now" in readme
    assert [each.stat().st_mode & 0o777 for each in (folder.parent, folder)] == [0o700, 0o700]
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}
    assert (folder / ".gitignore").read_text() == "*\n"  # whatever the folder is called
    with pytest.raises(FileExistsError):
        write(folder, ROWS)


def test_an_export_of_nothing_leaves_no_folder(tmp_path: Path) -> None:
    assert write(tmp_path / "nobody", []).is_nothing
    assert list(tmp_path.iterdir()) == []
    assert not write(tmp_path / "forgotten", [(HIDDEN, (0, 7))]).is_nothing


def test_an_export_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[str, Any]]:
        yield from ROWS
        raise ServiceError("Kafka is away")

    with pytest.raises(ServiceError):
        write(tmp_path / "out", broken())
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_written_while_it_is_read(tmp_path: Path) -> None:
    """A person with 20,000 rows of 1 kB is written with a few kB at a time."""
    rows = (("lists", {"n": number, "text": "x" * 1000}) for number in range(20_000))
    tracemalloc.start()
    try:
        assert write(tmp_path / "out", rows).counts["lists"] == 20_000
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 2_000_000


def test_a_receipt_names_its_person_by_an_hmac(tmp_path: Path) -> None:
    """A receipt names its person by an HMAC of which only the owner has the key."""
    settings = Settings(state_dir=tmp_path)
    name = subject(settings, "visitor-1")
    key = tmp_path / "receipts" / "key"
    assert (
        name == hmac.new(key.read_bytes(), b"visitor-1", hashlib.sha256).hexdigest() == subject(settings, "visitor-1")
    )
    assert (len(key.read_bytes()), key.stat().st_mode & 0o077) == (32, 0)
    path = store(settings, Receipt(name, 5, 1.0, {"redis": "gone"}, [Remains("topic events", "records", None)]))
    assert "visitor-1" not in path.read_text()
    assert json.loads(path.read_text())["remains"] == [{"where": "topic events", "what": "records", "until_ms": None}]


def test_what_remains_says_until_when() -> None:
    assert until(Remains("topic", "records", DAY_MS)) == "until 1970-01-02 00:00 UTC"
    assert until(Remains("savepoint", "state", None)) == "until it is deleted"
