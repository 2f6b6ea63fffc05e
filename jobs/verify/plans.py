"""The versions of shelves that lists name, as `shelves publish` wrote them."""

from pathlib import Path

import msgspec

from jobs.contract import shelf_plan
from jobs.contract.shelf_plan import Shelf, ShelfPlan
from jobs.settings import Settings
from jobs.versions.folder import ACTIVE, MANIFEST, Active

PLAN = "plan.json"
WITHOUT = ""  # the version of a list that was made without shelves


class Plans:
    """All published plans that can be read, by version. A file that isn't what was published counts as absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_version: dict[str, ShelfPlan] = {}
        for file in sorted(folder.glob(f"*/{MANIFEST}")):
            version = file.parent.name
            try:
                data = (file.parent / PLAN).read_bytes()
                if shelf_plan.version_of(data) == version:
                    self.by_version[version] = shelf_plan.decode(data)
            except (OSError, msgspec.DecodeError):
                continue

    @classmethod
    def of(cls, settings: Settings) -> "Plans":
        return cls(settings.shelves_dir or settings.state_dir / "shelves")

    def active(self) -> ShelfPlan | None:
        """Return the plan that serves, None where shelves were never activated."""
        try:
            active = msgspec.json.decode((self.folder / ACTIVE).read_bytes(), type=Active)
        except (OSError, msgspec.DecodeError):
            return None
        return self.by_version.get(active.version)

    def shelf(self, version: str, name: str) -> Shelf | None:
        """Return a shelf as a version defines it, None for one that it hasn't."""
        plan = self.by_version.get(version)
        return next((shelf for shelf in plan.of_visitors if shelf.name == name), None) if plan else None

    def names(self) -> set[str]:
        """Return the names of all shelves of visitors."""
        return {shelf.name for plan in self.by_version.values() for shelf in plan.of_visitors}
