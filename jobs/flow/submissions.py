"""Note each submitted job beside the system's state, so that it can be started again.

`submit` writes the note, `stop` and `down` take it away. So a note whose job the cluster doesn't know is a job that was
lost. This module imports neither Flink nor Feast, because `jobs/operate/keep.py` runs all the time.
"""

import math
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import msgspec

from jobs.contract.ranker_settings import RankerSettings
from jobs.errors import ServiceError
from jobs.flow import began, id_secret, saved_config

BEGUN = "liveshelf:begun:"
CANARY = "canary"  # the name under which a second rankings job is noted, beside "features" and "rankings"
JOB_ID = re.compile(r"JobID ([0-9a-f]{32})")


class Submitted(msgspec.Struct, frozen=True):
    """A job as it was submitted: `argv` without a starting point, `restored_from` "" for the topic's beginning.

    `at_s` is when (epoch), before it ran. `checkpoints` is the address of the folder where a cluster of the user's own
    keeps checkpoints, "" for the embedded one.
    """

    job: str
    job_id: str
    argv: list[str]
    environment: dict[str, str]
    restored_from: str = ""
    at_s: float = 0.0
    checkpoints: str = ""


class Config(msgspec.Struct):
    """The part of a job's configuration (`JobConfig`) that its keeper needs."""

    kafka_bootstrap: str
    redis_url: str
    events_topic: str
    rankings_topic: str
    ranker: RankerSettings
    consent_topic: str
    consent: Literal["assumed", "required"]
    secret_mark: str = ""


def run_client(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[str, str]:
    """Call `flink run -d …`. Return the job's id, "" if the cluster took no job, and what the client printed."""
    done = subprocess.run(argv, capture_output=True, text=True, env=os.environ | environment)
    job_id = JOB_ID.search(done.stdout)
    return job_id[1] if job_id and not done.returncode else "", done.stdout + done.stderr


def note(state_dir: Path, submitted: Submitted) -> None:
    """Write the note of a job that should run."""
    file = _file(state_dir, submitted.job)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(submitted))
    partial.replace(file)


def noted(state_dir: Path) -> list[Submitted]:
    """Return the notes of all jobs that should run."""
    files = sorted((state_dir / "jobs").glob("*.submitted.json"))
    return [msgspec.json.decode(file.read_bytes(), type=Submitted) for file in files]


def noted_job(state_dir: Path, job: str) -> Submitted | None:
    """Return the note of one job, None if it needn't run."""
    return next((submitted for submitted in noted(state_dir) if submitted.job == job), None)


def forget(state_dir: Path, *jobs: str) -> None:
    """Take the notes of these jobs away, or of all: they needn't run any more."""
    for job in jobs or [submitted.job for submitted in noted(state_dir)]:
        _file(state_dir, job).unlink(missing_ok=True)


def config_path(state_dir: Path, job: str) -> Path:
    """Return the file with the configuration of the job that was submitted last. A dry run writes another file."""
    return state_dir.resolve() / "jobs" / f"{job}.submitted.config.json"


def config(state_dir: Path, job: str) -> Config:
    """Return the configuration of a job; raise `ServiceError` if none was ever submitted from this state folder."""
    file = config_path(state_dir, job)
    if not file.is_file():
        raise ServiceError(f"no {job} job was submitted from {state_dir}", f"liveshelf submit {job}")
    return saved_config.read(file, Config)


def secret_mark(state_dir: Path, job: str) -> str:
    """Return the mark of the secret that a job's state was made with; "" if an older release began it without one.

    For a job that was never submitted from here, return the mark of the secret that is here, if there is one.
    """
    file, secret = config_path(state_dir, job), id_secret.path(state_dir)
    if not file.is_file():
        return id_secret.mark_of(secret) if secret.is_file() else ""
    return saved_config.read(file, Config).secret_mark


def checkpoints(state_dir: Path, job: Submitted) -> list[Path]:
    """Return the job's retained, completed checkpoints, newest first; none where this machine can't read them."""
    own = urlsplit(job.checkpoints)
    if own.scheme not in ("", "file"):
        return []
    folder = (Path(unquote(own.path)) if own.path else state_dir.resolve() / "flink" / "checkpoints") / job.job_id
    found = sorted(folder.glob("chk-*/_metadata"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    return [file.parent for file in found]


def starts(state_dir: Path, job: Submitted) -> list[str]:
    """Return where the job can go on, best first: its checkpoints, where it began, the topic's beginning ("")."""
    own = [path.as_uri() for path in checkpoints(state_dir, job)]
    return [*own, job.restored_from, ""] if job.restored_from else [*own, ""]


def start_before(state_dir: Path, job: Submitted, before_s: float) -> str:
    """Return the newest checkpoint that was complete at `before_s` (epoch), "" for the topic's beginning.

    A job that was only just restarted has no checkpoint of its own that is old enough. The one that it was restored
    from may be.
    """
    begun = [_path(job.restored_from)] if job.restored_from else []
    return next((path.as_uri() for path in (*checkpoints(state_dir, job), *begun) if _complete_s(path) <= before_s), "")


def begun_mark(run_id: str, at_s: float) -> str:
    """Return the mark that `submit` leaves in Redis under `BEGUN` and the job's name.

    While it stands, Redis has lost nothing that was written since.
    """
    return f"{run_id} {at_s:.3f}"


def writes_again(state_dir: Path, job: Submitted, before_s: float, since_s: float, kept: bool) -> bool:
    """Return True if the running job will rewrite everything Redis lost, so that it needs no restart.

    Redis runs since `since_s` and has lost what was written since `before_s` (epoch, both). The job rewrites that if it
    started from a point before the loss, and either the server has `kept` everything since, or the job started on this
    server and has taken no checkpoint yet.
    """
    begun_s = _complete_s(_path(job.restored_from)) if job.restored_from else 0.0
    return begun_s <= before_s and (kept or (job.at_s >= since_s and not checkpoints(state_dir, job)))


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _complete_s(checkpoint: Path) -> float:
    metadata = checkpoint / "_metadata"
    return metadata.stat().st_mtime if metadata.is_file() else math.inf


def start_again(state_dir: Path, job: Submitted, start: str) -> Submitted:
    """Submit the same job from a checkpoint, or from the topic's beginning for "".

    Raises `ServiceError` with what Flink's client said.
    """
    place = job.argv.index("-d") + 1
    argv = [*job.argv[:place], *(["-s", start] if start else []), *job.argv[place:]]
    job_id, output = run_client(argv, job.environment)
    if not job_id:
        said = "\n".join(output.splitlines()[-5:])
        raise ServiceError(f"Flink didn't take the {job.job} job again:\n{said}", "liveshelf status")
    if job.job == "features" and not start:
        began.rewind(state_dir)
    again = msgspec.structs.replace(job, job_id=job_id, restored_from=start, at_s=time.time())
    note(state_dir, again)
    return again


def _file(state_dir: Path, job: str) -> Path:
    return state_dir / "jobs" / f"{job}.submitted.json"
