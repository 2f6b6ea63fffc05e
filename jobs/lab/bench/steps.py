"""Sample a Python worker, and say which step of its job the processor time went to.

py-spy (extra test) looks at the worker 100 times a second from outside, and pauses it for each look: rankings went a
third slower. So the run that is sampled isn't one that gives rates.
"""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from jobs.cluster import processes
from jobs.lab.bench.memory import kind

RATE_HZ = 100
TRIES = 5  # a process that has just begun isn't Python yet; one of another user may never be looked at
ENDS_WITHIN_S = 60  # py-spy, after the worker that it looks at
# A part of a frame, as "function (file:line)" → the step. The first that occurs anywhere in a stack counts.
STEPS = {
    "ContextReader.read_all": "read features",
    "Publisher.": "write lists",
    "Encoder.value": "encode lists",
    "Encoder.log_record": "encode lists",
    "RowEncoder.": "encode rows",
    "(jobs/rankings/session.py": "cut sessions",
    "encode (jobs/rankings/candidates/": "encode sessions",
    "(jobs/rankings/candidates/": "model",
    "(models/serving/": "model",
    "(jobs/rankings/rules/": "rules and selection",
    "(jobs/rankings/select.py": "rules and selection",
    "(jobs/rankings/shelf_ranker.py": "rules and selection",
    "(jobs/rankings/metrics.py": "counters",
    "(jobs/connect/redis_pipeline.py": "write rows",
    ".eval (jobs/": "rest of the operator",
    "process_bundle": "Beam, Arrow and pandas",
}
OTHER = "other threads"
# Where a thread waits. Some machines don't tell py-spy that it does.
WAITING = ("(threading.py", "(selectors.py", "(queue.py", "(grpc/", "_worker (concurrent/", ".read_from_socket (")


class WorkerSampler:
    """Samples the Python worker of one job, from the first look that sees it at work until its end."""

    def __init__(self, state_dir: Path, file: Path) -> None:
        """Begin to look for the worker of the cluster in `state_dir`; py-spy writes to `file`."""
        self._state_dir, self._file = state_dir, file
        self._sampler: subprocess.Popen[bytes] | None = None
        self._tries = 0
        file.unlink(missing_ok=True)  # of the run before

    def look(self) -> None:
        """Begin to sample if there are a worker and py-spy."""
        program = program_file()
        works = self._sampler is not None and not self._sampler.poll()
        if works or self._tries == TRIES or program is None:
            return
        found = [process for process in processes.owned(self._state_dir) if kind(process.cmdline()) == "python_worker"]
        if found:
            options = ["--format", "raw", "--rate", str(RATE_HZ), "--output", str(self._file)]
            busiest = max(found, key=lambda process: sum(process.cpu_times()[:2]))
            argv = [program, "record", *options, "--pid", str(busiest.pid)]
            self._tries += 1
            self._sampler = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def shares(self) -> dict[str, float]:
        """Return the share of each step once the worker has ended, nothing if it couldn't be sampled."""
        if self._sampler is None:
            return {}
        try:
            self._sampler.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._sampler.kill()
            self._sampler.wait()
        return shares(self._file.read_text().splitlines()) if self._file.is_file() else {}


def program_file() -> str | None:
    """Return where py-spy is installed, None where it isn't."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.is_file() else shutil.which("py-spy")


def shares(stacks: Iterable[str]) -> dict[str, float]:
    """Return the share of each step in stacks, empty if there are none. Stacks of threads that wait don't count.

    A line of py-spy's is the frames of a stack, joined by ";", and how often it was seen.
    """
    counts: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        innermost = stack.rpartition(";")[2]
        if not any(part in innermost for part in WAITING):
            counts[step(stack)] += int(count)
    return {name: count / counts.total() for name, count in counts.most_common()}


def step(stack: str) -> str:
    """Return the step of a stack."""
    return next((name for part, name in STEPS.items() if part in stack), OTHER)
