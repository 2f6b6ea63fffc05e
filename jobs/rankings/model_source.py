"""Hold the model that serves: one bundle, or the active version of a registry. It changes between two batches only."""

import logging
import threading
import time
from pathlib import Path

from jobs.errors import ModelError
from models.serving.bundle import Bundle, load_bundle
from models.serving.registry import ACTIVE, Registry, is_registry

LOOK_EVERY_S = 1.0
LOG = logging.getLogger(__name__)


class ModelSource:
    """Load the next model on a thread, so that a batch waits at most for the interpreter and never for a file."""

    def __init__(self, folder: Path, look_every_s: float = LOOK_EVERY_S, public_key: str = "") -> None:
        """Load the model; raise ModelError if the bundle is refused, or the active version and all before it."""
        self.refusals = 0
        self._registry = Registry(folder, public_key=public_key) if is_registry(folder) else None
        self._public_key = public_key
        self._look_every_s, self._looked_s = look_every_s, time.monotonic()
        self._seen = self._stamp()
        self._loading: threading.Thread | None = None
        self._coming: Bundle | None = None
        self.bundle = self._first(folder)

    def poll(self) -> bool:
        """Take the next model if it is loaded, and return True if it was. Called between two batches."""
        if self._registry is None:
            return False
        if self._coming is not None:
            self.bundle, self._coming = self._coming, None
            return True
        now_s = time.monotonic()
        idle = self._loading is None or not self._loading.is_alive()
        if idle and now_s - self._looked_s >= self._look_every_s:
            self._looked_s = now_s
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._loading = threading.Thread(target=self._load, name="model-loader", daemon=True)
                self._loading.start()
        return False

    def _first(self, folder: Path) -> Bundle:
        """Return the bundle to start with.

        If the active version is broken, that is the version before: a job that wasn't restarted would serve it, too.
        """
        if self._registry is None:
            return load_bundle(folder, self._public_key)
        return self._registry.serving(self._refuse)

    def _load(self) -> None:
        version = "?"
        try:
            assert self._registry is not None, "only a registry is looked at"
            version = self._registry.active().version
            if version != self.bundle.version:
                self._coming = self._registry.bundle(version)
        except (ModelError, OSError) as error:
            self._refuse(version, error)

    def _refuse(self, version: str, error: Exception) -> None:
        assert self._registry is not None, "only a registry has versions to refuse"
        LOG.warning("model %s is refused: %s", version, error)
        self._registry.note_refusal(version, str(error).partition("\n")[0])  # without the way out
        self.refusals += 1

    def _stamp(self) -> int:
        """Return a number that changes whenever a version is activated."""
        if self._registry is None:
            return 0
        try:
            return (self._registry.folder / ACTIVE).stat().st_mtime_ns
        except OSError:
            return 0
