"""Test the audit log: every line is chained to the one before, and no change goes unseen."""

import hashlib
import json
from pathlib import Path

import pytest

from jobs.errors import DataError, ServiceError
from jobs.operate import audit

LINES = 5


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Five actions."""
    for number in range(LINES):
        with audit.recorded(tmp_path, "submit", job=f"job-{number}") as outcome:
            outcome["id"] = f"{number:032x}"
    return tmp_path / "audit.jsonl"


def named_line(log: Path) -> int:
    with pytest.raises(DataError) as raised:
        audit.verify(log.parent)
    return int(raised.value.what.partition("line ")[2].split()[0])


def test_the_user_is_the_systems_not_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "mallory")
    audit.record(tmp_path, "down", {}, "done", {})
    assert audit.entries(tmp_path)[0].who != "mallory"


def test_an_unchanged_log_is_right(log: Path) -> None:
    """An unchanged log is right and its head is the last lines hash."""
    assert audit.verify(log.parent) == (LINES, hashlib.sha256(log.read_bytes().splitlines()[-1]).hexdigest())
    assert audit.verify(log.parent / "empty") == (0, "0" * 64)


def test_a_byte_that_was_changed_anywhere_names_its_line(log: Path) -> None:
    content = log.read_bytes()
    line = 1
    for place, byte in enumerate(content):
        log.write_bytes(content[:place] + bytes([byte ^ 1]) + content[place + 1 :])
        assert named_line(log) == line, (place, content[place : place + 20])
        line += byte == ord("\n")


@pytest.mark.parametrize("dropped", range(1, LINES + 1))
def test_a_line_that_was_dropped_is_named(dropped: int, log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[: dropped - 1] + lines[dropped:]))
    assert named_line(log) == dropped


@pytest.mark.parametrize("first", range(1, LINES))
def test_two_lines_that_changed_places_are_named_by_the_first(first: int, log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    lines[first - 1], lines[first] = lines[first], lines[first - 1]
    log.write_bytes(b"".join(lines))
    assert named_line(log) == first


def test_lines_that_were_added_by_hand_are_named(log: Path) -> None:
    last = log.read_bytes().splitlines()[-1]
    for number in (LINES + 1, LINES + 2):
        entry = json.loads(last) | {"number": number, "prev": hashlib.sha256(last).hexdigest()}
        last = json.dumps(entry).encode()
        log.write_bytes(log.read_bytes() + last + b"\n")
    assert named_line(log) == LINES + 2


def test_recording_goes_on_after_a_line_that_was_cut_off(log: Path) -> None:
    """After a line that was cut off by a power cut recording goes on and that line is named."""
    log.write_bytes(log.read_bytes()[:-40])
    audit.record(log.parent, "down", {}, "done", {})
    assert [json.loads(log.read_bytes().splitlines()[-1])[name] for name in ("number", "action")] == [LINES + 1, "down"]
    assert named_line(log) == LINES


def test_a_failed_action_is_recorded_by_its_errors_kind(tmp_path: Path) -> None:
    """An action that fails is recorded with the kind of its error and not its words."""
    with pytest.raises(ServiceError), audit.recorded(tmp_path, "up"):
        raise ServiceError("visitor-17 isn't there")
    with pytest.raises(KeyboardInterrupt), audit.recorded(tmp_path, "up"):
        raise KeyboardInterrupt
    assert [each.result for each in audit.entries(tmp_path)] == ["ServiceError", "interrupted"]
    assert b"visitor-17" not in (tmp_path / "audit.jsonl").read_bytes()
