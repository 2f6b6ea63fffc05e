"""`liveshelf shelves`: from a file to an active version and back, without a system."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.settings import SHIPPED_FEATURE_REPO


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A feature repository of one's own, in a system that doesn't run."""
    for file in SHIPPED_FEATURE_REPO.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setenv("LIVESHELF_FEATURE_REPO", str(tmp_path))
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["shelves", *arguments])


def status() -> dict[str, Any]:
    return json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["shelves"]


def edit(repository: Path, old: str, new: str) -> None:
    file = repository / "shelves.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_boost_is_published_activated_and_rolled_back(repository: Path) -> None:
    first = call("publish", "--activate").stdout.split()[-1]
    edit(repository, "Lift(item.on_offer, 1.3)", "Lift(item.on_offer, 1.5)")
    second = call("publish").stdout.split()[-1]
    assert second != first
    assert call("activate", second).stdout.strip() == second
    assert [line[0] for line in call("list").stdout.splitlines()] == [" ", "*"]
    assert status()["version"] == second
    assert call("rollback").stdout.strip() == first
    seen = status()
    assert (seen["version"], seen["refused"], seen["shelves"][0]) == (first, "", "home")
    assert "odds × 1.5 if item.on_offer" in call("explain", "home").stdout


def test_a_wrong_file_is_not_published(repository: Path) -> None:
    edit(repository, "Lift(item.on_offer, 1.3)", "Lift(item.on_offr, 1.3)")
    result = call("publish")
    assert result.exit_code == 3
    assert "home.lift: item.on_offr isn't a feature of entity item" in result.stderr
    assert "did you mean item.on_offer? (offers)" in result.stderr
    assert not (repository / "state" / "shelves").exists()


def test_a_visitors_feature_of_a_view_may_be_read(repository: Path) -> None:
    edit(repository, "where=~item.id.isin(visitor.session_purchases),", "where=visitor.view_count > 1,")
    result = call("lint")
    assert result.exit_code == 0, result.stderr
    assert "visitor.last_20_items" in call("lint", "--features").stdout
