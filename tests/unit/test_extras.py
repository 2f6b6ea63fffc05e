"""Commands that need more than `make demo` installs say so before they start anything."""

import ast
import os
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.errors import SettingsError
from jobs.operate import extras
from jobs.settings import REPOSITORY

NEEDS = {
    ("bench", "--quick"): ("confluent_kafka", "test"),
    ("chaos",): ("hypothesis", "test"),
    ("chaos", "--profile", "random"): ("hypothesis", "test"),
    ("chaos", "--scenario", "F1"): ("hypothesis", "test"),
    ("train", "--sessions", "clicks.txt", "--out", "mine"): ("torch", "train"),
    ("train", "--sessions", "clicks.txt", "--out", "mine", "--trials", "3"): ("optuna", "train"),
    ("train", "--sessions", "clicks.txt", "--out", "mine", "--from", "base"): ("mlflow", "train"),
    ("learn",): ("scipy", "train"),
    ("learn", "--once"): ("mlflow", "train"),
    ("evaluate", "--prefixes", "questions.tsv", "--baselines", "--sessions", "clicks.txt"): ("scipy", "train"),
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("LIVESHELF_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def without(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Python believe that a module isn't installed."""
    monkeypatch.setitem(sys.modules, module, None)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("arguments", NEEDS, ids=" ".join)
def test_a_missing_package_is_named_before_anything_starts(
    arguments: tuple[str, ...], empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, extra = NEEDS[arguments]
    without(module, monkeypatch)
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert f"needs {module}" in result.stderr
    assert f"liveshelf[{extra}]" in result.stderr
    assert f"make {extra}-env" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 2
    assert list(empty_folder.iterdir()) == []


def test_lists_are_evaluated_without_the_packages_for_training(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in extras.TRAINING:
        without(module, monkeypatch)
    for name in [name for name in sys.modules if name.startswith(("models.quality", "models.session"))]:
        monkeypatch.delitem(sys.modules, name)
    (empty_folder / "questions.tsv").write_text("a b\tc\na\td\n")
    (empty_folder / "lists.tsv").write_text("c d\nc x\n")
    result = call("evaluate", "--prefixes", "questions.tsv", "--lists", "lists.tsv", "--json")
    assert result.exit_code == 0, result.output
    assert '"recall@5": 0.5' in result.stdout


def test_all_missing_packages_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    without("torch", monkeypatch)
    without("optuna", monkeypatch)
    with pytest.raises(SettingsError, match="needs torch, optuna"):
        extras.require("training", *extras.TRAINING)


def test_what_is_installed_is_no_error() -> None:
    extras.require("training", "json", "msgspec")


def imported_packages() -> set[str]:
    """First names of everything that the product imports and that is neither its own nor Python's."""
    names = set()
    for folder in ("liveshelf", "jobs", "models"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"liveshelf", "jobs", "models"}


def names_of(requirements: list[str]) -> set[str]:
    """Names of the packages that lines such as `redis>=5` require."""
    return {re.split(r"[<=>\[]", line)[0].replace("_", "-").lower() for line in requirements}


def test_each_package_of_extra_that_is_imported_is_checked_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = [line for name in extras.EXTRAS for line in project["optional-dependencies"][name]]
    of_extra = names_of(lines) - names_of(project["dependencies"])
    distributions = packages_distributions()
    imported = {
        module
        for module in imported_packages()
        if {name.replace("_", "-").lower() for name in distributions.get(module, ())} & of_extra
    }
    assert imported == {module for extra in extras.EXTRAS.values() for module in extra.modules}
