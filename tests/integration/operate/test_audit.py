"""Test the audit log with other processes, other programs as oracles, and the commands that write it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.operate import audit
from jobs.settings import REPOSITORY


def test_a_line_says_who_did_what_when_and_its_result(tmp_path: Path) -> None:
    """A line says who did what when and what came of it."""
    for number in range(2):
        with audit.recorded(tmp_path, "submit", job=f"job-{number}") as outcome:
            outcome["id"] = f"{number:032x}"
    log = tmp_path / "audit.jsonl"
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


def test_audit_commands_show_actions_and_name_a_broken_line(state_dir: Path) -> None:
    """Audit show prints each action and audit verify names a broken line."""
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
