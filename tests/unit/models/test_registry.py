"""Publishing, activating and rolling back; and a source that follows it between two batches."""

import json
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.errors import ModelError
from jobs.rankings.model_source import ModelSource
from models.bundle import load_bundle
from models.registry import Registry, is_registry, serving_folder


@pytest.fixture
def registry(tmp_path) -> Registry:
    return Registry(tmp_path / "versions")


@pytest.fixture
def bundles(eshop_bundle_folder, tmp_path) -> list[Path]:
    """Two good bundles: the same model, the second with another name and thus another version."""
    other = Path(shutil.copytree(eshop_bundle_folder, tmp_path / "other"))
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"name": "other"}))
    return [eshop_bundle_folder, other]


def versions_of(bundles) -> list[str]:
    return [load_bundle(bundle).version for bundle in bundles]


def test_what_is_published_serves_only_when_activated(registry, bundles):
    first, second = [registry.publish(bundle) for bundle in bundles]
    assert [each.version for each in registry.versions()] == [first, second] == versions_of(bundles)
    assert not is_registry(registry.folder)
    with pytest.raises(ModelError, match="no active version"):
        registry.active()
    registry.activate(second)
    assert [each.active for each in registry.versions()] == [False, True]
    assert serving_folder(registry.folder) == registry.folder / second
    assert serving_folder(bundles[0]) == bundles[0]


def test_publishing_again_changes_nothing(registry, bundles):
    version = registry.publish(bundles[0])
    before = (registry.folder / version / "model.onnx").stat().st_mtime_ns
    assert registry.publish(bundles[0]) == version
    assert (registry.folder / version / "model.onnx").stat().st_mtime_ns == before
    assert [each.name for each in registry.folder.iterdir()] == [version]


def test_rollback_walks_back_through_what_served(registry, bundles):
    first, second = [registry.publish(bundle) for bundle in bundles]
    for version in (first, second, first):
        registry.activate(version)
    assert registry.rollback().version == second
    assert registry.rollback().version == first
    with pytest.raises(ModelError, match="is the first version that was activated"):
        registry.rollback()


def test_a_broken_bundle_is_neither_published_nor_activated(registry, bundles, tmp_path):
    version = registry.publish(bundles[0])
    registry.activate(version)
    broken = Path(shutil.copytree(bundles[1], tmp_path / "broken"))
    (broken / "vocabulary.json").write_bytes(b"{}")
    with pytest.raises(ModelError, match="has sha256"):
        registry.publish(broken)
    other = registry.publish(bundles[1])
    (registry.folder / other / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="has sha256"):
        registry.activate(other)
    assert registry.active().version == version


@pytest.mark.parametrize("name", ["gone", "../other", "/etc", ""])
def test_a_version_that_isnt_there_or_is_no_plain_name_is_refused(registry, bundles, name):
    version = registry.publish(bundles[0])
    with pytest.raises(ModelError, match=rf"there is no version .*\n  fix: choose one of {version}"):
        registry.activate(name)


def test_diff_tells_metrics_training_and_items(registry, bundles):
    manifest = json.loads((bundles[1] / "manifest.json").read_text())
    manifest["metrics"]["model"]["mrr@20"] = 0.5
    manifest["training"]["seed"] = 99
    (bundles[1] / "manifest.json").write_text(json.dumps(manifest))
    first, second = [registry.publish(bundle) for bundle in bundles]
    found = registry.diff(first, second)
    assert found["metrics"]["model"]["mrr@20"][1] == 0.5
    assert found["training"]["seed"][1] == 99
    assert found["items"] == {"added": 0, "removed": 0, "kept": 217}


def follow(source: ModelSource, wanted: str) -> int:
    """Polls until the version serves; how many polls answered that it changed."""
    changes, deadline = 0, time.monotonic() + 10
    while source.bundle.version != wanted and time.monotonic() < deadline:
        changes += source.poll()
        time.sleep(0.005)
    assert source.bundle.version == wanted
    return changes


def test_a_source_follows_activations_and_rollbacks(registry, bundles):
    first, second = [registry.publish(bundle) for bundle in bundles]
    registry.activate(first)
    source = ModelSource(registry.folder, look_every_s=0.01)
    assert source.bundle.version == first
    registry.activate(second)
    assert follow(source, second) == 1
    registry.rollback()
    assert follow(source, first) == 1
    assert source.refusals == 0


def test_a_source_keeps_its_model_when_the_activated_one_is_broken_and_says_so(registry, bundles):
    first, second = [registry.publish(bundle) for bundle in bundles]
    registry.activate(first)
    source = ModelSource(registry.folder, look_every_s=0.01)
    registry.activate(second)
    (registry.folder / second / "vocabulary.json").write_bytes(b"truncated")
    deadline = time.monotonic() + 10
    while not source.refusals and time.monotonic() < deadline:
        assert not source.poll()
        time.sleep(0.005)
    assert source.bundle.version == first
    assert registry.refused().version == second
    assert "has sha256" in registry.refused().reason
    registry.rollback()
    assert registry.refused() is None


def test_a_source_that_starts_on_a_broken_version_serves_the_one_before(registry, bundles):
    first, second = [registry.publish(bundle) for bundle in bundles]
    registry.activate(first)
    registry.activate(second)
    (registry.folder / second / "model.onnx").unlink()
    source = ModelSource(registry.folder)
    assert source.bundle.version == first
    assert source.refusals == 1


def test_a_single_bundle_never_changes(bundles):
    source = ModelSource(bundles[0], look_every_s=0.0)
    assert not source.poll()
    assert source.bundle.version == versions_of(bundles)[0]


def test_the_commands_publish_activate_list_and_roll_back(registry, bundles, monkeypatch):
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(registry.folder))
    first, second = versions_of(bundles)

    def run(*arguments):
        answer = CliRunner().invoke(app, ["models", *map(str, arguments)])
        assert answer.exit_code == 0, answer.stderr
        return answer.stdout.strip()

    assert run("publish", bundles[0], "--activate") == first
    assert run("publish", bundles[1]) == second
    assert run("activate", second) == second
    listed = json.loads(run("list", "--json"))
    assert {each["version"]: each["active"] for each in listed["versions"]} == {first: False, second: True}
    assert f"* {second}" in run("list")
    assert run("rollback") == first


def test_the_commands_say_when_the_setting_names_a_bundle(bundles, monkeypatch):
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(bundles[0]))
    answer = CliRunner().invoke(app, ["models", "list"])
    assert answer.exit_code == 2
    assert "is one bundle, not a folder of versions" in answer.stderr
