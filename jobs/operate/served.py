"""The model and the shelves that the running rankings job serves, which needn't be those that the settings name."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from jobs.errors import DefinitionError
from jobs.flow import submissions
from jobs.settings import Settings
from jobs.shelves.versions import ShelfVersions
from jobs.versions.folder import ACTIVE
from models.serving.registry import State, is_registry, state_of


class ActiveShelves(msgspec.Struct, frozen=True, kw_only=True):
    """The active version of shelves, "" while none is, and why a job refused it, if one did."""

    version: str
    activated_at_ms: int = 0
    shelves: list[str] = []
    folder: str
    refused: str = ""


def active_shelves(settings: Settings) -> ActiveShelves:
    """Return what the folder of the settings says; a version that can't be read has no shelves."""
    versions = ShelfVersions(settings.shelves_folder)
    folder = str(versions.folder)
    if not (versions.folder / ACTIVE).is_file():
        return ActiveShelves(version="", folder=folder)
    try:
        active, refusal = versions.active(), versions.refused()
    except DefinitionError as error:
        return ActiveShelves(version="", folder=folder, refused=error.what)
    reason = refusal.reason if refusal else ""
    try:
        names = [shelf.name for shelf in versions.plan(active.version).shelves]
    except DefinitionError as error:
        names, reason = [], reason or error.what
    return ActiveShelves(
        version=active.version,
        activated_at_ms=active.activated_at_ms,
        shelves=names,
        folder=folder,
        refused=reason,
    )


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a model (see `State`), the folder it is read from, and the rankings job that reads it, if any."""

    state: str
    version: str
    reason: str = ""
    fix: str = ""
    folder: str
    job_id: str = ""

    @classmethod
    def of(cls, folder: Path, job_id: str = "") -> "Served":
        state: State = state_of(folder)
        return cls(**msgspec.structs.asdict(state), folder=str(folder), job_id=job_id)


def served(settings: Settings, jobs: Iterable[dict[str, Any]]) -> Served:
    """Return what the running rankings job serves, else what one would that is submitted now.

    `jobs` are Flink's, as `runtime.status` gives them. A job keeps the folder that it was submitted with, and follows
    its active version. A job that another state folder submitted can't be asked: its state is "unknown".
    """
    job_id = next((job["id"] for job in jobs if job["name"] == "liveshelf rankings" and job["state"] == "RUNNING"), "")
    if not job_id:
        return Served.of(settings.model_dir)
    note = submissions.noted_job(settings.state_dir, "rankings")
    if note is None or note.job_id != job_id:
        reason = f"job {job_id} was submitted from another state folder than {settings.state_dir}"
        return Served(
            state="unknown", version="", reason=reason, fix="set LIVESHELF_STATE_DIR", folder="", job_id=job_id
        )
    return Served.of(Path(submissions.config(settings.state_dir, "rankings").ranker.model_dir), job_id)


def takes_versions_of(settings: Settings) -> bool:
    """Return True if the rankings job that was submitted last follows what is activated in the settings' folder."""
    file = submissions.config_path(settings.state_dir, "rankings")
    if not file.is_file() or not is_registry(settings.model_dir):
        return False
    return Path(submissions.config(settings.state_dir, "rankings").ranker.model_dir) == settings.model_dir.resolve()
