"""A Flink cluster of the user's own: its Python is looked at before a job is submitted, and nothing is left behind."""

import os
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.cluster import runtime
from jobs.connect import flink_rest
from jobs.flow import submissions
from jobs.lab.chaos.own.foreign_flink import ForeignFlink, foreign_flink
from jobs.operate import doctor, submit
from jobs.operate.bring_up import bring_up
from jobs.settings import Settings
from tests.support.waiting import eventually

BOTH = ["liveshelf features", "liveshelf rankings"]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForeignFlink]:
    """Two TaskManagers of one slot; Kafka and Redis are liveshelf's own."""
    for name in [name for name in os.environ if name.startswith("LIVESHELF_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    with foreign_flink(tmp_path / "flink", python__executable=sys.executable) as cluster:
        variables = {
            "STATE_DIR": tmp_path / "state",
            "KAFKA_PORT": 0,
            "REDIS_PORT": 0,
            "FLINK_REST_URL": cluster.rest_url,
        }
        for name, value in variables.items():
            monkeypatch.setenv(f"LIVESHELF_{name}", str(value))
        try:
            bring_up(Settings())
            yield cluster
        finally:
            runtime.down(Settings())


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_jobs_come_up_with_the_right_python_only(
    cluster: ForeignFlink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs come up with the right Python only and leave nothing behind."""
    venv.create(tmp_path / "bare", with_pip=False)
    bare = tmp_path / "bare" / "bin" / "python"
    monkeypatch.setenv("LIVESHELF_WORKER_PYTHON", str(bare))
    refused = call("submit")
    assert refused.exit_code == 4
    assert f"{bare} on the TaskManagers has no module pyflink" in refused.stderr
    assert "LIVESHELF_WORKER_PYTHON" in refused.stderr
    assert (cluster.living_jobs(), cluster.slots()) == ([], (2, 2))

    monkeypatch.delenv("LIVESHELF_WORKER_PYTHON")  # then it is the one that the cluster names
    assert call("submit").exit_code == 0
    assert states(cluster) == dict.fromkeys(BOTH, "RUNNING")
    found = {check.name: check for check in doctor.checks(Settings())}
    assert (found["metaspace"].ok, found["metaspace"].found) == (False, "child-first, into 256 MB")
    assert (found["old checkpoints"].ok, found["old checkpoints"].found) == (False, "1 of a job are kept")
    places = {note.checkpoints for note in submissions.noted(Settings().state_dir)}  # the keeper starts jobs from there
    assert places == {(tmp_path / "flink" / "checkpoints").as_uri()}

    again = call("submit", "rankings")
    assert again.exit_code == 2
    assert "liveshelf submit rankings --upgrade" in again.stderr

    savepoint = call("stop", "features").stdout.strip().removeprefix("file:")
    assert Path(savepoint).parent == cluster.savepoints
    assert (Path(savepoint) / "_metadata").is_file()

    # A job that wants two slots doesn't come up where one is free: it is cancelled, and the other one goes on.
    monkeypatch.setattr(submit, "RUNNING_LIMIT_S", 5.0)
    monkeypatch.setenv("LIVESHELF_PARALLELISM", "2")
    too_large = call("submit", "features")
    assert too_large.exit_code == 4
    assert "doesn't run after 5 s" in too_large.stderr
    assert states(cluster) == {"liveshelf rankings": "RUNNING"}
    eventually(lambda: cluster.slots() == (1, 2))


def states(cluster: ForeignFlink) -> dict[str, str]:
    """The states of the jobs that haven't ended."""
    jobs = flink_rest.ask(cluster.rest_url, "/jobs/overview")["jobs"]
    return {job["name"]: job["state"] for job in jobs if job["state"] not in flink_rest.ENDED}
