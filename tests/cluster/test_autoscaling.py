"""Flink's adaptive scheduler, with a cluster for each job: a TaskManager leaves, another joins, and nobody is told."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cluster import runtime
from jobs.connect import flink_rest
from jobs.lab.chaos.own.foreign_flink import ForeignFlink, foreign_flink
from jobs.operate.bring_up import bring_up
from jobs.settings import Settings
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]
CLICKS = 1500


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def widths(flink: ForeignFlink) -> set[tuple[str, int]]:
    """The state and the parallelism of each of the job's parts; none while it is between two parallelisms."""
    jobs = flink_rest.ask(flink.rest_url, "/jobs/overview")["jobs"]
    running = [each["jid"] for each in jobs if each["state"] == "RUNNING"]
    vertices = [vertex for job in running for vertex in flink_rest.ask(flink.rest_url, f"/jobs/{job}")["vertices"]]
    return {(vertex["status"], vertex["parallelism"]) for vertex in vertices}


def replay_and_verify(since: str) -> None:
    begun_s = time.monotonic()
    call("replay", "eshop2008", "--since", since, "--shift-to-now", "--limit", str(CLICKS))
    told = json.loads(call("verify", "--wait", "180s", "--json"))
    print(f"replayed and verified in {time.monotonic() - begun_s:.1f} s: {told['compared']:,} compared", flush=True)
    assert told["compared"] > 0
    assert told["mismatched"] == 0


def test_a_job_follows_the_slots_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two TaskManagers, one, and two again; the rankings job is submitted once, and its lists stay right."""
    for name in [name for name in os.environ if name.startswith("LIVESHELF_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    python = {"python__executable": sys.executable}
    with (
        foreign_flink(tmp_path / "of-features", **python) as of_features,
        foreign_flink(tmp_path / "of-rankings", **python, jobmanager__scheduler="adaptive") as of_rankings,
    ):
        named = {"STATE_DIR": tmp_path / "state", "KAFKA_PORT": 0, "REDIS_PORT": 0, "TOPIC_PARTITIONS": 2}
        for name, value in named.items():
            monkeypatch.setenv(f"LIVESHELF_{name}", str(value))
        try:
            for job, flink, parallelism in (("features", of_features, 1), ("rankings", of_rankings, 2)):
                monkeypatch.setenv("LIVESHELF_FLINK_REST_URL", flink.rest_url)
                monkeypatch.setenv("LIVESHELF_PARALLELISM", str(parallelism))
                bring_up(Settings())
                call("submit", job)
            replay_and_verify("2008-08-01")
            assert widths(of_rankings) == {("RUNNING", 2)}

            of_rankings.task_managers()[0].kill()
            begun_s = time.monotonic()
            eventually(lambda: widths(of_rankings) == {("RUNNING", 1)}, within_s=180)
            print(f"goes on in one slot after {time.monotonic() - begun_s:.1f} s", flush=True)
            replay_and_verify("2008-08-04")

            of_rankings.script("taskmanager.sh", "start")
            begun_s = time.monotonic()
            eventually(lambda: widths(of_rankings) == {("RUNNING", 2)}, within_s=180)
            print(f"runs in two slots again after {time.monotonic() - begun_s:.1f} s", flush=True)
            replay_and_verify("2008-08-07")
        finally:
            runtime.down(Settings())
