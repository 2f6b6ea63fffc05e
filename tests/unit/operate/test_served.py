"""The model that is shown is the one that the running job serves."""

from pathlib import Path

import pytest

from jobs.flow import submissions
from jobs.flow.job_config import JobConfig
from jobs.operate.served import served, takes_versions_of
from jobs.settings import REPOSITORY, Settings
from models.serving.registry import Registry

ARTIFACTS = REPOSITORY / "models" / "artifacts"
RUNNING = [{"id": "a1", "name": "liveshelf rankings", "state": "RUNNING"}]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A shell whose settings name the bundle `eshop`, while the job a1 was submitted with `serenade`."""
    shell = Settings(state_dir=tmp_path, model_dir=ARTIFACTS / "eshop")
    submit(Settings(state_dir=tmp_path, model_dir=ARTIFACTS / "serenade"))
    return shell


def submit(settings: Settings) -> None:
    config = JobConfig.of(settings, "kafka:1", "redis://redis", project="shop")
    config.save(submissions.config_path(settings.state_dir, "rankings"))
    submissions.note(settings.state_dir, submissions.Submitted("rankings", "a1", [], {}))


def test_the_running_jobs_model_is_shown_not_the_settings(settings: Settings) -> None:
    model = served(settings, RUNNING)
    assert (model.state, model.version.partition("-")[0], model.job_id) == ("active", "serenade", "a1")
    assert model.folder == str(ARTIFACTS / "serenade")


def test_while_no_rankings_job_runs_the_settings_model_is_shown(settings: Settings) -> None:
    others = [{"id": "b1", "name": "liveshelf features", "state": "RUNNING"}, RUNNING[0] | {"state": "CANCELED"}]
    assert served(settings, others).version.startswith("eshop-")
    assert served(settings, []).job_id == ""


def test_a_job_from_another_state_folder_is_unknown(settings: Settings) -> None:
    model = served(settings, [RUNNING[0] | {"id": "c1"}])
    assert (model.state, model.version, model.fix) == ("unknown", "", "set LIVESHELF_STATE_DIR")
    assert str(settings.state_dir) in model.reason


def test_only_job_that_reads_same_folder_of_versions_follows_it(settings: Settings, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "versions")
    registry.activate(registry.publish(ARTIFACTS / "eshop"))
    versions = Settings(state_dir=tmp_path, model_dir=registry.folder)
    assert not takes_versions_of(versions)
    submit(versions)
    assert takes_versions_of(versions)
    assert served(settings, RUNNING).version == registry.active().version
    assert not takes_versions_of(settings)
    submit(settings)
    assert not takes_versions_of(settings)  # one bundle has no versions
