"""The note of a job, and where it can go on."""

import os
from pathlib import Path

import msgspec

from jobs.flow import submissions
from jobs.flow.submissions import Submitted

FEATURES = Submitted("features", "a1", ["flink", "run", "-d", "-py", "job.py"], {}, "file:///first")


def checkpoint(state_dir: Path, number: int, complete_at_s: float) -> Path:
    folder = state_dir / "flink" / "checkpoints" / "a1" / f"chk-{number}"
    folder.mkdir(parents=True)
    (folder / "_metadata").touch()
    os.utime(folder / "_metadata", (complete_at_s, complete_at_s))
    return folder


def test_noted_jobs_are_those_that_werent_forgotten(tmp_path: Path) -> None:
    rankings = msgspec.structs.replace(FEATURES, job="rankings")
    submissions.note(tmp_path, FEATURES)
    submissions.note(tmp_path, rankings)
    assert submissions.noted(tmp_path) == [FEATURES, rankings]
    submissions.forget(tmp_path, "features")
    assert submissions.noted(tmp_path) == [rankings]
    submissions.forget(tmp_path)
    assert submissions.noted(tmp_path) == []


def test_a_job_goes_on_from_its_newest_complete_checkpoint(
    tmp_path: Path,
) -> None:
    """A job goes on from its newest complete checkpoint then an older one then from where it began."""
    assert submissions.starts(tmp_path, FEATURES) == ["file:///first", ""]
    old, newest = checkpoint(tmp_path, 1, 100), checkpoint(tmp_path, 2, 110)
    (tmp_path / "flink" / "checkpoints" / "a1" / "chk-3").mkdir()  # was under way
    assert submissions.starts(tmp_path, FEATURES) == [newest.as_uri(), old.as_uri(), "file:///first", ""]
    assert submissions.starts(tmp_path, msgspec.structs.replace(FEATURES, job_id="a2", restored_from="")) == [""]


def test_what_redis_lost_is_written_again_from_a_checkpoint(tmp_path: Path) -> None:
    """What Redis lost since a moment is written again from the checkpoint before it."""
    old = checkpoint(tmp_path, 1, 100)
    checkpoint(tmp_path, 2, 110)
    assert submissions.start_before(tmp_path, FEATURES, 109.9) == old.as_uri()
    assert submissions.start_before(tmp_path, FEATURES, 99) == ""
    restored = msgspec.structs.replace(FEATURES, job_id="a2", restored_from=old.as_uri())
    assert submissions.start_before(tmp_path, restored, 105) == old.as_uri()
    assert submissions.start_before(tmp_path, restored, 99) == ""


def test_a_job_without_a_checkpoint_yet_needs_no_repair(
    tmp_path: Path,
) -> None:
    """A job started on this Redis from before the loss needs no repair till it has a checkpoint."""
    begun = checkpoint(tmp_path, 1, 100)
    job = msgspec.structs.replace(FEATURES, job_id="a2", restored_from=begun.as_uri(), at_s=200)
    assert submissions.writes_again(tmp_path, job, before_s=110, since_s=150, kept=False)
    assert not submissions.writes_again(tmp_path, job, before_s=90, since_s=150, kept=False)  # lost what it found
    assert not submissions.writes_again(
        tmp_path, job, before_s=110, since_s=250, kept=False
    )  # wrote to the server before this one
    own = msgspec.structs.replace(job, job_id="a1")
    assert not submissions.writes_again(tmp_path, own, before_s=110, since_s=150, kept=False)
    assert submissions.writes_again(
        tmp_path, own, before_s=110, since_s=150, kept=True
    )  # the server has what came after it
    assert not submissions.writes_again(tmp_path, own, before_s=90, since_s=150, kept=True)


def test_a_job_submitted_just_now_writes_everything_anew(tmp_path: Path) -> None:
    """A job that was only just submitted writes everything to a new Redis."""
    new = msgspec.structs.replace(FEATURES, restored_from="", at_s=200)
    assert submissions.writes_again(tmp_path, new, before_s=0, since_s=150, kept=False)


def test_an_own_clusters_checkpoints_lie_where_it_says(tmp_path: Path) -> None:
    """A cluster of the user's own names a folder. Its address escapes blanks, and may be one that nobody here reads."""
    newest = checkpoint(tmp_path / "of operators", 1, 100)
    own = msgspec.structs.replace(FEATURES, checkpoints=newest.parents[1].as_uri())
    assert submissions.starts(tmp_path, own) == [newest.as_uri(), "file:///first", ""]
    assert submissions.start_before(tmp_path, own, 101) == newest.as_uri()
    elsewhere = msgspec.structs.replace(own, checkpoints=f"s3://bucket{newest.parents[1]}")
    assert submissions.checkpoints(tmp_path, elsewhere) == []
