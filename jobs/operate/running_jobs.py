"""The jobs that Flink runs: find one, wait until it runs, stop it."""

import re
import time
from collections.abc import Mapping
from typing import Any, Literal

from jobs.cluster import flink
from jobs.cluster.runtime import Runtime
from jobs.connect import flink_rest
from jobs.errors import ServiceError, SettingsError
from jobs.flow import submissions
from jobs.settings import Settings

Job = Literal["features", "rankings"]
JOBS: tuple[Job, ...] = ("features", "rankings")
RUNNING = ("CREATED", "INITIALIZING", "RUNNING", "RESTARTING", "FAILING")
RUNNING_LIMIT_S = 120.0  # a submitted job that isn't up by then is cancelled; two idle cores take 6 s
COMPLETED = re.compile(r"Savepoint completed\. Path: (\S+)")
PYTHON_ERROR = r"((pyflink|jobs|models)\.[\w.]+|[A-Za-z]+(Error|Exception|Exit)): "  # how a Python's last line begins
SAVEPOINT_FOLDERS = ("execution.checkpointing.savepoint-dir", "state.savepoints.dir")  # the second is Flink 1's name


def running_job(runtime: Runtime, job: str) -> str | None:
    """Return the id of the job of that kind (or "canary") that runs, or tries to; None if there is none."""
    for listed in flink_rest.ask(runtime.flink_rest_url, "/jobs/overview")["jobs"]:
        if listed["name"] == f"liveshelf {job}" and listed["state"] in RUNNING:
            return str(listed["jid"])
    return None


def wait_running(runtime: Runtime, job_id: str, limit_s: float = RUNNING_LIMIT_S) -> None:
    """Wait until all tasks of a job run; raise `ServiceError` with the job's own exception if they don't."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        job = flink_rest.ask(runtime.flink_rest_url, f"/jobs/{job_id}")
        if runs(job):
            return
        if job["state"] in ("FAILED", "CANCELED"):
            break
        time.sleep(0.2)
    history = flink_rest.ask(runtime.flink_rest_url, f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
    reason = history[0]["stacktrace"] if history else "no slot came free, or the cluster is too slow"
    raise ServiceError(
        f"job {job_id} doesn't run after {limit_s:g} s: {cause(reason)}", "liveshelf status; liveshelf doctor"
    )


def runs(job: dict[str, Any]) -> bool:
    """Return True if all tasks of a job run or have finished; `job` is Flink's description of it."""
    tasks = {vertex["status"] for vertex in job["vertices"]}
    return (job["state"] == "RUNNING" and tasks <= {"RUNNING", "FINISHED"}) or job["state"] == "FINISHED"


def is_coming_up(runtime: Runtime, job: str) -> bool:
    """Return True if a job was taken and doesn't run yet. One that runs already may go on."""
    job_id = running_job(runtime, job)
    return job_id is not None and not runs(flink_rest.ask(runtime.flink_rest_url, f"/jobs/{job_id}"))


def cancel(settings: Settings, runtime: Runtime, job: str) -> None:
    """End a job without a savepoint, and wait until it is gone."""
    job_id = running_job(runtime, job)
    submissions.forget(settings.state_dir, job)  # or the keeper would start it again
    if job_id:
        flink_rest.cancel(runtime.flink_rest_url, job_id)
        flink_rest.wait_gone(runtime.flink_rest_url, job_id)


def stop(settings: Settings, runtime: Runtime, job: Job, savepoint: bool = True) -> str:
    """Stop a job; return the path of its savepoint, "" if none was wanted. Raise `ServiceError`, `SettingsError`."""
    job_id = running_job(runtime, job)
    if job_id is None:
        raise ServiceError(f"no {job} job is running", "liveshelf status")
    if not savepoint:
        cancel(settings, runtime, job)
        return ""
    folder = savepoint_folder(settings, job)
    note = submissions.noted_job(settings.state_dir, job)
    submissions.forget(settings.state_dir, job)
    done = flink.command(settings, "stop").run("--savepointPath", folder, job_id)
    savepoint_path = COMPLETED.search(done.stdout)
    if done.returncode or not savepoint_path:
        if note:
            submissions.note(settings.state_dir, note)  # it runs on, and must be started again if it is lost
        raise ServiceError(f"the {job} job wasn't stopped:\n{cause(done.stdout + done.stderr)}", "liveshelf status")
    flink_rest.wait_gone(runtime.flink_rest_url, job_id)
    return savepoint_path[1]


def savepoint(settings: Settings, runtime: Runtime, job: Job) -> str:
    """Take a savepoint of a job that goes on; return its path. Raise `ServiceError`, `SettingsError`."""
    job_id = running_job(runtime, job)
    if job_id is None:
        raise ServiceError(f"no {job} job is running", f"liveshelf submit {job}")
    done = flink.command(settings, "savepoint").run(job_id, savepoint_folder(settings, job))
    path = COMPLETED.search(done.stdout)
    if done.returncode or not path:
        raise ServiceError(f"the {job} job gave no savepoint:\n{cause(done.stdout + done.stderr)}", "liveshelf status")
    return path[1]


def savepoint_folder(settings: Settings, job: Job) -> str:
    """Return where the cluster keeps savepoints; raise `SettingsError` if a cluster of the user's own says nothing."""
    if not settings.flink_rest_url:
        return str(flink.folder(settings.state_dir) / "savepoints")
    return own_savepoint_folder(flink.cluster_config(settings), settings.flink_rest_url, job)


def own_savepoint_folder(configuration: Mapping[str, str], rest_url: str, job: Job) -> str:
    """Return the folder that a cluster's configuration names; raise `SettingsError` if it names none."""
    folder = next((configuration[name] for name in SAVEPOINT_FOLDERS if configuration.get(name)), "")
    if not folder:
        raise SettingsError(
            f"the Flink cluster at {rest_url} has no folder for savepoints",
            f"set {SAVEPOINT_FOLDERS[0]} in the cluster's config.yaml, or: liveshelf stop {job} --no-savepoint",
        )
    return folder


def cause(output: str) -> str:
    """Return the line of a client's output that says what went wrong: the Python error, or the innermost Java one."""
    lines = output.splitlines()
    python = [line for line in lines if re.match(PYTHON_ERROR, line)]
    java = [line for line in lines if line.startswith("Caused by: ")]
    return "\n".join(python[:1] or java[-1:] or lines[-5:])
