"""Versions of shelves: published, activated, rolled back, and refused when they aren't what was published."""

from pathlib import Path

import pytest

from jobs.contract.shelf_plan import Shelf, ShelfPlan, Source
from jobs.errors import DefinitionError
from jobs.rankings.shelf_source import ShelfSource
from jobs.shelves.versions import PLAN, ShelfVersions


def plan(size: int) -> ShelfPlan:
    return ShelfPlan(shelves=[Shelf(name="home", take=[Source(kind="session")], size=size)])


@pytest.fixture
def versions(tmp_path: Path) -> ShelfVersions:
    return ShelfVersions(tmp_path / "shelves")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "shelves.py"
    file.write_text("# as it was written\n")
    return file


def test_what_is_published_serves_when_activated_and_until_rolled_back(versions: ShelfVersions, source: Path) -> None:
    first, second = (versions.publish(plan(size), source) for size in (3, 4))
    with pytest.raises(DefinitionError, match="no active version"):
        versions.active()
    versions.activate(first)
    versions.activate(second)
    assert versions.serving() == (second, plan(4))
    assert [(each.version, each.active, each.shelves) for each in versions.versions()] == [
        (first, False, ["home"]),
        (second, True, ["home"]),
    ]
    versions.rollback()
    assert versions.serving() == (first, plan(3))
    assert (versions.folder / first / "shelves.py").read_text() == "# as it was written\n"
    with pytest.raises(DefinitionError, match="is the first version"):
        versions.rollback()


def test_the_same_plan_is_one_version(versions: ShelfVersions, source: Path) -> None:
    assert versions.publish(plan(3), source) == versions.publish(plan(3), source)
    assert len(versions.versions()) == 1


def test_a_changed_version_is_refused_and_the_one_before_serves(versions: ShelfVersions, source: Path) -> None:
    first, second = (versions.publish(plan(size), source) for size in (3, 4))
    versions.activate(first)
    versions.activate(second)
    file = versions.folder / second / PLAN
    file.write_bytes(file.read_bytes().replace(b'"size": 4', b'"size": 5'))
    refusals: list[str] = []
    assert versions.serving(lambda version, _: refusals.append(version)) == (first, plan(3))
    assert refusals == [second]
    with pytest.raises(DefinitionError, match="isn't what was published"):
        versions.activate(second)
    assert "isn't what was published" in versions.versions()[1].broken


def test_an_unknown_version_is_refused_with_the_known_ones(versions: ShelfVersions, source: Path) -> None:
    version = versions.publish(plan(3), source)
    with pytest.raises(DefinitionError, match=f"choose one of {version}"):
        versions.activate("../elsewhere")


def test_lists_of_a_broken_version_are_known_too(versions: ShelfVersions, source: Path) -> None:
    """Its lists may still be there, and must go with a visitor who is erased."""
    gone = ShelfPlan(shelves=[Shelf(name="gone", take=[Source(kind="session")], size=3)])
    first, second = versions.publish(gone, source), versions.publish(plan(3), source)
    versions.activate(first)
    versions.activate(second)
    (versions.folder / first / PLAN).write_bytes(b"half a fi")
    assert ShelfSource(str(versions.folder)).names == ["gone", "home"]
