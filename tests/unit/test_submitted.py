"""The note of a job, and where it can go on."""

import os
from pathlib import Path

import msgspec

from jobs import submitted
from jobs.submitted import Submitted

FEATURES = Submitted("features", "a1", ["flink", "run", "-d", "-py", "job.py"], {}, "file:///first")


def checkpoint(state_dir: Path, number: int, complete_at_s: float) -> Path:
    folder = state_dir / "flink" / "checkpoints" / "a1" / f"chk-{number}"
    folder.mkdir(parents=True)
    (folder / "_metadata").touch()
    os.utime(folder / "_metadata", (complete_at_s, complete_at_s))
    return folder


def test_noted_jobs_are_those_that_werent_forgotten(tmp_path: Path) -> None:
    rankings = msgspec.structs.replace(FEATURES, job="rankings")
    submitted.note(tmp_path, FEATURES)
    submitted.note(tmp_path, rankings)
    assert submitted.noted(tmp_path) == [FEATURES, rankings]
    submitted.forget(tmp_path, "features")
    assert submitted.noted(tmp_path) == [rankings]
    submitted.forget(tmp_path)
    assert submitted.noted(tmp_path) == []


def test_a_job_goes_on_from_its_newest_complete_checkpoint_or_from_where_it_began(tmp_path: Path) -> None:
    assert submitted.newest_start(tmp_path, FEATURES) == "file:///first"
    checkpoint(tmp_path, 1, 100)
    newest = checkpoint(tmp_path, 2, 110)
    (tmp_path / "flink" / "checkpoints" / "a1" / "chk-3").mkdir()  # was under way
    assert submitted.newest_start(tmp_path, FEATURES) == newest.as_uri()


def test_what_redis_lost_since_a_moment_is_written_again_from_the_checkpoint_before_it(tmp_path: Path) -> None:
    old = checkpoint(tmp_path, 1, 100)
    checkpoint(tmp_path, 2, 110)
    assert submitted.start_before(tmp_path, FEATURES, 109.9) == old.as_uri()
    assert submitted.start_before(tmp_path, FEATURES, 99) == ""
    restored = msgspec.structs.replace(FEATURES, job_id="a2", restored_from=old.as_uri())
    assert submitted.start_before(tmp_path, restored, 105) == old.as_uri()
    assert submitted.start_before(tmp_path, restored, 99) == ""
