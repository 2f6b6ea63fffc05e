"""Submit a Flink job and follow it to its end through Flink's REST interface."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import requests

from jobs.connect import flink_rest
from jobs.errors import ServiceError
from jobs.flow.submissions import run_client

POLL_S = 0.2  # of the state only: durations are the job's own timestamps
# A bounded job's tasks would else wait for one more checkpoint after their last record: 0 to 10 s that aren't work.
BOUNDED = ("-Dexecution.checkpointing.checkpoints-after-tasks-finish=false",)


def submit(argv: list[str], environment: dict[str, str], bounded: bool) -> str:
    """Call `flink run -d …` and return the job's id. Raises ServiceError with what Flink said."""
    options = argv.index("-d")
    argv = [*argv[:options], *(BOUNDED if bounded else ()), *argv[options:]]
    job_id, output = run_client(argv, environment)
    if not job_id:
        raise ServiceError(f"Flink didn't take {' '.join(argv)}:\n{output.strip()[-4000:]}", "report this")
    return job_id


class Span(NamedTuple):
    """When a job began to run and when it had finished, in seconds since the epoch."""

    began_s: float
    ended_s: float


def to_end(rest_url: str, job: str, limit_s: float) -> Span:
    """Wait for a bounded job. Raises ServiceError if it fails, restarts or hangs."""
    deadline = time.monotonic() + limit_s
    while True:
        status = _ask(rest_url, f"/jobs/{job}")
        times = status["timestamps"]
        if status["state"] == "FINISHED" and not times["RESTARTING"]:
            return Span(times["RUNNING"] / 1000, times["FINISHED"] / 1000)
        if times["RESTARTING"] or status["state"] in ("FAILED", "CANCELED", "FINISHED"):
            raise _failed(
                rest_url,
                job,
                f"{status['state'].lower()}, after a restart" if times["RESTARTING"] else status["state"].lower(),
            )
        if time.monotonic() > deadline:
            raise _failed(rest_url, job, f"still {status['state'].lower()} after {limit_s:.0f} s")
        time.sleep(POLL_S)


def wait_running(rest_url: str, job: str, limit_s: float = 60.0) -> None:
    """Wait until every task of a job runs; raises ServiceError if it doesn't come to that."""
    deadline = time.monotonic() + limit_s
    while True:
        status = _ask(rest_url, f"/jobs/{job}")
        if {vertex["status"] for vertex in status["vertices"]} == {"RUNNING"}:
            return
        if status["timestamps"]["RESTARTING"] or status["state"] == "FAILED" or time.monotonic() > deadline:
            raise _failed(rest_url, job, f"{status['state'].lower()} and not running")
        time.sleep(POLL_S)


def cancel(rest_url: str, job: str, limit_s: float = 60.0) -> None:
    """Cancel a job and wait until it is gone; one that has already ended stays as it is."""
    requests.patch(f"{rest_url}/jobs/{job}", timeout=10)
    deadline = time.monotonic() + limit_s
    while (state := _ask(rest_url, f"/jobs/{job}")["state"]) not in ("CANCELED", "FINISHED", "FAILED"):
        if time.monotonic() > deadline:
            raise ServiceError(f"job {job} is {state.lower()} {limit_s:.0f} s after its cancellation", "liveshelf down")
        time.sleep(POLL_S)


class Checkpoint(NamedTuple):
    """A checkpoint: the bytes of state in it, and the seconds from its trigger to its end."""

    bytes: int
    seconds: float


def checkpoint(rest_url: str, job: str, limit_s: float = 300.0) -> Checkpoint:
    """Make a checkpoint of a running job, and wait for it; raise ServiceError if it fails."""
    request = requests.post(f"{rest_url}/jobs/{job}/checkpoints", json={"checkpointType": "FULL"}, timeout=10)
    request.raise_for_status()
    trigger, deadline = request.json()["request-id"], time.monotonic() + limit_s
    while time.monotonic() < deadline:
        answer = _ask(rest_url, f"/jobs/{job}/checkpoints/{trigger}")
        if "failureCause" in (answer.get("operation") or {}):
            raise ServiceError(f"job {job} made no checkpoint: {answer['operation']['failureCause']}", "see its log")
        if answer["status"]["id"] == "COMPLETED":
            number = answer["operation"]["checkpointId"]
            for each in _ask(rest_url, f"/jobs/{job}/checkpoints")["history"]:  # which is some seconds old
                if each["id"] == number:
                    return Checkpoint(each["state_size"], each["end_to_end_duration"] / 1000)
        time.sleep(POLL_S)
    raise ServiceError(f"job {job} made no checkpoint in {limit_s:.0f} s", "see the TaskManager's log")


def slots(rest_url: str) -> tuple[int, int]:
    """Return the cluster's task slots: (free, all)."""
    overview = _ask(rest_url, "/overview")
    return overview["slots-available"], overview["slots-total"]


def wait_slots(rest_url: str, count: int, limit_s: float = 30.0) -> int:
    """Return the number of free slots, once there are `count` of them or the time is over."""
    deadline = time.monotonic() + limit_s
    while (free := slots(rest_url)[0]) < count and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return free


def _failed(rest_url: str, job: str, how: str) -> ServiceError:
    with suppress(ServiceError, requests.RequestException):
        cancel(rest_url, job, limit_s=15)
    reasons: Sequence[dict[str, Any]] = _ask(rest_url, f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"]
    text = reasons[0]["stacktrace"] if reasons else "(no exception)"
    python = text.rfind("Traceback (most recent call last)")
    return ServiceError(f"job {job} is {how}:\n{text[max(python, 0) :][:3000]}", "see the TaskManager's log")


def _ask(rest_url: str, path: str) -> dict[str, Any]:
    """Ask as `flink_rest.ask` does, five times: a JobManager on a busy core answers late."""
    for _ in range(5):
        with suppress(requests.Timeout):
            return flink_rest.ask(rest_url, path)
    raise ServiceError(f"{rest_url}{path} doesn't answer", "see the JobManager's log")
