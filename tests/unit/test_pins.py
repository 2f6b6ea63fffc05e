"""Dependencies are pinned by content: Python's in constraints.txt, jars in jobs/jvm/jars.json."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jobs.errors import ServiceError
from jobs.jvm import jars
from jobs.settings import REPOSITORY

CONSTRAINTS = (REPOSITORY / "constraints.txt").read_text()
EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def sections() -> dict[str, dict[str, list[str]]]:
    """Section → name → its lines: the pin, then hashes."""
    found: dict[str, dict[str, list[str]]] = {}
    for title, body in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", CONSTRAINTS, re.M | re.S):
        blocks = re.split(r"\n(?! )", body.strip())
        found[title] = {Requirement(block.split(" \\\n")[0]).name: block.split(" \\\n    ") for block in blocks}
    return found


def test_every_file_of_every_dependency_has_its_hash() -> None:
    pins = [lines for section in sections().values() for lines in section.values()]
    assert len(pins) > 200
    for pin, *hashes in pins:
        assert re.match(r"[A-Za-z0-9._-]+==[^ ;*]+( ; |$)", pin), pin
        assert hashes, pin
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), pin


def test_pins_record_no_address() -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted", CONSTRAINTS)


@pytest.mark.parametrize("extra", ["run", "train", "test"])
def test_each_extras_dependencies_are_pinned_as_pyproject_wants(extra: str) -> None:
    order = ["build", "run", "train", "test"]
    pinned = {name: lines for title in order[: order.index(extra) + 1] for name, lines in sections()[title].items()}
    for text in EXTRAS[extra]:
        wanted = Requirement(text)
        if wanted.name != "liveshelf":
            pin = Requirement(pinned[canonicalize_name(wanted.name)][0])
            assert wanted.specifier.contains(str(pin.specifier).removeprefix("==")), (text, str(pin))


def test_make_installs_nothing_without_a_hash() -> None:
    text = (REPOSITORY / "Makefile").read_text()
    assert "--require-hashes --requirement /dev/stdin" in text
    assert "--no-deps --no-build-isolation --editable ." in text
    assert [name for name in ("build", *EXTRAS) if f"$(call PINNED,{name})" not in text] == []
    assert text.count("$(PIP)") == 2  # the pinned ones, and the checkout itself


def test_each_jar_that_is_used_is_pinned() -> None:
    cluster = {jars.FLINK_KAFKA_CONNECTOR, jars.FLINK_S3}
    asked = {jars.KAFKA, jars.KAFKA_LOGGING, jars.REDIS_WITH_TLS, jars.COMPILER, *cluster}
    assert set(jars.pins()) == asked
    for coordinate, digests in jars.pins().items():
        _, artifact, version = coordinate.split(":")
        assert next(iter(digests)) == f"{artifact}-{version}.jar"
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests.values())
    assert len(jars.pins()[jars.KAFKA]) == 45


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven repository with the one jar of a coordinate, and no memory of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "one-1.jar").write_bytes(b"the one that was tried")
    (tmp_path / "extra-1.jar").write_bytes(b"of a pom that was changed")
    pinned = {"g:one:1": {"one-1.jar": hashlib.sha256(b"the one that was tried").hexdigest()}}
    monkeypatch.setattr(jars, "pins", lambda: pinned)
    monkeypatch.setattr(jars, "_resolve", lambda _: [tmp_path / "one-1.jar", tmp_path / "extra-1.jar"])
    return tmp_path


def test_a_jar_without_a_pin_is_not_used(repository: Path) -> None:
    assert jars._jars("g:one:1") == [repository / "one-1.jar"]
    assert jars._jars("g:one:1") == [repository / "one-1.jar"]


def test_another_jar_is_refused_when_it_comes(repository: Path) -> None:
    (repository / "one-1.jar").write_bytes(b"another")
    with pytest.raises(ServiceError, match=r"one-1\.jar has sha256 "):
        jars._jars("g:one:1")


def test_a_remembered_jar_that_was_changed_is_refused(repository: Path) -> None:
    jars._jars("g:one:1")
    assert json.loads(jars._memory("g:one:1").read_bytes())[0] == str(repository / "one-1.jar")
    (repository / "one-1.jar").write_bytes(b"another")
    with pytest.raises(ServiceError, match=r"one-1\.jar has sha256 "):
        jars._jars("g:one:1")


def test_a_jar_that_is_missing_is_named(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "_resolve", lambda _: [repository / "extra-1.jar"])
    with pytest.raises(ServiceError, match=r"one-1\.jar isn't among the jars of g:one:1: extra-1\.jar"):
        jars._jars("g:one:1")
