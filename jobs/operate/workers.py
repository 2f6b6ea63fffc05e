"""The Python that runs liveshelf's operators on a Flink cluster of the user's own: which one, and what it lacks.

Flink's client names the Python, and the TaskManagers start it. A Python that lacks something is noticed there only: the
job starts again and again and keeps its slots. So a small job looks first.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
import requests

from jobs.cluster import flink
from jobs.connect import flink_rest
from jobs.errors import ServiceError
from jobs.operate import worker_report
from jobs.settings import Settings

# What `pip install 'liveshelf[run]'` brings and a worker imports, and then the operators themselves. The packages are
# named one by one, because an import ends at the first one that is missing.
PACKAGES = ("jobs", "models", "pyflink", "msgspec", "numpy", "pandas", "pyarrow", "onnxruntime", "redis", "feast")
OPERATORS = ("jobs.features.operator", "jobs.rankings.operator")
PYFLINK = "apache-flink"  # Flink's own two halves must be of one version
PROBE = "liveshelf probe"
PROBE_LIMIT_S = 180.0  # 12 s on two idle cores; a cluster that starts TaskManagers on demand takes longer
# What a TaskManager says of a Python that can't even start a worker.
NO_MODULE = re.compile(r"No module named '([\w.]+)'")
NO_PYTHON = re.compile(
    r"""(?:Cannot run program|exec:) "?([^\s":]+)"?:? .*(?:No such file|not found|Permission denied)"""
)
FIX = "install liveshelf there (pip install 'liveshelf[run]'), or name a Python that has it: LIVESHELF_WORKER_PYTHON"


class Worker(msgspec.Struct, frozen=True):
    """A Python as it is on a TaskManager: `missing` says by module why it can't be imported."""

    executable: str
    python: str
    machine: str
    missing: dict[str, str]
    versions: dict[str, str]

    def problems(self) -> list[str]:
        """Return what keeps liveshelf's operators from running there, one sentence each."""
        problems = [f"{module} can't be imported ({reason})" for module, reason in self.missing.items()]
        theirs, ours = self.versions.get(PYFLINK, ""), version(PYFLINK)
        if theirs != ours and "pyflink" not in self.missing:
            problems.append(f"{PYFLINK} is {theirs or 'unknown'}, and {ours} submits")
        return problems


def needs_probe(settings: Settings) -> bool:
    """Return True unless the workers have this very Python: that of the embedded cluster."""
    return bool(settings.flink_rest_url or settings.worker_python)


def check(settings: Settings, rest_url: str) -> Worker:
    """Return the workers' Python if it has what the operators need; raise `ServiceError` that names what it lacks."""
    worker = look(settings, rest_url)
    if problems := worker.problems():
        raise ServiceError(
            f"{worker.executable} (Python {worker.python}) on the TaskManager at {worker.machine} can't run liveshelf: "
            + "; ".join(problems),
            FIX,
        )
    return worker


def look(settings: Settings, rest_url: str) -> Worker:
    """Run the probe job and return what it saw; raise `ServiceError` if the Python can't start a worker at all."""
    python = flink.worker_python(settings)
    command = flink.command(settings)
    job = ["-py", str(Path(__file__).with_name("worker_probe.py")), _expression()]
    try:
        done = subprocess.run(
            [*command.argv, *job],
            capture_output=True,
            text=True,
            env=os.environ | command.environment,
            timeout=PROBE_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(
            f"no task slot ran a small Python job within {PROBE_LIMIT_S:g} s on {rest_url}",
            "stop a job that holds a slot, or add a TaskManager",
        ) from error
    finally:
        _cancel_probes(rest_url)
    answer = next((line for line in done.stdout.splitlines() if line.startswith('{"executable"')), "")
    if not answer:
        raise ServiceError(f"{python} on the TaskManagers {cause(done.stdout + done.stderr)}", FIX)
    return msgspec.json.decode(answer, type=Worker)


def cause(output: str) -> str:
    """Return why a Python couldn't start a worker, from what Flink's client printed."""
    if module := NO_MODULE.search(output):
        return f"has no module {module[1]}"
    if program := NO_PYTHON.search(output):
        return f"can't be run: there is no program {program[1]}"
    reasons = [line for line in output.splitlines() if line.startswith("Caused by: ")]
    return f"can't run a small Python job: {(reasons or output.splitlines() or ['it says nothing'])[-1]}"


def _expression() -> str:
    """Return Python that defines `report` and calls it, as one expression: that is all that `eval` takes."""
    source = Path(worker_report.__file__).read_text()
    call = f"names['report']({list(PACKAGES)}, {list(OPERATORS)}, {[PYFLINK]})"
    return f"(lambda names: (exec({source!r}, names), {call})[1])({{}})"


def _cancel_probes(rest_url: str) -> None:
    """Leave no probe behind, however it ended."""
    try:
        for job in flink_rest.ask(rest_url, "/jobs/overview")["jobs"]:
            if job["name"] == PROBE and job["state"] not in flink_rest.ENDED:
                flink_rest.cancel(rest_url, job["jid"])
    except requests.RequestException as error:
        print(f"a probe may still run on {rest_url}: {error}", file=sys.stderr)
