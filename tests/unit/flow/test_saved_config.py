"""A job is started again from the configuration that its submission saved, also by an older release."""

import shutil
from pathlib import Path

import msgspec
import pytest

from jobs.contract.ranker_settings import RankerSettings
from jobs.features import changes
from jobs.flow import submissions
from jobs.flow.job_config import JobConfig
from jobs.settings import REPOSITORY, Settings

OLD = REPOSITORY / "tests" / "fixtures" / "rankings.config.0.1.0.json"


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state folder from which release 0.1.0 submitted the rankings job."""
    path = submissions.config_path(tmp_path, "rankings")
    path.parent.mkdir()
    shutil.copy(OLD, path)
    return tmp_path


def test_the_job_reads_a_configuration_of_release_0_1_0(state_dir: Path) -> None:
    config = JobConfig.load(submissions.config_path(state_dir, "rankings"))
    assert config.events_topic == "events"
    assert config.ranker == RankerSettings(
        model_dir="/srv/models/eshop", model_public_key="", shelf="home", list_size=20, list_ttl_s=2_592_000,
        session_gap_s=1800, model_threads=2,
    )  # fmt: skip


def test_its_keeper_and_the_check_of_settings_read_it_too(state_dir: Path) -> None:
    config = submissions.config(state_dir, "rankings")
    assert (config.ranker.shelf, config.ranker.list_ttl_s, config.rankings_topic) == ("home", 30 * 86_400, "rankings")
    before = changes.kept(state_dir, "rankings")
    assert before is not None
    now = changes.Chosen.of(Settings(session_gap_s=600))
    told = [str(change) for change in changes.of_settings("rankings", before, now)]
    assert any("session_gap_s: 1800 became 600" in line for line in told)


def test_what_is_saved_is_read_back_by_all_three(tmp_path: Path) -> None:
    settings = Settings(shelf="basket")
    config = JobConfig.of(settings, "k:1", "redis://r", project="p", model_public_key="key")
    path = submissions.config_path(tmp_path, "rankings")
    config.save(path)
    assert JobConfig.load(path) == config
    assert config.ranker == msgspec.structs.replace(settings.ranker, model_public_key="key")
    assert submissions.config(tmp_path, "rankings").ranker == config.ranker
    assert changes.of_settings("rankings", changes.kept(tmp_path, "rankings"), changes.Chosen.of(settings)) == []
