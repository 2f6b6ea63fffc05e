"""Keep versions in a folder: each is a folder with a manifest, and one small file names the active one.

Every change is one rename, so a reader sees the old state or the new one. A version's files never change.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec

from jobs.errors import LiveshelfError

ACTIVE, REFUSED, MANIFEST = "active.json", "refused.json", "manifest.json"
# The jobs that serve a version may run as another user, and a version holds no person and no secret. Where nobody else
# gets into the folder around the versions, as in a state folder, they are their owner's only.
OF_FOLDERS, OF_FILES = 0o755, 0o644


class Active(msgspec.Struct, frozen=True):
    """Name the version that serves, the time of its activation, and the versions before it, newest last."""

    version: str
    activated_at_ms: int
    before: list[str] = []


class Refused(msgspec.Struct, frozen=True):
    """A version that a running job refused to take, by the time of its activation."""

    version: str
    activated_at_ms: int
    reason: str
    at_ms: int


class Commands(NamedTuple):
    """What errors say: their type, and the commands that are the way out."""

    error: type[LiveshelfError]
    group: str
    publish: str


class Folder:
    """The versions in one folder; nothing here starts or stops a job."""

    commands: ClassVar[Commands]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self, version: str) -> None:
        """Raise an error if a version must not be activated."""
        raise NotImplementedError

    def active(self) -> Active:
        """Return the active version. Raises the commands' error while there is none."""
        activate = f"{self.commands.group} activate VERSION"
        try:
            return msgspec.json.decode((self.folder / ACTIVE).read_bytes(), type=Active)
        except OSError as error:
            way_out = f"{self.commands.publish}, then {activate.removeprefix('liveshelf ')}"
            raise self.commands.error(f"{self.folder} has no active version", way_out) from error
        except msgspec.DecodeError as error:
            raise self.commands.error(f"{self.folder / ACTIVE} is broken: {error}", activate) from error

    def activate(self, version: str) -> Active:
        """Make a version the one that serves. Raises an error, and changes nothing, if it is unknown or broken.

        A version that a running job has refused is offered again, since its files may be mended.
        """
        self.check(version)
        if not (self.folder / ACTIVE).is_file():
            return self._write(version, [])
        now = self.active()
        if now.version != version:
            return self._write(version, [*now.before, now.version])
        return self._write(version, now.before) if self.refused() else now

    def rollback(self) -> Active:
        """Go back to the version before. Raises an error if there is none or it is broken."""
        now = self.active()
        if not now.before:
            what = f"{now.version} is the first version that was activated"
            raise self.commands.error(what, f"{self.commands.group} activate VERSION")
        *before, version = now.before
        self.check(version)
        return self._write(version, before)

    def place(self, version: str) -> Path:
        """Return the folder of a version. Raises an error if it is unknown, or a link to somewhere else."""
        # A version is a plain name: nothing outside the folder can be named.
        if Path(version).name != version or not (self.folder / version / MANIFEST).is_file():
            names = ", ".join(file.parent.name for file in self.manifests())
            way_out = f"choose one of {names}" if names else self.commands.publish
            raise self.commands.error(f"there is no version {version!r} in {self.folder}", way_out)
        if (self.folder / version).is_symlink():
            way_out = f"{self.commands.publish} copies a version in"
            raise self.commands.error(f"{self.folder / version} is a link", way_out)
        return self.folder / version

    def refused(self) -> Refused | None:
        """Return the refusal of the active version by a running job; None if there is none since its activation."""
        try:
            refusal = msgspec.json.decode((self.folder / REFUSED).read_bytes(), type=Refused)
        except (OSError, msgspec.DecodeError):
            return None
        active = self.active()
        same = (refusal.version, refusal.activated_at_ms) == (active.version, active.activated_at_ms)
        return refusal if same else None

    def note_refusal(self, version: str, reason: str) -> None:
        """Write down that the calling job refuses the active version.

        Where the folder can't be written, the job's metric still tells it. A refusal of another version isn't written:
        a restarted job may pass several on its way to a good one.
        """
        try:
            active = self.active()
            if active.version == version:
                refusal = Refused(version, active.activated_at_ms, reason, time.time_ns() // 1_000_000)
                _replace(self.folder / REFUSED, refusal)
        except (OSError, self.commands.error):
            return

    def manifests(self) -> list[Path]:
        """Return the manifests of the published versions, oldest first."""
        return sorted(self.folder.glob(f"*/{MANIFEST}"), key=lambda file: file.stat().st_mtime_ns)

    def add(self, version: str, content: Mapping[str, bytes]) -> None:
        """Write the files of a version; where it is there already, nothing changes."""
        place = self.folder / version
        if place.exists():
            return
        coming = self.folder / f".{version}.{time.time_ns()}"
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self.folder.chmod(_allowed(self.folder, OF_FOLDERS))
        coming.mkdir()
        for name, data in content.items():
            (coming / name).write_bytes(data)
            (coming / name).chmod(_allowed(self.folder, OF_FILES))
        coming.chmod(_allowed(self.folder, OF_FOLDERS))
        coming.rename(place)

    def _write(self, version: str, before: list[str]) -> Active:
        active = Active(version, time.time_ns() // 1_000_000, before)
        _replace(self.folder / ACTIVE, active)
        return active


def _replace(file: Path, content: msgspec.Struct) -> None:
    coming = file.with_name(f".{file.name}.{time.time_ns()}")
    coming.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
    coming.chmod(_allowed(file.parent, OF_FILES))
    coming.replace(file)


def _allowed(folder: Path, mode: int) -> int:
    """Return the mode of something in a folder of versions: for those who may enter the folder around it."""
    may_enter = folder.parent.stat().st_mode & 0o111
    return mode & may_enter * 0o7
