"""What holds people or secrets gets neither into git nor into an image: one list in two files."""

import fnmatch
import re
from pathlib import Path

import pytest

from jobs.settings import REPOSITORY, Settings

GIT = (REPOSITORY / ".gitignore").read_text()
DOCKER = (REPOSITORY / "docker" / "Dockerfile.dockerignore").read_text()


def patterns(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def is_ignored(path: str) -> bool:
    """Whether git ignores a path, by the patterns used here: a name at any depth, or a path from the root."""
    parents = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    return any(
        fnmatch.fnmatch(place if "/" in pattern else Path(place).name, pattern)
        for pattern in patterns(GIT)
        for place in parents
    )


def test_git_and_docker_leave_out_the_same_names() -> None:
    assert "!" not in GIT + DOCKER
    assert [f"**/{pattern}" for pattern in patterns(GIT)] == patterns(DOCKER)[: len(patterns(GIT))]
    assert ".git" in patterns(DOCKER)


@pytest.mark.parametrize(
    "path",
    [
        ".liveshelf/kafka/data/events-0/0.log",
        ".liveshelf-secure/secure/ca.pem",
        ".liveshelf-other/receipts/key",
        "feature_repo/data/visitor_session.parquet",
        "docker/secrets/redis-job",
        "write.keys",
        "liveshelf.toml",
        "shop/pseudonym.keys",
        "0a1b2c-export/events.jsonl",
        "rest.pem",
        "ids.txt",
    ],
)
def test_a_file_about_people_or_of_secrets_is_ignored(path: str) -> None:
    assert is_ignored(path)


@pytest.mark.parametrize("path", ["feature_repo/definitions.py", "jobs/person/export.py", "models/artifacts/eshop/x"])
def test_what_the_project_is_made_of_is_not_ignored(path: str) -> None:
    assert not is_ignored(path)


def test_default_folders_and_those_of_the_pages_are_ignored() -> None:
    defaults = [Settings.model_fields[name].default for name in ("state_dir", "tracking_dir")]
    pages = "\n".join(page.read_text() for page in [REPOSITORY / "README.md", *REPOSITORY.glob("jobs/*/README.md")])
    shown = set(re.findall(r"STATE_DIR=(\.\S+)", pages)) | set(re.findall(r"[\w.-]+\.keys", pages))
    assert len(shown) >= 2
    assert [name for name in [*map(str, defaults), *shown] if not is_ignored(name)] == []


def test_history_writes_where_git_and_docker_dont_look() -> None:
    text = (REPOSITORY / "feature_repo" / "definitions.py").read_text()
    paths = set(re.findall(r'path=f?"([^"]+)"', text))
    assert paths
    assert [path for path in paths if not is_ignored(f"feature_repo/{path}")] == []
    assert not list((REPOSITORY / "feature_repo").glob("*.parquet"))
