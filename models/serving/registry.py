"""Keep versions of a model: a folder of bundles, and one small file that names the active one.

`LIVESHELF_MODEL_DIR` is a bundle or such a folder. With a folder a running rankings job takes each version that is
activated. Every change is one rename, so a reader sees the old state or the new one. A version's files never change.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from jobs.errors import ModelError
from jobs.versions.folder import ACTIVE, MANIFEST, OF_FILES, Active, Commands, Folder, Refused
from models.serving import signature
from models.serving.bundle import Bundle, check_content, load_bundle, read_content, read_manifest, version_of

PARTS = ("model.onnx", "vocabulary.json", MANIFEST)

__all__ = ["ACTIVE", "OF_FILES", "Active", "Refused", "Registry", "State", "Version"]


class Version(msgspec.Struct, frozen=True):
    """A published version as `liveshelf models list` shows it; `broken` says why its manifest can't be read."""

    version: str
    active: bool
    published_at_ms: int
    items: int | None = None
    recall_20: float | None = None
    mrr_20: float | None = None
    broken: str = ""


class State(msgspec.Struct, frozen=True):
    """Tell which version a folder serves, and what is wrong with it.

    `state` is "active", or "refused" if a running job goes on with the version before, or "broken" if the version can't
    be read.
    """

    state: Literal["active", "refused", "broken"]
    version: str
    reason: str = ""
    fix: str = ""


def is_registry(folder: Path) -> bool:
    """Return True for a folder of versions: it has an active one, and no manifest of its own as a bundle has."""
    return not (folder / "manifest.json").is_file() and (folder / ACTIVE).is_file()


def serving_folder(folder: Path) -> Path:
    """Return the folder of the bundle that serves: `folder` itself, or its active version."""
    registry = Registry(folder)
    return registry.place(registry.active().version) if is_registry(folder) else folder


def state_of(folder: Path) -> State:
    """Return the state of a folder. Raises nothing: a folder that can't be read is "broken"."""
    version = ""
    try:
        if not is_registry(folder):
            return State("active", version_of(read_manifest(folder)))
        registry = Registry(folder)
        version = registry.active().version
        if refused := registry.refused():
            return State("refused", version, refused.reason, "liveshelf models rollback")
        read_manifest(folder / version)
    except ModelError as error:
        return State("broken", version, error.what, error.fix)
    return State("active", version)


class Registry(Folder):
    """The versions of a model in one folder."""

    commands: ClassVar[Commands] = Commands(ModelError, "liveshelf models", "liveshelf models publish BUNDLE")

    def __init__(
        self,
        folder: Path,
        check: Callable[[Bundle], object] = lambda _: None,
        *,
        public_key: str = "",
        signing_key: Path | None = None,
    ) -> None:
        """Open a folder of versions.

        `check` raises an error if a bundle must not be activated. With a `public_key` (PEM) only signed versions are
        taken. With a `signing_key` a bundle is signed when it is published.
        """
        super().__init__(folder)
        self._check = check
        self._public_key, self._signing_key = public_key, signing_key

    def serving(self, refuse: Callable[[str, ModelError], object] = lambda *_: None) -> Bundle:
        """Return the active version's bundle, or the newest good one before it if the active one is broken.

        `refuse` is called with each broken version. Raises ModelError if all are broken.
        """
        active, reasons = self.active(), []
        for version in (active.version, *reversed(active.before)):
            try:
                return self.bundle(version)
            except ModelError as error:
                reasons.append(error.what)
                refuse(version, error)
        raise ModelError(
            f"no version in {self.folder} can be served: {reasons[0]}", "liveshelf models activate VERSION"
        )

    def versions(self) -> list[Version]:
        """Return the published versions, oldest first."""
        serving = self.active().version if (self.folder / ACTIVE).is_file() else ""
        return [_version(file, serving) for file in self.manifests()]

    def publish(self, source: Path) -> str:
        """Write a bundle into the folder and return its version; a second time changes nothing.

        The bundle is read once: what was checked is what is written, and `source` stays as it is. Raises ModelError if
        it is broken.
        """
        content = read_content(source)
        if self._signing_key:
            content[signature.SIGNATURE] = signature.signature_of(content["manifest.json"], self._signing_key)
        bundle = check_content(source, content, self._public_key)
        self.add(bundle.version, content)
        return bundle.version

    def check(self, version: str) -> None:
        self._check(self.bundle(version))

    def diff(self, one: str, other: str) -> dict[str, Any]:
        """Return what differs between two versions: metrics, training, and the numbers of items that come and go."""
        bundles = [self.bundle(version) for version in (one, other)]
        manifests = [bundle.manifest for bundle in bundles]
        items = [bundle.item_index.keys() for bundle in bundles]
        return {
            "metrics": {
                scorer: {name: [values.get(name) for values in pair] for name in pair[0] | pair[1]}
                for scorer in manifests[0]["metrics"] | manifests[1]["metrics"]
                if (pair := [manifest["metrics"].get(scorer, {}) for manifest in manifests])[0] != pair[1]
            },
            "training": {
                name: values
                for name in manifests[0]["training"] | manifests[1]["training"]
                if (values := [manifest["training"].get(name) for manifest in manifests])[0] != values[1]
            },
            "items": {
                "added": len(items[1] - items[0]),
                "removed": len(items[0] - items[1]),
                "kept": len(items[0] & items[1]),
            },
        }

    def bundle(self, version: str) -> Bundle:
        """Return a version, checked as in a worker. Raises ModelError if it is unknown, broken or another one."""
        place = self.place(version)
        bundle = load_bundle(place, self._public_key)
        if bundle.version != version:
            raise ModelError(f"{place} holds {bundle.version}", "publish the bundle again")
        return bundle


def described(bundle: Path) -> Version:
    """Return the version that a folder with one bundle serves."""
    file = bundle / "manifest.json"
    try:
        name = version_of(read_manifest(bundle))
    except ModelError:
        name = bundle.name
    return _version(file, name, name)


def _version(file: Path, serving: str, name: str = "") -> Version:
    name = name or file.parent.name
    version = Version(name, name == serving, file.stat().st_mtime_ns // 1_000_000)
    try:
        manifest = read_manifest(file.parent)
    except ModelError as error:
        return msgspec.structs.replace(version, broken=error.what)
    measured = manifest["metrics"].get("model", {})
    quality = {"recall_20": measured.get("recall@20"), "mrr_20": measured.get("mrr@20")}
    return msgspec.structs.replace(version, items=manifest["n_items"], **quality)
