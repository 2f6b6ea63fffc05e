"""Which feature repository commands use, and how a person gets one to edit."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.cluster import flink
from jobs.jvm import jars
from jobs.settings import REPOSITORY, SHIPPED_FEATURE_REPO, Settings

FILES = {"README.md", "definitions.py", "feature_store.yaml", "shelves.py"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("LIVESHELF_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_current_folders_own_repository_is_used(folder: Path) -> None:
    (folder / "feature_repo").mkdir()
    (folder / "feature_repo" / "feature_store.yaml").touch()
    assert Settings().feature_repo == folder / "feature_repo"


def test_without_one_of_its_own_the_shipped_repository_is_used(folder: Path) -> None:
    (folder / "feature_repo").mkdir()  # holds nothing of Feast's
    assert Settings().feature_repo == SHIPPED_FEATURE_REPO
    assert {file.name for file in SHIPPED_FEATURE_REPO.iterdir()} >= FILES


def test_a_named_repository_goes_before_the_current_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "feature_repo").mkdir()
    (folder / "feature_repo" / "feature_store.yaml").touch()
    monkeypatch.setenv("LIVESHELF_FEATURE_REPO", "shop")
    assert Settings().feature_repo == folder / "shop"


def test_init_copies_the_repository_and_commands_use_the_copy(folder: Path) -> None:
    result = call("init")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{folder}/feature_repo\n"
    assert {file.name for file in (folder / "feature_repo").iterdir()} == FILES
    for name in FILES:
        assert (folder / "feature_repo" / name).read_bytes() == (SHIPPED_FEATURE_REPO / name).read_bytes()
    assert Settings().feature_repo == folder / "feature_repo"
    assert "export" not in result.stderr
    assert "next: edit feature_repo/definitions.py" in result.stderr


def test_init_into_another_folder_says_how_commands_find_it(folder: Path) -> None:
    result = call("init", "shop/features")
    assert result.exit_code == 0, result.output
    assert f"export LIVESHELF_FEATURE_REPO={folder}/shop/features" in result.stderr
    assert (folder / "shop" / "features" / "definitions.py").is_file()


def test_init_overwrites_nothing(folder: Path) -> None:
    (folder / "feature_repo").mkdir()
    (folder / "feature_repo" / "definitions.py").write_text("mine")
    result = call("init")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: feature_repo is there already\n  fix: ")
    assert [file.name for file in (folder / "feature_repo").iterdir()] == ["definitions.py"]
    assert (folder / "feature_repo" / "definitions.py").read_text() == "mine"


def test_workers_get_absolute_folders_to_import_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"mine{os.pathsep}{REPOSITORY}{os.pathsep}/opt/shared")
    checkout = [str(REPOSITORY), str(REPOSITORY / "jobs" / "sdk")]
    assert flink.import_path().split(os.pathsep) == [*checkout, f"{folder}/mine", "/opt/shared"]


def test_the_jobs_jar_has_an_absolute_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert jars.cache_dir() == folder / "cache" / "liveshelf"
