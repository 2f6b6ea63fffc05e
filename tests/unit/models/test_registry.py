"""Publishing, activating and rolling back; and a source that follows it between two batches."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.errors import DefinitionError, ModelError
from jobs.features import plan
from jobs.operate import submit
from jobs.rankings.model_source import ModelSource
from jobs.settings import Settings
from models.serving.bundle import check_content, load_bundle
from models.serving.registry import Registry, State, is_registry, serving_folder, state_of


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


def test_what_was_checked_is_what_is_published(registry, bundles, monkeypatch):
    """A bundle that another process changes after the check is published as it was checked."""
    checked = {file.name: file.read_bytes() for file in bundles[1].iterdir()}

    def changed_meanwhile(*content):
        bundle = check_content(*content)
        for file in bundles[1].iterdir():
            file.write_bytes(b"another")
        return bundle

    monkeypatch.setattr("models.serving.registry.check_content", changed_meanwhile)
    version = registry.publish(bundles[1])
    assert {file.name: file.read_bytes() for file in (registry.folder / version).iterdir()} == checked


@pytest.mark.parametrize(
    ("around", "file", "folder"), [(0o755, 0o644, 0o755), (0o710, 0o640, 0o750), (0o700, 0o600, 0o700)]
)
def test_who_gets_into_the_folder_around_may_read_versions(registry, bundles, around, file, folder):
    """A job of another user reads them there; a state folder is its owner's only, and so are the versions in it."""
    registry.folder.parent.chmod(around)
    before = os.umask(0o077)
    try:
        registry.activate(registry.publish(bundles[0]))
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in registry.folder.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in (registry.folder, *registry.folder.iterdir()) if path.is_dir()}
    assert (modes, folders) == ({file}, {folder})


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
def test_a_version_that_isnt_there_is_refused(registry, bundles, name):
    """A version that isn't there or is no plain name is refused."""
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


def break_manifest(registry, version):
    (registry.folder / version / "manifest.json").write_text("{")


def test_a_version_with_a_broken_manifest_is_listed_as_broken(registry, bundles):
    """A version whose manifest is no JSON is listed as broken and the others as they are."""
    first, second = [registry.publish(bundle) for bundle in bundles]
    break_manifest(registry, first)
    listed = {each.version: each for each in registry.versions()}
    assert "manifest.json isn't a manifest" in listed[first].broken
    assert {version: each.items for version, each in listed.items()} == {first: None, second: 217}
    assert listed[second].broken == ""


def test_a_refused_version_that_is_mended_is_offered_again(registry, bundles):
    """A version that was refused is offered again when it is mended and activated again."""
    first, second = [registry.publish(bundle) for bundle in bundles]
    registry.activate(first)
    registry.activate(second)
    registry.note_refusal(second, "its files were damaged")
    assert state_of(registry.folder).reason == "its files were damaged"
    source = ModelSource(registry.folder, look_every_s=0.01)
    source.bundle = registry.bundle(first)  # as it is in the job that refused
    assert registry.activate(second).before == [first]
    assert registry.refused() is None
    assert follow(source, second) == 1


def test_refusal_is_forgotten_after_a_rollback_and_a_second_activation(registry, bundles):
    first, second = [registry.publish(bundle) for bundle in bundles]
    registry.activate(first)
    registry.activate(second)
    registry.note_refusal(second, "its files were damaged")
    registry.rollback()
    time.sleep(0.002)  # an activation is known by its millisecond
    registry.activate(second)
    assert registry.refused() is None


def test_the_state_is_that_of_the_active_version(registry, bundles, tmp_path):
    """The state is that of the active version and a folder without one is broken."""
    first, second = [registry.publish(bundle) for bundle in bundles]
    assert state_of(bundles[0]) == State("active", first)
    assert state_of(tmp_path / "none").state == "broken"
    registry.activate(first)
    registry.activate(second)
    assert state_of(registry.folder) == State("active", second)
    break_manifest(registry, second)
    assert (state_of(registry.folder).state, state_of(registry.folder).version) == ("broken", second)


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


def test_a_source_keeps_its_model_when_the_next_is_broken(registry, bundles):
    """A source keeps its model when the activated one is broken and says so."""
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


def test_source_that_starts_on_broken_version_serves_the_one_before(registry, bundles):
    first, second = [registry.publish(bundle) for bundle in bundles]
    registry.activate(first)
    registry.activate(second)
    (registry.folder / second / "model.onnx").unlink()
    source = ModelSource(registry.folder)
    assert source.bundle.version == first
    assert source.refusals == 1


def test_a_source_shows_the_refusal_of_the_active_version(registry, bundles, tmp_path):
    """A source that passes two broken versions shows the refusal of the active one."""
    third = Path(shutil.copytree(bundles[1], tmp_path / "third"))
    (third / "manifest.json").write_text((third / "manifest.json").read_text().replace('"other"', '"third"'))
    versions = [registry.publish(bundle) for bundle in (*bundles, third)]
    for version in versions:
        registry.activate(version)
    for version in versions[1:]:
        break_manifest(registry, version)
    source = ModelSource(registry.folder)
    assert (source.bundle.version, source.refusals) == (versions[0], 2)
    assert registry.refused().version == versions[2]


def test_a_single_bundle_never_changes(bundles):
    source = ModelSource(bundles[0], look_every_s=0.0)
    assert not source.poll()
    assert source.bundle.version == versions_of(bundles)[0]


def test_the_commands_publish_activate_list_and_roll_back(registry, bundles, monkeypatch):
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(registry.folder))
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(registry.folder.parent / "state"))
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


def feed(state_dir: Path, *features: str) -> None:
    """A features job runs in `state_dir`, and its feature service gives these."""
    running = plan.FeaturePlan("liveshelf", "events", 1000, [], {"ranker_context": list(features)})
    plan.save(running, plan.submitted_path(state_dir))


def test_a_version_with_a_foreign_feature_is_never_activated(registry, bundles, monkeypatch, tmp_path):
    """A version that reads what the feature service doesn't give is not activated by any command."""
    first, second = [registry.publish(bundle) for bundle in bundles]
    registry.activate(second)
    before = registry.activate(first)
    settings = Settings(model_dir=registry.folder, state_dir=tmp_path / "state")
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(settings.model_dir))
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(settings.state_dir))
    feed(settings.state_dir, "visitor_session:view_count")
    with pytest.raises(DefinitionError) as by_submit:
        submit.served_project(settings)
    for arguments, version in (
        (["activate", second], second), (["rollback"], second), (["publish", str(bundles[1]), "--activate"], second),
    ):  # fmt: skip
        answer = CliRunner().invoke(app, ["models", *arguments])
        assert (answer.exit_code, registry.active()) == (DefinitionError.exit_code, before)
        assert str(by_submit.value).replace(first, version) in answer.stderr
    feed(settings.state_dir, *load_bundle(bundles[1]).context_features)
    assert CliRunner().invoke(app, ["models", "activate", second]).exit_code == 0


def test_the_commands_list_a_broken_version_and_tell_a_refusal(registry, bundles, monkeypatch, tmp_path):
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(registry.folder))
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(tmp_path / "state"))
    first, second = [registry.publish(bundle) for bundle in bundles]
    registry.activate(first)
    registry.activate(second)
    registry.note_refusal(second, "its manifest is damaged")
    break_manifest(registry, second)
    listed = CliRunner().invoke(app, ["models", "list"])
    assert listed.exit_code == 0
    assert f"* {second}" in listed.stdout
    assert "broken: " in listed.stdout
    told = CliRunner().invoke(app, ["status"])
    assert f"model  refused        {second}  its manifest is damaged" in told.stdout
    assert json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["model"]["state"] == "refused"


def test_the_commands_say_when_the_setting_names_a_bundle(bundles, monkeypatch):
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(bundles[0]))
    answer = CliRunner().invoke(app, ["models", "rollback"])
    assert answer.exit_code == 2
    assert "is one bundle, not a folder of versions" in answer.stderr
