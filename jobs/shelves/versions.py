"""Keep versions of a shop's shelves: a plan each, the file that it was made from, and which one is active."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import msgspec

from jobs.contract import shelf_plan
from jobs.contract.shelf_plan import ShelfPlan
from jobs.errors import DefinitionError
from jobs.shelves.load import FILE
from jobs.versions.folder import ACTIVE, MANIFEST, Commands, Folder

PLAN = "plan.json"


class Manifest(msgspec.Struct, frozen=True):
    """What `shelves list` says of a version."""

    version: str
    shelves: list[str]


class Version(msgspec.Struct, frozen=True):
    """A published version; `broken` says why it can't be read."""

    version: str
    active: bool
    published_at_ms: int
    shelves: list[str] = []
    broken: str = ""


class ShelfVersions(Folder):
    """The versions in one folder."""

    commands: ClassVar[Commands] = Commands(DefinitionError, "liveshelf shelves", "liveshelf shelves publish")

    def __init__(self, folder: Path, suits: Callable[[str, ShelfPlan], object] = lambda *_: None) -> None:
        """Name the folder. `suits` raises for a version and its plan that don't suit what else serves."""
        super().__init__(folder)
        self._suits = suits

    def check(self, version: str) -> None:
        self._suits(version, self.plan(version))

    def publish(self, plan: ShelfPlan, source: Path) -> str:
        """Write a plan and its source into the folder and return the version; a second time changes nothing."""
        data = shelf_plan.encode(plan)
        version = shelf_plan.version_of(data)
        manifest = msgspec.json.encode(Manifest(version, [shelf.name for shelf in plan.shelves]))
        self.add(version, {PLAN: data, FILE: source.read_bytes(), MANIFEST: manifest})
        return version

    def plan(self, version: str) -> ShelfPlan:
        """Return a version's plan. Raises DefinitionError if it is unknown, or isn't what was published."""
        file = self.place(version) / PLAN
        try:
            data = file.read_bytes()
            plan = shelf_plan.decode(data)
        except (OSError, msgspec.DecodeError) as error:
            raise DefinitionError(f"{file} can't be read: {error}", self.commands.publish) from error
        if shelf_plan.version_of(data) != version or plan.format != shelf_plan.FORMAT:
            raise DefinitionError(f"{file} isn't what was published as {version}", self.commands.publish)
        return plan

    def names(self) -> list[str]:
        """Return the names of the shelves of all versions, broken ones too: their lists may still be there."""
        found: set[str] = set()
        for file in self.manifests():
            with suppress(OSError, msgspec.DecodeError):
                found.update(msgspec.json.decode(file.read_bytes(), type=Manifest).shelves)
        return sorted(found)

    def serving(self, refuse: Callable[[str, DefinitionError], object] = lambda *_: None) -> tuple[str, ShelfPlan]:
        """Return the active version and its plan, or the newest good one before it if the active one is broken.

        `refuse` is called with each broken version. Raises DefinitionError if all are broken.
        """
        active, reasons = self.active(), []
        for version in (active.version, *reversed(active.before)):
            try:
                return version, self.plan(version)
            except DefinitionError as error:
                reasons.append(error.what)
                refuse(version, error)
        raise DefinitionError(f"no version in {self.folder} can be used: {reasons[0]}", self.commands.publish)

    def versions(self) -> list[Version]:
        """Return the published versions, oldest first."""
        serving = self.active().version if (self.folder / ACTIVE).is_file() else ""
        found = []
        for file in self.manifests():
            version = Version(file.parent.name, file.parent.name == serving, file.stat().st_mtime_ns // 1_000_000)
            try:
                names = [shelf.name for shelf in self.plan(version.version).shelves]
                found.append(msgspec.structs.replace(version, shelves=names))
            except DefinitionError as error:
                found.append(msgspec.structs.replace(version, broken=error.what))
        return found
