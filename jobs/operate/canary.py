"""Run a new version of the rankings job beside the live one, compare their lists, and promote it or end it.

The canary reads the same topics with a consumer group of its own. It begins with the live job's state, from a savepoint
that the live job is asked for. It writes visitors' lists to `shelf-shadow:{VISITOR}:SHELF`, and nothing else: no log,
no gate, no lists of items and places, no trends. So whoever is answered by the live job sees nothing of it.
"""

import shutil
import time
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import msgspec
import requests

from jobs.cluster.runtime import Runtime
from jobs.connect import addresses, flink_rest
from jobs.contract.shelf import SHADOW
from jobs.errors import ServiceError, SettingsError
from jobs.flow import submissions
from jobs.flow.job_config import JobConfig
from jobs.flow.submissions import CANARY, Submitted
from jobs.operate import running_jobs, submit, upgrade, workers
from jobs.operate.comparison import LIMIT, Comparison, compare
from jobs.operate.running_jobs import RUNNING_LIMIT_S, wait_running
from jobs.operate.served import Served
from jobs.settings import Settings

Tell = Callable[[str], None]
UNLINKED = 1000  # keys a command


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a canary does: `state` is Flink's, or "gone"; `errors` say why it was started again, newest first."""

    state: str
    job_id: str
    since_ms: int
    model: str
    model_dir: str
    shelves_dir: str
    errors: list[str]
    lists: Comparison


def start(settings: Settings, runtime: Runtime, tell: Tell = lambda line: None) -> Submitted:
    """Submit the version that settings and environment describe as a canary; return its note once it runs.

    Raises `SettingsError` if there is one already or no slot is free, `ServiceError`, `DefinitionError`, `ModelError`.
    """
    if running_jobs.running_job(runtime, CANARY) or submissions.noted_job(settings.state_dir, CANARY):
        raise SettingsError("there is a canary already", "liveshelf canary promote, or liveshelf canary rollback")
    _refuse_full(settings, runtime)
    if workers.needs_probe(settings):
        workers.check(settings, runtime.flink_rest_url)
    remove_lists(runtime)
    tell("taking a savepoint of the running rankings job")
    savepoint = running_jobs.savepoint(settings, runtime, "rankings")
    at_s = time.time()
    call = submit.submission(settings, runtime, "rankings", savepoint, name=CANARY, shadow=True)
    tell("submitting the canary")
    job_id, output = submissions.run_client(call.argv, call.environment)
    if not job_id:
        raise ServiceError(f"Flink didn't take the canary:\n{running_jobs.cause(output)}", f"try by hand: {call.line}")
    note = submit.remember(settings, CANARY, job_id, call, savepoint, at_s)
    try:
        wait_running(runtime, job_id, RUNNING_LIMIT_S)
    except BaseException:  # Ctrl-C too
        end(settings, runtime)
        raise
    return note


def promote(settings: Settings, runtime: Runtime, tell: Tell = lambda line: None) -> str:
    """Let the canary's version go on from the live job's savepoint in its place, and end the canary; return its id.

    It is submitted as the canary was: the settings of now don't count. Raises what `upgrade.replace` raises; then the
    old version serves, and the canary goes on.
    """
    note = noted(settings)
    if running_jobs.running_job(runtime, CANARY) is None or running_jobs.is_coming_up(runtime, CANARY):
        raise ServiceError("the canary doesn't run, so its version wouldn't either", "liveshelf canary status")
    shadow, live = (submissions.config_path(settings.state_dir, name) for name in (CANARY, "rankings"))
    config = msgspec.structs.replace(JobConfig.load(shadow), shadow=False)

    def submit_new(savepoint: str) -> str:
        config.save(live)
        tell("submitting the new version")
        argv = [str(live) if word == str(shadow) else word for word in note.argv]
        new = msgspec.structs.replace(note, job="rankings", argv=argv)
        again = submissions.start_again(settings.state_dir, new, savepoint)
        wait_running(runtime, again.job_id, RUNNING_LIMIT_S)
        return again.job_id

    job_id = upgrade.replace(settings, runtime, "rankings", submit_new, tell)
    tell("ending the canary")
    end(settings, runtime)
    return job_id


def noted(settings: Settings) -> Submitted:
    """Return the canary's note; raise `ServiceError` if none was started from this state folder."""
    note = submissions.noted_job(settings.state_dir, CANARY)
    if note is None:
        raise ServiceError(f"no canary was started from {settings.state_dir}", "liveshelf canary start")
    return note


def status(settings: Settings, runtime: Runtime, limit: int = LIMIT) -> Status:
    """Return how the canary does; raise `ServiceError` if there is none."""
    note = noted(settings)
    state, errors = "gone", []
    with suppress(requests.HTTPError):  # the JobManager doesn't know it
        state = flink_rest.ask(runtime.flink_rest_url, f"/jobs/{note.job_id}")["state"]
        history = flink_rest.ask(runtime.flink_rest_url, f"/jobs/{note.job_id}/exceptions")["exceptionHistory"]
        errors = [running_jobs.cause(entry["stacktrace"]) for entry in history["entries"]]
    config = submissions.config(settings.state_dir, CANARY)
    return Status(
        state=state,
        job_id=note.job_id,
        since_ms=int(note.at_s * 1000),
        model=Served.of(Path(config.ranker.model_dir)).version,
        model_dir=config.ranker.model_dir,
        shelves_dir=config.ranker.shelves_dir,
        errors=errors,
        lists=compare(runtime.redis_url, int(note.at_s * 1000), limit),
    )


def end(settings: Settings, runtime: Runtime) -> int:
    """End the canary, if it runs, and remove what it kept; return how many lists were removed."""
    note = submissions.noted_job(settings.state_dir, CANARY)
    running_jobs.cancel(settings, runtime, CANARY)
    submissions.config_path(settings.state_dir, CANARY).unlink(missing_ok=True)
    if note and not settings.flink_rest_url:
        _remove_state(settings.state_dir, note)
    return remove_lists(runtime)


def remove_lists(runtime: Runtime) -> int:
    """Remove the lists of all canaries; return their number."""
    removed = 0
    with closing(addresses.redis_client(runtime.redis_url)) as client:
        found = client.scan_iter(match=f"{SHADOW}:*", count=UNLINKED)
        while keys := list(islice(found, UNLINKED)):
            removed += cast(int, client.unlink(*keys))
    return removed


def _refuse_full(settings: Settings, runtime: Runtime) -> None:
    """Raise `SettingsError` if an embedded cluster lacks slots; one of the user's own may get more by itself."""
    free = flink_rest.ask(runtime.flink_rest_url, "/overview")["slots-available"]
    if not settings.flink_rest_url and free < settings.parallelism:
        wanted = settings.slots_per_task_manager + -(-settings.parallelism // settings.task_managers)
        raise SettingsError(
            f"a canary takes {settings.parallelism} task slots, and {free} are free",
            f"LIVESHELF_SLOTS_PER_TASK_MANAGER={wanted}, then: liveshelf down; liveshelf up; submit from savepoints",
        )


def _remove_state(state_dir: Path, note: Submitted) -> None:
    """Remove the canary's checkpoints and the savepoint that it began with: they hold what visitors did."""
    shutil.rmtree(state_dir.resolve() / "flink" / "checkpoints" / note.job_id, ignore_errors=True)
    begun = Path(urlsplit(note.restored_from).path)
    if begun.is_relative_to(state_dir.resolve() / "flink" / "savepoints"):
        shutil.rmtree(begun, ignore_errors=True)
