"""The audit log: every action a line, every line chained to the one before, and no change without a trace."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.errors import DataError, ServiceError
from jobs.operate import audit
from jobs.settings import REPOSITORY

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


def test_a_line_says_who_did_what_when_and_what_came_of_it(log: Path) -> None:
    first, second = map(json.loads, log.read_bytes().splitlines()[:2])
    assert (first["number"], first["action"], first["arguments"], first["result"]) == (
        1,
        "submit",
        {"job": "job-0"},
        "done",
    )
    assert first["outcome"] == {"id": "0" * 32}
    assert first["who"] == subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert first["prev"] == "0" * 64
    # The oracle is sha256sum's.
    told = subprocess.run(["sha256sum"], input=log.read_bytes().splitlines()[0], capture_output=True, check=True)
    assert second["prev"] == told.stdout.decode().split()[0]


def test_the_user_is_the_systems_not_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "mallory")
    audit.record(tmp_path, "down", {}, "done", {})
    assert audit.entries(tmp_path)[0].who != "mallory"


def test_an_unchanged_log_is_right_and_its_head_is_the_last_lines_hash(log: Path) -> None:
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


def test_after_a_line_that_was_cut_off_by_a_power_cut_recording_goes_on_and_that_line_is_named(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-40])
    audit.record(log.parent, "down", {}, "done", {})
    assert [json.loads(log.read_bytes().splitlines()[-1])[name] for name in ("number", "action")] == [LINES + 1, "down"]
    assert named_line(log) == LINES


def test_an_action_that_fails_is_recorded_with_the_kind_of_its_error_and_not_its_words(tmp_path: Path) -> None:
    with pytest.raises(ServiceError), audit.recorded(tmp_path, "up"):
        raise ServiceError("visitor-17 isn't there")
    with pytest.raises(KeyboardInterrupt), audit.recorded(tmp_path, "up"):
        raise KeyboardInterrupt
    assert [each.result for each in audit.entries(tmp_path)] == ["ServiceError", "interrupted"]
    assert b"visitor-17" not in (tmp_path / "audit.jsonl").read_bytes()


def test_four_processes_that_write_at_once_leave_one_chain(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from jobs.operate import audit\n"
        "for number in range(25): audit.record(Path(sys.argv[1]), 'submit', {'of': sys.argv[2]}, 'done', {})"
    )
    argv = [sys.executable, "-c", program, str(tmp_path)]
    writers = [subprocess.Popen([*argv, str(number)], cwd=REPOSITORY) for number in range(4)]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    assert audit.verify(tmp_path)[0] == 100
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


# The command line


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("LIVESHELF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(tmp_path / "versions"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_what_an_operator_does_is_recorded_with_its_result(state_dir: Path) -> None:
    bundle = REPOSITORY / "models" / "artifacts" / "eshop"
    version = call("models", "publish", str(bundle), "--activate").stdout.strip()
    call("models", "activate", "none-such")
    call("models", "rollback")
    call("stop", "features")
    call("submit", "--dry-run")
    call("apply")
    call("dead", "replay", "--reason", "wrong_type", "--set", "visitor_id=alice")
    call("person", "erase", "alice")
    call("consent", "withdraw", "alice")
    call("down")

    found = [(each.action, each.result) for each in audit.entries(state_dir)]

    assert found == [
        ("models publish", "done"),
        ("models activate", "done"),
        ("models activate", "ModelError"),
        ("models rollback", "ModelError"),
        ("stop", "ServiceError"),
        ("apply", "ServiceError"),
        ("dead replay", "ServiceError"),
        ("person erase", "ServiceError"),
        ("consent withdrawn", "ServiceError"),
        ("down", "done"),
    ]
    assert [each.outcome for each in audit.entries(state_dir)][:2] == [
        {"version": version},
        {"version": version, "before": ""},
    ]
    assert "alice" not in (state_dir / "audit.jsonl").read_text()


def test_audit_show_prints_each_action_and_audit_verify_names_a_broken_line(state_dir: Path) -> None:
    for _ in range(3):
        call("down")
    shown = call("audit", "show")
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["1", "2", "3"]
    assert [each["action"] for each in json.loads(call("audit", "show", "--json").stdout)] == ["down"] * 3
    assert call("audit", "verify").stdout.startswith("3 lines, head ")

    log = state_dir / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"number":2', b'"number":9'))

    broken = call("audit", "verify")
    assert (broken.exit_code, "line 2" in broken.stderr) == (6, True)
