"""Versions of a model: a folder of bundles and one small file that names the active one.

`LIVESHELF_MODEL_DIR` may be a bundle, or such a folder; then a running rankings job follows what is activated. Every
change is one rename, so that a reader sees the old state or the new one, and a version's files never change.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import msgspec

from jobs.errors import ModelError
from models import signature
from models.bundle import Bundle, Manifest, load_bundle

ACTIVE, REFUSED = "active.json", "refused.json"
PARTS = ("model.onnx", "vocabulary.json", "manifest.json")


class Active(msgspec.Struct, frozen=True):
    """Which version serves, since when, and what served before it, newest last."""

    version: str
    activated_at_ms: int
    before: list[str] = []


class Refused(msgspec.Struct, frozen=True):
    """A version that a running job was told to take and did not."""

    version: str
    reason: str
    at_ms: int


class Version(msgspec.Struct, frozen=True):
    """A published version as `liveshelf models list` shows it."""

    version: str
    active: bool
    published_at_ms: int
    items: int
    recall_20: float | None
    mrr_20: float | None


def is_registry(folder: Path) -> bool:
    """A folder without a manifest of its own; a bundle has one."""
    return not (folder / "manifest.json").is_file() and (folder / ACTIVE).is_file()


def serving_folder(folder: Path) -> Path:
    """The bundle that `folder` means: itself, or its active version."""
    return folder / Registry(folder).active().version if is_registry(folder) else folder


class Registry:
    """The versions in one folder; nothing here starts or stops a job."""

    def __init__(self, folder: Path, *, public_key: str = "", signing_key: Path | None = None) -> None:
        """With a `public_key` (PEM) only signed versions are taken; with a `signing_key` what is published is signed."""
        self.folder = folder
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
            raise ModelError(f"{self.folder / ACTIVE} is broken: {error}", "liveshelf models activate VERSION") from error

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
        """Make a version the one that serves. Raises ModelError, and changes nothing, if it is unknown or broken."""
        self.bundle(version)
        before: list[str] = []
        if (self.folder / ACTIVE).is_file():
            now = self.active()
            if now.version == version:
                return now
            before = [*now.before, now.version]
        return self._write(version, before)

    def rollback(self) -> Active:
        """Go back to what served before. Raises ModelError if there is nothing or it is broken."""
        now = self.active()
        if not now.before:
            raise ModelError(f"{now.version} is the first version that was activated", "liveshelf models activate VERSION")
        *before, version = now.before
        self.bundle(version)
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
            raise ModelError(f"{self.folder / version} is a link", "liveshelf models publish BUNDLE copies a version in")
        return self.folder / version

    def bundle(self, version: str) -> Bundle:
        """A version, checked as a worker checks it. Raises ModelError if it is unknown, broken or another one."""
        place = self.place(version)
        bundle = load_bundle(place, self._public_key)
        if bundle.version != version:
            raise ModelError(f"{place} holds {bundle.version}", "publish the bundle again")
        return bundle

    def refused(self) -> Refused | None:
        """The last refusal of a running job, if the version that it refused is still the active one."""
        try:
            found = msgspec.json.decode((self.folder / REFUSED).read_bytes(), type=Refused)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.version == self.active().version else None

    def note_refusal(self, version: str, reason: str) -> None:
        """Told by a running job; where the folder can't be written the job's metric and log still say it."""
        try:
            _replace(self.folder / REFUSED, Refused(version, reason, time.time_ns() // 1_000_000))
        except OSError:
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
    manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    measured = manifest["metrics"].get("model", {})
    version = file.parent.name
    published_at_ms = file.stat().st_mtime_ns // 1_000_000
    return Version(
        version,
        version == serving,
        published_at_ms,
        manifest["n_items"],
        measured.get("recall@20"),
        measured.get("mrr@20"),
    )
