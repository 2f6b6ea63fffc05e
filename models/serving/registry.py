"""Keep versions of a model: a folder of bundles, and one small file that names the active one.

`LIVESHELF_MODEL_DIR` is a bundle or such a folder. With a folder a running rankings job takes each version that is
activated. Every change is one rename, so a reader sees the old state or the new one. A version's files never change.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from jobs.errors import ModelError
from models.serving import signature
from models.serving.bundle import Bundle, check_content, load_bundle, read_content, read_manifest, version_of

ACTIVE, REFUSED = "active.json", "refused.json"
PARTS = ("model.onnx", "vocabulary.json", "manifest.json")
# The jobs that serve a version may run as another user, and a version holds no person and no secret.
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


class Registry:
    """The versions in one folder; nothing here starts or stops a job."""

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
        self.folder, self._check = folder, check
        self._public_key, self._signing_key = public_key, signing_key

    def active(self) -> Active:
        """Return the active version. Raises ModelError while there is none."""
        try:
            return msgspec.json.decode((self.folder / ACTIVE).read_bytes(), type=Active)
        except OSError as error:
            raise ModelError(
                f"{self.folder} has no active version", "liveshelf models publish BUNDLE, then models activate VERSION"
            ) from error
        except msgspec.DecodeError as error:
            raise ModelError(
                f"{self.folder / ACTIVE} is broken: {error}", "liveshelf models activate VERSION"
            ) from error

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
        return [_version(file, serving) for file in self._manifests()]

    def publish(self, source: Path) -> str:
        """Write a bundle into the folder and return its version; a second time changes nothing.

        The bundle is read once: what was checked is what is written, and `source` stays as it is. Raises ModelError if
        it is broken.
        """
        content = read_content(source)
        if self._signing_key:
            content[signature.SIGNATURE] = signature.signature_of(content["manifest.json"], self._signing_key)
        bundle = check_content(source, content, self._public_key)
        place = self.folder / bundle.version
        if not place.exists():
            coming = self.folder / f".{bundle.version}.{time.time_ns()}"
            if not self.folder.exists():
                self.folder.mkdir(parents=True)
                self.folder.chmod(OF_FOLDERS)
            coming.mkdir()
            for name, data in content.items():
                (coming / name).write_bytes(data)
                (coming / name).chmod(OF_FILES)
            coming.chmod(OF_FOLDERS)
            coming.rename(place)
        return bundle.version

    def activate(self, version: str) -> Active:
        """Make a version the one that serves. Raises ModelError, and changes nothing, if it is unknown or broken.

        A version that a running job has refused is offered again, since its files may be mended.
        """
        self._check(self.bundle(version))
        if not (self.folder / ACTIVE).is_file():
            return self._write(version, [])
        now = self.active()
        if now.version != version:
            return self._write(version, [*now.before, now.version])
        return self._write(version, now.before) if self.refused() else now

    def rollback(self) -> Active:
        """Go back to the version before. Raises ModelError if there is none or it is broken."""
        now = self.active()
        if not now.before:
            raise ModelError(
                f"{now.version} is the first version that was activated", "liveshelf models activate VERSION"
            )
        *before, version = now.before
        self._check(self.bundle(version))
        return self._write(version, before)

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

    def place(self, version: str) -> Path:
        """Return the folder of a version. Raises ModelError if it is unknown, or a link to somewhere else."""
        # A version is a plain name: nothing outside the folder can be named.
        if Path(version).name != version or not (self.folder / version / "manifest.json").is_file():
            names = ", ".join(file.parent.name for file in self._manifests())
            way_out = f"choose one of {names}" if names else "liveshelf models publish BUNDLE"
            raise ModelError(f"there is no version {version!r} in {self.folder}", way_out)
        if (self.folder / version).is_symlink():
            raise ModelError(
                f"{self.folder / version} is a link", "liveshelf models publish BUNDLE copies a version in"
            )
        return self.folder / version

    def bundle(self, version: str) -> Bundle:
        """Return a version, checked as in a worker. Raises ModelError if it is unknown, broken or another one."""
        place = self.place(version)
        bundle = load_bundle(place, self._public_key)
        if bundle.version != version:
            raise ModelError(f"{place} holds {bundle.version}", "publish the bundle again")
        return bundle

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
        except (OSError, ModelError):
            return

    def _manifests(self) -> list[Path]:
        """Return the manifests of the published versions, oldest first."""
        return sorted(self.folder.glob("*/manifest.json"), key=lambda file: file.stat().st_mtime_ns)

    def _write(self, version: str, before: list[str]) -> Active:
        active = Active(version, time.time_ns() // 1_000_000, before)
        _replace(self.folder / ACTIVE, active)
        return active


def _replace(file: Path, content: msgspec.Struct) -> None:
    coming = file.with_name(f".{file.name}.{time.time_ns()}")
    coming.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
    coming.chmod(OF_FILES)
    coming.replace(file)


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
