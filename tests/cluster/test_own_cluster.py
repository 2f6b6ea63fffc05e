"""A system of an operator's own, with nothing of liveshelf's but its wheel, and each part of it lost once.

Flink from its own scripts, three brokers, Redis with a replica and Sentinels. Minutes long: `pytest -m cluster -s`.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.connect import flink_rest
from jobs.lab.chaos.own.foreign_flink import ForeignFlink, foreign_flink
from jobs.lab.chaos.own.three_brokers import ThreeBrokers, three_brokers
from jobs.lab.chaos.own.watched_redis import WatchedRedis, watched_redis
from tests.support import environments
from tests.support.environments import Environment
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]
PARTITIONS, SLOTS = 4, 2  # of each of the two TaskManagers
RUNNING = {"liveshelf features": "RUNNING", "liveshelf rankings": "RUNNING"}


@dataclass
class OwnSystem:
    """What the operator runs, and the environment of the wheel from which liveshelf is called."""

    flink: ForeignFlink
    kafka: ThreeBrokers
    redis: WatchedRedis
    python: Environment
    folder: Path

    def variables(self, parallelism: int = 1) -> dict[str, str]:
        named = {
            "STATE_DIR": self.folder / "state",
            "KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "REDIS_URL": self.redis.address,
            "FLINK_REST_URL": self.flink.rest_url,
            "TOPIC_PARTITIONS": PARTITIONS,
            "PARALLELISM": parallelism,
        }
        return {f"LIVESHELF_{name}": str(value) for name, value in named.items()}

    def call(self, *arguments: str, parallelism: int = 1) -> str:
        """Return what `liveshelf` prints in another folder."""
        done = environments.run(
            self.python.script("liveshelf"), *arguments, cwd=self.folder, **self.variables(parallelism)
        )
        return done.stdout

    def checks(self) -> list[dict[str, Any]]:
        """Return what `liveshelf doctor` found."""
        argv = self.python.script("liveshelf"), "doctor", "--json"
        found: list[dict[str, Any]] = json.loads(
            environments.run(*argv, cwd=self.folder, code=None, **self.variables()).stdout
        )
        return found

    def states(self) -> dict[str, str]:
        jobs = flink_rest.ask(self.flink.rest_url, "/jobs/overview")["jobs"]
        return {job["name"]: job["state"] for job in jobs if job["state"] not in flink_rest.ENDED}

    def tasks(self) -> set[str]:
        """The states of the jobs' tasks: a job that restarts is RUNNING, and its tasks aren't."""
        jobs = flink_rest.ask(self.flink.rest_url, "/jobs/overview")["jobs"]
        living = [job["tasks"] for job in jobs if job["state"] not in flink_rest.ENDED]
        return {name.upper() for tasks in living for name, count in tasks.items() if name != "total" and count}

    def replay(self, since: str, limit: int) -> None:
        self.call("replay", "eshop2008", "--since", since, "--shift-to-now", "--limit", str(limit))

    def verify(self) -> dict[str, int]:
        """Return what was compared; fail if anything differs, or if nothing was compared."""
        told = json.loads(self.call("verify", "--wait", "180s", "--json"))
        return {name: told[name] for name in ("compared", "equal", "mismatched")}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Run `liveshelf keep`, as an operator would beside the cluster."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LIVESHELF_")}
        environment.pop("PYTHONPATH", None)
        with (self.folder / "keep.log").open("wb") as log:
            keeper = subprocess.Popen(
                [self.python.script("liveshelf"), "keep"],
                env=environment | self.variables(),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield
        finally:
            keeper.terminate()
            keeper.wait(30)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSystem]:
    folder = tmp_path_factory.mktemp("own")
    python = Environment.make(folder / "python")
    python.borrow_packages()
    python.install("--no-deps", "--no-index", str(environments.build_wheel(tmp_path_factory.mktemp("wheel"))))
    with ExitStack() as stack:
        redis = stack.enter_context(watched_redis(folder / "redis"))
        kafka = stack.enter_context(three_brokers(folder / "kafka", PARTITIONS))
        flink = stack.enter_context(
            foreign_flink(
                folder / "flink",
                slots=SLOTS,
                checkout=False,
                python_in_lib=True,
                python__executable=python.python,
                **{"classloader.resolve-order": "parent-first"},
            )
        )
        yield OwnSystem(flink, kafka, redis, python, folder)


def told(what: str, begun_s: float) -> None:
    print(f"\n{what}: {time.monotonic() - begun_s:.1f} s", flush=True)


def test_each_part_is_lost_once_and_nothing_is(system: OwnSystem) -> None:
    """A broker, the primary Redis and a TaskManager die under load; both jobs go to two slots each and back."""
    system.call("up")
    services = ("Kafka", "Redis", "Flink", "metaspace", "workers' Python")
    assert [each for each in system.checks() if each["name"] in services and not each["ok"]] == []
    pasted = system.call("submit", "features", "--dry-run").strip()
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    subprocess.run(["bash", "-c", pasted], env=plain, cwd="/", check=True, capture_output=True)
    system.call("submit", "rankings")
    eventually(lambda: system.states() == RUNNING, within_s=120)
    with system.kept():
        system.replay("2008-08-01", 2000)
        begun = time.monotonic()
        assert system.verify()["mismatched"] == 0
        told("verified, undisturbed", begun)

        system.kafka.kill(0)
        system.replay("2008-08-03", 2000)
        begun = time.monotonic()
        system.redis.kill_primary()
        told("Sentinel made the replica the primary", begun)
        system.replay("2008-08-05", 2000)
        system.kafka.start(0)
        system.flink.task_managers()[0].kill()
        begun = time.monotonic()
        eventually(lambda: system.flink.slots()[1] == SLOTS, within_s=120)
        system.replay("2008-08-07", 2000)
        eventually(lambda: system.tasks() == {"RUNNING"}, within_s=180)
        told("both jobs run without the TaskManager", begun)
        print(system.verify())

        system.flink.script("taskmanager.sh", "start")
        eventually(lambda: flink_rest.answers(system.flink.rest_url, 2 * SLOTS), within_s=120)
        for parallelism in (2, 1):
            for job in ("features", "rankings"):
                savepoint = system.call("stop", job).strip()
                system.call("submit", job, "--from-savepoint", savepoint, parallelism=parallelism)
            begun = time.monotonic()
            system.replay(f"2008-08-{9 + 2 * parallelism:02}", 2000)
            told(f"replayed 2,000 at parallelism {parallelism}", begun)
            print(system.verify())
