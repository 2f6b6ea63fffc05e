"""Test the audit log: every line is chained to the one before, and no change goes unseen."""

import hashlib
import hmac
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


def test_a_failure_in_a_wrong_folder_leaves_nothing_there(tmp_path: Path) -> None:
    """An interruption does: it may have ended what was half done."""
    for error in (ServiceError("nothing is running", "liveshelf up"), ValueError(), KeyboardInterrupt()):
        with pytest.raises(type(error)), audit.recorded(tmp_path / "state", "submit"):
            raise error
        assert (tmp_path / "state").exists() is isinstance(error, KeyboardInterrupt)


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
    assert named_line(log) == LINES + 1


def forged(log: Path) -> bytes:
    """A line that goes on from the last one, as whoever may write the log alone can make it."""
    last = log.read_bytes().splitlines()[-1]
    return json.dumps(json.loads(last) | {"number": LINES + 1, "prev": hashlib.sha256(last).hexdigest()}).encode()


def test_one_forged_line_never_becomes_history(log: Path) -> None:
    log.write_bytes(log.read_bytes() + forged(log) + b"\n")
    assert named_line(log) == LINES + 1
    audit.record(log.parent, "down", {}, "done", {})
    assert named_line(log) == LINES + 1


def test_a_last_line_that_was_cut_off_never_becomes_history(log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]))
    assert named_line(log) == LINES
    audit.record(log.parent, "down", {}, "done", {})
    assert named_line(log) == LINES


@pytest.mark.parametrize("name", ["audit.head", "audit.key"])
def test_what_knows_the_logs_end_may_not_be_gone(name: str, log: Path) -> None:
    (log.parent / name).unlink()
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(DataError, match=f"{name} is gone"):
        audit.verify(log.parent)


def test_no_new_key_vouches_for_a_log_without_one(log: Path) -> None:
    (log.parent / "audit.key").unlink()
    with pytest.raises(DataError, match=r"audit\.key is gone"):
        audit.record(log.parent, "next", {}, "done", {})
    assert not (log.parent / "audit.key").exists()


def test_a_head_without_the_key_is_no_head(log: Path) -> None:
    """Who may write log and head, and can't read the key, can't add a line."""
    line = forged(log)
    log.write_bytes(log.read_bytes() + line + b"\n")
    text = f"{LINES + 1} {hashlib.sha256(line).hexdigest()} {log.stat().st_size} "
    (log.parent / "audit.head").write_text(f"{text}\n{hmac.new(b'', text.encode(), 'sha256').hexdigest()}\n")
    for use in (audit.verify, lambda folder: audit.record(folder, "down", {}, "done", {})):
        with pytest.raises(DataError, match=r"doesn't fit audit\.key"):
            use(log.parent)


@pytest.mark.parametrize("written", [False, True], ids=["before the line", "after the line"])
def test_a_power_cut_while_writing_is_no_forgery(written: bool, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []

    def power_cut(file: Path, head: audit.Head, key: bytes) -> None:
        heads.append(head)
        if len(heads) == 1:
            keep_head(file, head, key)
        if len(heads) == 1 + written:
            raise KeyboardInterrupt

    keep_head = audit._keep_head
    with monkeypatch.context() as cut:
        cut.setattr(audit, "_keep_head", power_cut)
        with pytest.raises(KeyboardInterrupt):
            audit.record(log.parent, "up", {}, "done", {})
    assert audit.verify(log.parent)[0] == LINES + written
    audit.record(log.parent, "down", {}, "done", {})
    assert audit.verify(log.parent)[0] == LINES + written + 1


def test_a_log_of_an_earlier_release_goes_on(log: Path) -> None:
    """Its head had a number and a hash, and there was no key."""
    lines = log.read_bytes().splitlines()
    (log.parent / "audit.head").write_text(f"{LINES} {hashlib.sha256(lines[-1]).hexdigest()}\n")
    (log.parent / "audit.key").unlink()
    assert audit.verify(log.parent)[0] == LINES
    audit.record(log.parent, "down", {}, "done", {})
    assert audit.verify(log.parent)[0] == LINES + 1
    assert (log.parent / "audit.key").is_file()


def test_a_line_costs_no_look_at_the_others(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_lines", lambda _: pytest.fail("the whole log was read"))
    audit.record(log.parent, "down", {}, "done", {})


def test_the_logs_files_are_their_owners(log: Path) -> None:
    assert {file.stat().st_mode & 0o777 for file in log.parent.iterdir()} == {0o600}


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
