"""Every path of the settings is absolute: workers and other processes have other working directories."""

import os
from pathlib import Path
from typing import get_args

import pytest

from jobs.commands.submit import savepoint_path
from jobs.connect.addresses import Address
from jobs.flow.job_config import JobConfig
from jobs.lab.bench import workplace
from jobs.settings import Settings

PATHS = sorted(
    name for name, field in Settings.model_fields.items() if Path in (field.annotation, *get_args(field.annotation))
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("LIVESHELF_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_settings_with_a_path_are_found() -> None:
    assert {"state_dir", "feature_repo", "model_dir", "pseudonym_keys", "collector_write_keys"} <= set(PATHS)


@pytest.mark.parametrize("name", PATHS)
def test_a_relative_path_in_a_variable_becomes_absolute(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LIVESHELF_{name.upper()}", "some/../place")
    settings = Settings()
    monkeypatch.chdir("/")
    assert getattr(settings, name) == folder / "place"


@pytest.mark.parametrize("name", PATHS)
def test_a_relative_path_in_the_file_becomes_absolute(name: str, folder: Path) -> None:
    (folder / "liveshelf.toml").write_text(f'{name} = "place"\n')
    assert getattr(Settings(), name) == folder / "place"


def test_default_paths_are_absolute(folder: Path) -> None:
    values = {name: getattr(Settings(), name) for name in PATHS}
    assert values["state_dir"] == folder / ".liveshelf"
    assert [name for name, value in values.items() if value and not value.is_absolute()] == []


def test_a_link_stays_a_link(folder: Path) -> None:
    (folder / "v1").mkdir()
    (folder / "current").symlink_to("v1")
    assert Settings(model_dir=Path("current")).model_dir == folder / "current"


def test_an_address_names_its_secrets_by_an_absolute_path(folder: Path) -> None:
    settings = Settings(
        kafka_bootstrap="kafkas://cli@broker:9093?secrets=secrets",
        redis_url="rediss://job@redis:6379/0?secrets=./secrets",
        flink_rest_url="https://flink:8081?secrets=/run/secrets",
    )
    assert Address.of(settings.kafka_bootstrap).secrets == f"{folder}/secrets"
    assert Address.of(settings.redis_url.get_secret_value()).secrets == f"{folder}/secrets"
    assert settings.flink_rest_url == "https://flink:8081?secrets=/run/secrets"


def test_a_job_is_told_absolute_paths(folder: Path) -> None:
    settings = Settings(model_dir=Path("models"), kafka_bootstrap="kafkas://job@broker:9093?secrets=secrets")
    config = JobConfig.of(settings, settings.kafka_bootstrap, "redis://redis", project="shop")
    assert config.ranker.model_dir == str(folder / "models")
    assert Address.of(config.kafka_bootstrap).secrets == f"{folder}/secrets"


def test_a_folder_replaced_for_one_job_becomes_absolute(folder: Path) -> None:
    config = JobConfig.of(Settings(), "broker:9093", "redis://redis", project="shop", model_dir=".liveshelf/versions")
    assert config.ranker.model_dir == str(folder / ".liveshelf" / "versions")


def test_the_bench_works_in_an_absolute_folder(folder: Path) -> None:
    own = workplace.own(Settings())
    assert own.state_dir == folder / ".liveshelf" / "bench"
    assert own.ranker.shelves_dir == str(folder / ".liveshelf" / "bench" / "shelves")


def test_a_savepoint_of_this_machine_is_named_absolutely(folder: Path) -> None:
    (folder / "savepoint-1").mkdir()
    assert savepoint_path("savepoint-1") == str(folder / "savepoint-1")
    assert savepoint_path("s3://bucket/savepoint-1") == "s3://bucket/savepoint-1"
    assert savepoint_path("") == ""
