"""The models that made the lists: each version that a list names is loaded once."""

from pathlib import Path

from models.serving.bundle import Bundle, load_bundle
from models.serving.registry import Registry, is_registry


class Versions:
    """The bundles behind `model_dir`, which is one bundle or a registry. Raises ModelError if none can serve."""

    def __init__(self, model_dir: Path, public_key: str = "") -> None:
        self._registry = Registry(model_dir, public_key=public_key) if is_registry(model_dir) else None
        self.serving = self._registry.serving() if self._registry else load_bundle(model_dir, public_key)
        self._loaded = {self.serving.version: self.serving}

    def named(self, version: str) -> Bundle:
        """Return the bundle of a version, or the one that serves if there is no such version.

        Raises ModelError if the bundle is broken.
        """
        if version not in self._loaded:
            exists = self._registry and version in {entry.version for entry in self._registry.versions()}
            self._loaded[version] = self._registry.bundle(version) if exists else self.serving
        return self._loaded[version]
