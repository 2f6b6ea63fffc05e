"""py-spy itself, on a process that does one thing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cluster import processes
from jobs.lab.bench import steps


@pytest.mark.skipif(steps.program_file() is None, reason="py-spy isn't installed")
def test_py_spy_writes_what_is_read(tmp_path: Path) -> None:
    """A worker that only cuts sessions is seen to do so, until it ends by itself."""
    code = (
        "import time; from jobs.rankings.session import current_session\n"
        "end = time.monotonic() + 3\n"
        "while time.monotonic() < end: current_session('1\\x1fview\\x1fa\\x1fe\\x1f', 10)"
    )
    environment = os.environ | {processes.OWNER_MARK: str(tmp_path.resolve())}
    worker = subprocess.Popen([sys.executable, "-c", code, "pyflink.fn_execution"], env=environment)
    sampler = steps.WorkerSampler(tmp_path, tmp_path / "stacks")
    while worker.poll() is None:
        sampler.look()

    assert sampler.shares().get("cut sessions", 0) > 0.5
