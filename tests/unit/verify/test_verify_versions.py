"""Which bundle a list is held against."""

import json
import shutil
from pathlib import Path

import pytest

from jobs.settings import REPOSITORY
from jobs.verify.versions import Versions
from models.serving.bundle import load_bundle
from models.serving.registry import Registry

ESHOP = REPOSITORY / "models" / "artifacts" / "eshop"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Three versions, a, b and c, of which b serves and a did before."""
    made = Registry(tmp_path / "versions")
    for name in "abc":
        copy = Path(shutil.copytree(ESHOP, tmp_path / name))
        manifest = json.loads((copy / "manifest.json").read_text())
        (copy / "manifest.json").write_text(json.dumps(manifest | {"name": name}))
        made.publish(copy)
    for version in sorted(each.version for each in made.versions())[:2]:
        made.activate(version)
    return made


def version(name: str) -> str:
    return f"{name}-{load_bundle(ESHOP).version.rpartition('-')[2]}"


def test_a_list_is_held_against_the_version_that_it_names(registry: Registry) -> None:
    """A list is held against the version that it names and else against what serves."""
    versions = Versions(registry.folder)
    assert versions.serving.version == version("b")
    named = {name: versions.named(name).version for name in (version("a"), version("c"), "gone", "", "../a")}
    assert named == {version("a"): version("a"), version("c"): version("c")} | dict.fromkeys(
        ("gone", "", "../a"), version("b")
    )


def test_a_version_is_loaded_once_however_often_verify_looks(registry: Registry) -> None:
    versions = Versions(registry.folder)
    loaded = versions.named(version("a"))
    shutil.rmtree(registry.folder / version("a"))
    assert versions.named(version("a")) is loaded


def test_the_version_before_a_broken_one_serves(registry: Registry) -> None:
    """While the active version is broken the one before serves as it does in the job."""
    (registry.folder / version("b") / "model.onnx").write_bytes(b"")
    assert Versions(registry.folder).serving.version == version("a")


def test_one_bundle_is_what_every_list_is_held_against() -> None:
    versions = Versions(ESHOP)
    assert versions.named("another").version == versions.serving.version == load_bundle(ESHOP).version
