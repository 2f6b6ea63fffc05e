"""Commands that need more than `make demo` installs say so before they start anything."""

import ast
import importlib
import os
import re
import sys
import tomllib
from contextlib import nullcontext
from importlib.metadata import packages_distributions
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.errors import SettingsError
from jobs.lab.bench import run
from jobs.operate import extras
from jobs.settings import REPOSITORY

NEEDS = {
    ("bench",): ("confluent_kafka", "test"),
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


def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the installation what `make demo` makes it."""
    for module in (*extras.TRAINING, *extras.EXTRAS["test"].modules):
        without(module, monkeypatch)


def without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the bench start nothing; what it measures is up to the test."""
    monkeypatch.setattr(run, "workplace", lambda settings: nullcontext(None))
    monkeypatch.setattr(run, "machine", dict)


def test_the_quick_bench_needs_no_extra_and_calls_itself_rough(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_extras(monkeypatch)
    without_cluster(monkeypatch)
    monkeypatch.setattr(run, "measure", lambda place, sizes, progress: {"sizes": sizes})
    result = call("bench", "--quick", "--json", "bench.json")
    assert result.exit_code == 0, result.output
    assert result.stderr.count(run.ROUGH) == 2  # before minutes of work, and beside the figures
    stored = msgspec.json.decode((empty_folder / "bench.json").read_bytes())
    assert stored["rough"] == run.ROUGH
    assert stored["sizes"]["events"] == run.QUICK.events


def test_a_profile_needs_no_extra_and_is_stored(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_extras(monkeypatch)
    without_cluster(monkeypatch)
    monkeypatch.setattr(run, "processor_time", lambda place, prefixes, progress: {"prefixes": prefixes})
    result = call("bench", "--profile", "--json", "profile.json")
    assert result.exit_code == 0, result.output
    stored = msgspec.json.decode((empty_folder / "profile.json").read_bytes())
    assert stored["prefixes"] == list(run.PROFILED)
    assert "rough" not in stored


# Modules whose packages only an extra brings. All others of the lab are imported where only `make demo` was called.
NEED_TRAINING = {"jobs.lab.bench.catalogue", "jobs.lab.bench.learning"}
LAB = sorted(
    ".".join(file.relative_to(REPOSITORY).with_suffix("").parts) for file in (REPOSITORY / "jobs/lab").rglob("*.py")
)


@pytest.mark.parametrize("name", [name for name in LAB if not name.endswith("__init__")])
def test_a_lab_program_needs_no_extra_or_names_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_extras(monkeypatch)
    for module in [module for module in sys.modules if module.startswith(("jobs.lab", "jobs.learn", "models."))]:
        monkeypatch.delitem(sys.modules, module)
    if name not in NEED_TRAINING:
        importlib.import_module(name)
        return
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name)
    needed = rf"error: python -m {re.escape(name)} needs (onnx|scipy|torch)\n  fix: make train-env, or .+"
    assert re.fullmatch(needed, str(ended.value.code))


def test_a_module_of_no_extra_stays_a_module_not_found() -> None:
    with pytest.raises(ModuleNotFoundError), extras.of_program("python -m something"):
        importlib.import_module("no_such_module")


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
