"""The wheel in clean environments outside the checkout: alone for an app, and with what a system needs.

The default run installs nothing from a network: it borrows the running environment's packages. `-m bench` installs the
extra `run` for real.
"""

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from jobs.cluster import flink, processes
from jobs.flow import submissions
from jobs.jvm import jars
from jobs.rankings.publish import Encoder, Publication, Publisher
from jobs.rankings.ranked_list import RankedList
from jobs.rankings.session import Session
from jobs.settings import REPOSITORY
from tests.support import environments
from tests.support.environments import Environment, run
from tests.support.waiting import eventually

READ = """
import sys
from liveshelf import AsyncShelfReader, Shelf, ShelfError, ShelfReader, __version__
shelf = ShelfReader(sys.argv[1]).get("v1")
print(__version__, shelf.state, *shelf.items, shelf.list_id, type(shelf) is Shelf)
"""
NOT_SHIPPED = ("*.png", "*.svg")  # pictures of pages


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environments.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install liveshelf`, from a folder that holds nothing but redis and what redis requires."""
    packages = tmp_path_factory.mktemp("packages")
    environments.repack_with_requirements("redis", packages)
    environment = Environment.make(tmp_path_factory.mktemp("bare"))
    environment.install("--no-index", "--find-links", str(packages), str(wheel))
    return environment


def test_the_wheel_holds_every_file_of_its_folders(wheel: Path) -> None:
    """`liveshelf` lies in jobs/sdk, and only in the wheel beside the other folders."""
    folders = ("liveshelf", "jobs", "models", "feature_repo")
    files = [
        str(file).replace("jobs/sdk/liveshelf", "liveshelf")
        for file in environments.sources()
        if not any(file.match(pattern) for pattern in NOT_SHIPPED)
    ]
    expected = {file for file in files if file.split("/")[0] in folders}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.split("/")[0] in folders}
    assert expected - names == set()
    assert names - expected == set()
    suffixes = {Path(name).suffix for name in names} | {Path(name).name for name in names}
    assert {".java", ".onnx", ".js", ".gz", "py.typed", "feature_store.yaml"} <= suffixes


def test_a_bare_installation_is_liveshelf_and_redis(bare: Environment, tmp_path: Path) -> None:
    """The running environment's redis may require packages itself (5.3.1: PyJWT)."""
    assert bare.packages() == {"liveshelf"} | environments.repack_with_requirements("redis", tmp_path)


@pytest.fixture
def published(redis_url: str, client: redis.Redis) -> str:
    """A Redis with a list that the job's own publisher wrote for the visitor v1."""
    now_ms = int(client.time()[0]) * 1000
    session = Session([now_ms], ["view"], ["x"], frozenset())
    publication = Publication(
        "v1", "home", 1, 42, RankedList(["a", "b"], [0.5, 0.25], None, ["x"]), session, [], now_ms
    )
    Publisher(redis_url, 60).publish([publication], [Encoder("m-2", []).value(publication)])
    return redis_url


def test_a_bare_installation_reads_a_list(bare: Environment, published: str, tmp_path: Path) -> None:
    version = REPOSITORY.joinpath("pyproject.toml").read_text().partition('version = "')[2].partition('"')[0]
    answer = run(bare.python, "-c", READ, published, cwd=tmp_path).stdout
    assert answer == f"{version} fresh a b 1-42 True\n"


def test_an_app_may_have_packages_named_jobs_and_models(bare: Environment, published: str, tmp_path: Path) -> None:
    for name in ("jobs", "models"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("mine = True\n")
    program = f"import jobs, models\nassert jobs.mine and models.mine\n{READ}"
    assert " fresh a b " in run(bare.python, "-c", program, published, cwd=tmp_path).stdout


def test_a_bare_installations_command_says_what_to_install(bare: Environment, tmp_path: Path) -> None:
    process = run(bare.script("liveshelf"), "status", cwd=tmp_path, code=2)
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ")
    assert "pip install 'liveshelf[run]'" in line


class Installed:
    """liveshelf as a person has it who has no checkout: commands, in a folder of their own with default settings."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.environment, self.folder = environment, folder
        self.state_dir, self.cache = folder / ".liveshelf", folder / "cache"
        # The downloaded jars are known. The jobs' own jar isn't: it is compiled from the wheel's sources.
        shutil.copytree(jars.cache_dir() / "jars", self.cache / "liveshelf" / "jars")

    def command(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `liveshelf`, with free ports, and check its exit code."""
        script = self.environment.script("liveshelf")
        variables = {f"LIVESHELF_{service}_PORT": "0" for service in ("KAFKA", "REDIS", "FLINK")}
        variables["LIVESHELF_CHECKPOINT_INTERVAL_MS"] = "2000"  # an erasure waits for two checkpoints
        return run(script, *arguments, cwd=self.folder, code=code, XDG_CACHE_HOME=str(self.cache), **variables)

    def problems(self) -> set[str]:
        """Return what `doctor` finds wrong, but for what other programs on this machine take."""
        checks = json.loads(self.command("doctor", "--json", code=None).stdout)
        return {check["name"] for check in checks if not check["ok"]} - {"memory", "disk"}

    def check(self, name: str) -> dict[str, Any]:
        """Return what `doctor` says of one of its checks."""
        checks = json.loads(self.command("doctor", "--json", code=None).stdout)
        return next(check for check in checks if check["name"] == name)

    def workers(self) -> list[psutil.Process]:
        owned = processes.owned(self.state_dir, "flink")
        return [process for process in owned if flink.PYTHON_WORKER in processes.words(process)]


def check_a_system(installed: Installed) -> None:
    """Start a system with default paths, submit both jobs, send clicks, read a list, and look where code came from."""
    before, site_packages = installed.environment.files(), installed.environment.site_packages
    installed.command("lint")
    assert installed.problems() == {"Kafka", "Redis", "Flink", "Feast registry"}
    try:
        addresses = json.loads(installed.command("up", "--json").stdout)
        installed.command("submit", "all")
        assert installed.problems() == set()
        installed.command("replay", "eshop2008", "--limit", "50", "--shift-to-now")
        with redis.Redis.from_url(addresses["redis"]) as client:
            (found, *_) = eventually(lambda: list(client.scan_iter("shelf:*:home")), within_s=120)
        submitted = submissions.noted(installed.state_dir)
        scripts = {job.argv[job.argv.index("-py") + 1] for job in submitted}
        assert scripts == {str(site_packages / "jobs" / f"session_{job}.py") for job in ("features", "rankings")}
        workers = eventually(installed.workers)
        assert {worker.cmdline()[0] for worker in workers} == {installed.environment.python}
        assert [worker for worker in workers if str(REPOSITORY) in worker.environ().get("PYTHONPATH", "")] == []
        check_whose_files_these_are(installed, found.decode().split(":")[1].strip("{}"))
    finally:
        installed.command("down")
    jars = [file.name for file in (installed.cache / "liveshelf" / "jvm").glob("liveshelf-*.jar")]
    assert sorted("guard" in jar for jar in jars) == [False, True], jars  # the jobs' and the JobManager's
    assert installed.environment.files() == before


def check_whose_files_these_are(installed: Installed, visitor: str) -> None:
    """Nobody else on the machine may read what a run leaves: topics, lists, state, logs, an export, a receipt."""
    export, state = installed.folder / "export", installed.state_dir
    installed.command("person", "export", visitor, "--to", str(export))
    installed.command("person", "erase", visitor)
    installed.command("stop", "rankings")
    assert open_to_others(state) == open_to_others(export) == []
    # The walk has seen what holds people.
    seen = {str(path.relative_to(state)) for path in state.rglob("*")}
    flink = [f"flink/{part}/" for part in ("checkpoints", "savepoints", "log")]
    for part in ("kafka/data/events-0/", "redis/appendonly", "receipts/", *flink):
        assert any(name.startswith(part) for name in seen), part

    log = state / "kafka" / "server.log"
    log.chmod(0o644)
    found = installed.check("state folder")
    log.chmod(0o600)
    assert (found["ok"], str(log) in found["found"]) == (False, True)
    assert installed.check("state folder")["ok"]


def open_to_others(folder: Path) -> list[Path]:
    """Return what group or others may do anything with. A link has no mode of its own."""
    found = [path for path in (folder, *folder.rglob("*")) if path.exists() and not path.is_symlink()]
    return [path for path in found if path.stat().st_mode & 0o077]


@pytest.fixture(scope="module")
def borrowing(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel, beside packages that the running environment has installed."""
    environment = Environment.make(tmp_path_factory.mktemp("borrowing"))
    environment.install("--no-index", "--no-deps", str(wheel))
    environment.borrow_packages()
    return environment


def test_an_installed_wheel_runs_a_system_outside_a_checkout(borrowing: Environment, tmp_path: Path) -> None:
    """It runs as for an operator with the usual umask, and whatever it leaves is its owner's."""
    before = os.umask(0o022)
    try:
        check_a_system(Installed(borrowing, tmp_path))
    finally:
        os.umask(before)


def test_history_asks_for_a_feature_repository_of_ones_own(borrowing: Environment, tmp_path: Path) -> None:
    installed = Installed(borrowing, tmp_path)
    before = borrowing.files()
    assert "liveshelf init" in installed.command("history", "events.jsonl", code=2).stderr
    installed.command("init")
    definitions = tmp_path / "feature_repo" / "definitions.py"
    definitions.write_text(definitions.read_text().replace('column="is_view"', 'column="is_viewed"', 1))
    assert "is_viewed" in installed.command("lint", code=3).stderr
    assert borrowing.files() == before


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_a_real_installation_of_the_extra_run_shows_the_demo(wheel: Path, tmp_path: Path) -> None:
    """Install every package of the extra from the index that pip is set up with: about 1 GB."""
    environment = Environment.make(tmp_path / "environment")
    environment.install(f"liveshelf[run] @ {wheel.as_uri()}")
    (tmp_path / "work").mkdir()
    installed = Installed(environment, tmp_path / "work")
    check_a_system(installed)
    before = environment.files()
    outcome = json.loads(installed.command("demo").stdout)
    assert outcome["lists_published"] == outcome["accepted"] > 10_000
    assert environment.files() == before
