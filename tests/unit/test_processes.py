"""Processes that a state folder started, as it finds them again."""

from pathlib import Path

from jobs.cluster import processes


def test_a_process_is_known_from_the_moment_it_was_started(tmp_path: Path):
    try:
        for _ in range(100):
            pid = processes.spawn(["sleep", "60"], owner=tmp_path, service="sleep", log=tmp_path / "log")
            assert processes.is_owned(pid, tmp_path)
    finally:
        processes.stop(processes.owned(tmp_path))


def test_one_that_ends_at_once_is_not_waited_for(tmp_path: Path):
    pid = processes.spawn(["true"], owner=tmp_path, service="true", log=tmp_path / "log")
    assert pid > 0
