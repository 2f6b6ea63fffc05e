"""Versions of a model: a folder of bundles and one small file that names the active one.

`LIVESHELF_MODEL_DIR` may be a bundle, or such a folder; then a running rankings job follows what is activated. Every
change is one rename, so that a reader sees the old state or the new one, and a version's files never change.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from jobs.errors import ModelError
from models.serving import signature
from models.serving.bundle import Bundle, load_bundle, read_manifest, version_of

ACTIVE, REFUSED = "active.json", "refused.json"
PARTS = ("model.onnx", "vocabulary.json", "manifest.json")


class Active(msgspec.Struct, frozen=True):
    """Which version serves, since when, and what served before it, newest last."""

    version: str
    activated_at_ms: int
    before: list[str] = []


class Refused(msgspec.Struct, frozen=True):
    """A version that a running job was told to take by the activation of that time, and did not."""

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
    """What a folder of a bundle or of versions is to those who look at the running system.

    `state`: "active"; "refused" by a running job, which goes on with the version before; "broken" where the version
    can't be read.
    """

    state: Literal["active", "refused", "broken"]
    version: str
    reason: str = ""
    fix: str = ""


def is_registry(folder: Path) -> bool:
    """A folder without a manifest of its own; a bundle has one."""
    return not (folder / "manifest.json").is_file() and (folder / ACTIVE).is_file()


def serving_folder(folder: Path) -> Path:
    """The bundle that `folder` means: itself, or its active version."""
    return folder / Registry(folder).active().version if is_registry(folder) else folder


def state_of(folder: Path) -> State:
    """Raises nothing: what can't be read is said."""
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
        """`check` raises what speaks against a good bundle's being activated.

        With a `public_key` (PEM) only signed versions are taken; with a `signing_key` what is published is signed.
        """
        self.folder, self._check = folder, check
        self._public_key, self._signing_key = public_key, signing_key

    def active(self) -> Active:
        """Raises ModelError while nothing is activated."""
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
        """The active version or, while that is broken, the newest good one of those before, as a restarted job has it.

        `refuse` is told each broken one. Raises ModelError if all are.
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
        """What is published, oldest first."""
        serving = self.active().version if (self.folder / ACTIVE).is_file() else ""
        return [_version(file, serving) for file in self._manifests()]

    def publish(self, source: Path) -> str:
        """Copy a bundle in under its version; publishing it again changes nothing. Raises ModelError if it is broken."""
        if self._signing_key:
            signature.sign(source, self._signing_key)
        bundle = load_bundle(source, self._public_key)
        place = self.folder / bundle.version
        if not place.exists():
            coming = self.folder / f".{bundle.version}.{time.time_ns()}"
            coming.mkdir(parents=True)
            for part in (*PARTS, *([signature.SIGNATURE] if (source / signature.SIGNATURE).is_file() else [])):
                shutil.copyfile(source / part, coming / part)
            coming.rename(place)
        return bundle.version

    def activate(self, version: str) -> Active:
        """Make a version the one that serves. Raises ModelError, and changes nothing, if it is unknown or broken.

        A version that a running job has refused is offered again, as its files may have been mended.
        """
        self._check(self.bundle(version))
        if not (self.folder / ACTIVE).is_file():
            return self._write(version, [])
        now = self.active()
        if now.version != version:
            return self._write(version, [*now.before, now.version])
        return self._write(version, now.before) if self.refused() else now

    def rollback(self) -> Active:
        """Go back to what served before. Raises ModelError if there is nothing or it is broken."""
        now = self.active()
        if not now.before:
            raise ModelError(
                f"{now.version} is the first version that was activated", "liveshelf models activate VERSION"
            )
        *before, version = now.before
        self._check(self.bundle(version))
        return self._write(version, before)

    def diff(self, one: str, other: str) -> dict[str, Any]:
        """What differs: metrics, how they were trained, and the items that come and go."""
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
        """The folder of a version. Raises ModelError if it is unknown, or a link to somewhere else."""
        # A version is a plain name: nothing outside the folder can be named.
        if Path(version).name != version or not (self.folder / version / "manifest.json").is_file():
            known = ", ".join(file.parent.name for file in self._manifests())
            raise ModelError(f"there is no version {version!r} in {self.folder}", f"choose one of {known or 'none'}")
        if (self.folder / version).is_symlink():
            raise ModelError(
                f"{self.folder / version} is a link", "liveshelf models publish BUNDLE copies a version in"
            )
        return self.folder / version

    def bundle(self, version: str) -> Bundle:
        """A version, checked as a worker checks it. Raises ModelError if it is unknown, broken or another one."""
        place = self.place(version)
        bundle = load_bundle(place, self._public_key)
        if bundle.version != version:
            raise ModelError(f"{place} holds {bundle.version}", "publish the bundle again")
        return bundle

    def refused(self) -> Refused | None:
        """What a running job has refused, if that is what is active, and wasn't activated again since."""
        try:
            found = msgspec.json.decode((self.folder / REFUSED).read_bytes(), type=Refused)
        except (OSError, msgspec.DecodeError):
            return None
        active = self.active()
        same = (found.version, found.activated_at_ms) == (active.version, active.activated_at_ms)
        return found if same else None

    def note_refusal(self, version: str, reason: str) -> None:
        """Told by a running job; where the folder can't be written the job's metric still says it.

        Of versions that aren't active nothing is kept: a restarted job may pass several on its way to a good one.
        """
        try:
            active = self.active()
            if active.version == version:
                noted = Refused(version, active.activated_at_ms, reason, time.time_ns() // 1_000_000)
                _replace(self.folder / REFUSED, noted)
        except (OSError, ModelError):
            return

    def _manifests(self) -> list[Path]:
        """Of the published versions, oldest first."""
        return sorted(self.folder.glob("*/manifest.json"), key=lambda file: file.stat().st_mtime_ns)

    def _write(self, version: str, before: list[str]) -> Active:
        active = Active(version, time.time_ns() // 1_000_000, before)
        _replace(self.folder / ACTIVE, active)
        return active


def _replace(file: Path, content: msgspec.Struct) -> None:
    coming = file.with_name(f".{file.name}.{time.time_ns()}")
    coming.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
    coming.replace(file)


def _version(file: Path, serving: str) -> Version:
    name = file.parent.name
    known = Version(name, name == serving, file.stat().st_mtime_ns // 1_000_000)
    try:
        manifest = read_manifest(file.parent)
    except ModelError as error:
        return msgspec.structs.replace(known, broken=error.what)
    measured = manifest["metrics"].get("model", {})
    quality = {"recall_20": measured.get("recall@20"), "mrr_20": measured.get("mrr@20")}
    return msgspec.structs.replace(known, items=manifest["n_items"], **quality)
