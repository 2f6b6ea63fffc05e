"""Nobody else on the machine may read what a real run leaves behind: topics, lists, state, logs, exports, receipts."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a run by command line, as an operator with the usual umask makes one."""
    folder = tmp_path_factory.mktemp("run")
    before = os.umask(0o022)
    try:
        call(folder, "up")
        call(folder, "submit", "all")
        call(folder, "replay", "eshop2008", "--since", "2008-08-01", "--shift-to-now", "--limit", "300")
        eventually(lambda: '"absent"' not in call(folder, "show", "s22240", "--json"), within_s=120)
        call(folder, "person", "export", "s22240", "--to", str(folder / "export"))
        call(folder, "person", "erase", "s22240")
        call(folder, "stop", "rankings")
        yield folder
    finally:
        call(folder, "down")
        os.umask(before)


def call(folder: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("LIVESHELF_")}
    ports = {f"LIVESHELF_{service}_PORT": "0" for service in ("KAFKA", "REDIS", "FLINK")}
    own |= ports | {"LIVESHELF_STATE_DIR": str(folder / "state"), "LIVESHELF_CHECKPOINT_INTERVAL_MS": "2000"}
    argv = [sys.executable, "-c", "import jobs; jobs.main()", *arguments]
    done = subprocess.run(argv, env=own, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stderr
    return done.stdout


def modes(folder: Path) -> dict[str, str]:
    """The modes of all files and folders that group or others may do anything with."""
    found = {path: path.lstat().st_mode for path in (folder, *folder.rglob("*")) if path.exists()}
    return {str(path): oct(mode) for path, mode in found.items() if mode & 0o077 and not stat.S_ISLNK(mode)}


def test_whatever_a_run_leaves_is_its_owners(run: Path) -> None:
    state = run / "state"
    assert modes(state) == {}
    assert modes(run / "export") == {}
    # The walk has seen what holds people: topics, lists, state, savepoints, logs, receipts.
    seen = {str(path.relative_to(state)) for path in state.rglob("*")}
    flink = [f"flink/{part}/" for part in ("checkpoints", "savepoints", "log")]
    for part in ("kafka/data/events-0/", "redis/appendonly", "receipts/", *flink):
        assert any(name.startswith(part) for name in seen), part


def test_doctor_names_what_is_open_to_others(run: Path) -> None:
    file = run / "state" / "kafka" / "server.log"
    file.chmod(0o644)
    found = of_doctor(run)
    file.chmod(0o600)
    assert (found["ok"], str(file) in found["found"]) == (False, True)
    assert of_doctor(run)["ok"]


def of_doctor(run: Path) -> dict:
    checks = json.loads(call(run, "doctor", "--json", codes=(0, 1)))  # 1: there may be little memory, too
    return next(check for check in checks if check["name"] == "state folder")
