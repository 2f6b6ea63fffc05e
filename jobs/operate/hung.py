"""Mend jobs that wait for a Python worker which is dead or stopped.

A worker may die at a moment when its task isn't told. The task then waits for the rest of a batch for ever: Flink says
RUNNING, and no checkpoint completes. One of about 70 kills did this.
"""

import time
from contextlib import suppress
from pathlib import Path

import psutil

from jobs.cluster import flink, processes
from jobs.connect import flink_rest
from jobs.flow.submissions import Submitted

LOOK_EVERY_S = 5.0
HUNG_S = 15.0  # a death that Flink notices ends the task within a second


class Hung:
    """Count the Python workers on this machine. It sees nothing of TaskManagers that run elsewhere."""

    def __init__(self, state_dir: Path, rest_url: str) -> None:
        self._state_dir, self._rest_url = state_dir, rest_url
        self._next_s, self._short_since_s = 0.0, 0.0
        self._counted = (
            False  # whether all workers have been found since something was killed: else the count may be wrong
        )

    def mend(self, running: list[Submitted]) -> str:
        """Kill the process that the jobs wait for, so that Flink starts them again; return a sentence about it, or "".

        It kills the workers that are stopped. If there are none, it kills the TaskManagers, because nothing else ends a
        task that waits for a dead worker. (Flink itself ends the TaskManager 180 s after a cancellation that failed.)
        Raise `requests.RequestException` if Flink doesn't answer.
        """
        now_s = time.monotonic()
        if now_s < self._next_s:
            return ""
        self._next_s = now_s + LOOK_EVERY_S
        managers = [
            process
            for process in processes.owned(self._state_dir, "flink")
            if flink.TASK_MANAGER in processes.words(process)
        ]
        # Of all processes of that name only a TaskManager's own answer it.
        workers = [
            process
            for manager in managers
            for process in _descendants(manager)
            if flink.PYTHON_WORKER in processes.words(process)
        ]
        stopped = [process for process in workers if _is_stopped(process)]
        tasks = sum(map(self._python_tasks, running))
        whole = len(workers) - len(stopped) >= tasks
        self._counted = self._counted or (whole and tasks > 0)
        if whole or not managers or not self._counted:
            self._short_since_s = 0.0
            return ""
        self._short_since_s = self._short_since_s or now_s
        if now_s - self._short_since_s < HUNG_S:
            return ""
        self._short_since_s, self._counted = 0.0, False
        for process in stopped or managers:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        waited = "a job waited for a Python worker that was"
        return f"{waited} stopped, and is killed" if stopped else f"{waited} dead: its TaskManager is killed"

    def _python_tasks(self, submitted: Submitted) -> int:
        vertices = flink_rest.ask(self._rest_url, f"/jobs/{submitted.job_id}")["vertices"]
        return sum(vertex["tasks"]["RUNNING"] for vertex in vertices if "Python" in vertex["name"])


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)  # a shell is between them
    return []


def _is_stopped(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return False
