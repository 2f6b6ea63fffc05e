"""Hold the version of shelves that is active. It changes between two batches only."""

import logging
import time
from pathlib import Path

from jobs.contract.shelf_plan import ShelfPlan
from jobs.errors import DefinitionError
from jobs.shelves.versions import ShelfVersions
from jobs.versions.folder import ACTIVE

LOOK_EVERY_S = 1.0
LOG = logging.getLogger(__name__)


class ShelfSource:
    """Look once a second whether another version was activated. Reading one takes a millisecond, so no thread does it.

    `plan` is None while no version was ever activated. A version that can't be read is refused, and the one before goes
    on, also at the start.
    """

    def __init__(self, folder: str, look_every_s: float = LOOK_EVERY_S) -> None:
        self._versions = ShelfVersions(Path(folder)) if folder else None
        self._look_every_s = look_every_s
        self._looked_s = time.monotonic()
        self._seen = self._stamp()
        self.version = ""
        self.plan: ShelfPlan | None = None
        self.names: list[str] = []  # of the shelves of all published versions: their lists may still be there
        self.refusals = 0
        if self._seen:
            self._read()

    def poll(self) -> bool:
        """Take the active version if it is another one, and return True if it was taken."""
        now_s = time.monotonic()
        if self._versions is None or now_s - self._looked_s < self._look_every_s:
            return False
        self._looked_s = now_s
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        before = self.version
        self._read()
        return self.version != before

    def _read(self) -> None:
        assert self._versions is not None, "only a folder is read"
        try:
            self.version, self.plan = self._versions.serving(self._refuse)
            self.names = self._versions.names()
        except (DefinitionError, OSError) as error:
            LOG.warning("shelves stay as they are: %s", error)

    def _refuse(self, version: str, error: DefinitionError) -> None:
        assert self._versions is not None, "only a folder has versions to refuse"
        LOG.warning("shelves %s are refused: %s", version, error)
        self._versions.note_refusal(version, str(error).partition("\n")[0])
        self.refusals += 1

    def _stamp(self) -> int:
        """Return a number that changes whenever a version is activated, 0 while none is."""
        if self._versions is None:
            return 0
        try:
            return (self._versions.folder / ACTIVE).stat().st_mtime_ns
        except OSError:
            return 0
