"""Which model made a list: the versions that lists name, each loaded once, however often `verify` looks."""

from pathlib import Path

from models.serving.bundle import Bundle, load_bundle
from models.serving.registry import Registry, is_registry


class Versions:
    """The bundles behind `model_dir`, be it one bundle or a registry. Raises ModelError if none can serve."""

    def __init__(self, model_dir: Path, public_key: str = "") -> None:
        self._registry = Registry(model_dir, public_key=public_key) if is_registry(model_dir) else None
        self.serving = self._registry.serving() if self._registry else load_bundle(model_dir, public_key)
        self._found = {self.serving.version: self.serving}

    def named(self, version: str) -> Bundle:
        """The bundle that a list names, or what serves if it names none that is known. Raises ModelError if it is broken."""
        if version not in self._found:
            known = self._registry and version in {each.version for each in self._registry.versions()}
            self._found[version] = self._registry.bundle(version) if known else self.serving
        return self._found[version]
