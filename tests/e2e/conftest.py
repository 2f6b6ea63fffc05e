"""Run all end-to-end tests on one real system: a broker, Redis and a Flink cluster on free ports.

Each scenario has its own topics.

`LIVESHELF_PROFILE=secure pytest tests/e2e` runs them in the secure profile.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from jobs.cluster.runtime import Runtime, down, up
from jobs.connect import addresses, flink_rest
from jobs.contract.events import Event
from jobs.features import plan
from jobs.flow import began, submissions
from jobs.lab.replay.sources import read
from jobs.operate import apply as applying
from jobs.operate import facts, running_jobs, submit
from jobs.settings import REPOSITORY, Settings
from tests.support.waiting import eventually

# Two jobs want 112 and each further one adds about 1. A cluster that loads classes anew for each job has 200 with the
# second pair.
METASPACE_MB = 160
TOPICS = ("events", "dead", "late", "rankings", "consent", "items", "offers", "trends", "items_dead")
REAL_DATA = REPOSITORY.parent / "shared" / "data"


@dataclass
class Scenario:
    """A feature repository, topics and an emptied Redis of one test's own."""

    settings: Settings
    runtime: Runtime
    definitions: Path

    def change_definitions(self, old: str, new: str) -> None:
        text = self.definitions.read_text()
        assert old in text
        self.definitions.write_text(text.replace(old, new, 1))

    def start(self, *kinds: str, from_savepoint: str | None = None) -> None:
        applying.apply(self.settings, self.runtime.redis_url)
        applying.create_topics(self.settings, self.runtime)

        def one(kind: submit.Job) -> str:
            return submit.submit(self.settings, self.runtime, kind, from_savepoint)

        for job_id in submit.side_by_side(one, kinds or submit.JOBS).values():
            running_jobs.wait_running(self.runtime, job_id, limit_s=180)

    def failures(self) -> list[str]:
        """Why the running jobs' tasks failed, each time."""
        jobs = flink_rest.ask(self.runtime.flink_rest_url, "/jobs/overview")["jobs"]
        running = [job["jid"] for job in jobs if job["state"] in running_jobs.RUNNING]
        assert running
        histories = [flink_rest.ask(self.runtime.flink_rest_url, f"/jobs/{job_id}/exceptions") for job_id in running]
        return [entry["stacktrace"][:1000] for history in histories for entry in history["exceptionHistory"]["entries"]]

    def metaspace_mb(self) -> float:
        """What the TaskManagers' classes take."""
        pages = [requests.get(url, timeout=10).text for url in self.runtime.metrics_urls[1:]]
        line = r"^flink_taskmanager_Status_JVM_Memory_Metaspace_Used\{[^}]*\} (\S+)$"
        return sum(float(found) for page in pages for found in re.findall(line, page, re.MULTILINE)) / 2**20

    def slots_are_free(self) -> bool:
        """Return True if no job holds a slot any more."""
        with contextlib.suppress(requests.RequestException):
            overview = flink_rest.ask(self.runtime.flink_rest_url, "/overview")
            return overview["slots-available"] == overview["slots-total"] >= self.settings.slots_per_task_manager
        return False


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Runtime]]:
    settings = Settings(
        state_dir=tmp_path_factory.mktemp("system"),
        kafka_port=0,
        redis_port=0,
        flink_port=0,
        slots_per_task_manager=3,  # a canary takes one
        checkpoint_interval_ms=2000,
        idle_timeout_s=0,
    )
    try:
        yield settings, up(settings)
    finally:
        down(settings)


@pytest.fixture
def scenario(system: tuple[Settings, Runtime], request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scenario]:
    settings, runtime = system
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    repo = tmp_path / "feature_repo"
    shutil.copytree(REPOSITORY / "feature_repo", repo, ignore=shutil.ignore_patterns("data", "__pycache__"))
    names = {f"{kind}_topic": f"{name}.{kind}" for kind in TOPICS}
    (settings.state_dir / "registry.db").unlink(missing_ok=True)
    configs = [submissions.config_path(settings.state_dir, job) for job in submit.JOBS]
    files = (plan.submitted_path(settings.state_dir), began.path(settings.state_dir), facts.path(settings))
    for kept in (*files, *configs):
        kept.unlink(missing_ok=True)
    addresses.redis_client(runtime.redis_url).flushall()
    own = settings.model_copy(update={"feature_repo": repo, "shelves_dir": tmp_path / "shelves", **names})
    made = Scenario(own, runtime, repo / "definitions.py")
    made.change_definitions('topic="events"', f'topic="{names["events_topic"]}"')
    for kind in ("items", "offers", "trends"):
        made.change_definitions(f'facts_from("{kind}"', f'facts_from("{names[f"{kind}_topic"]}"')
    yield made
    running = [kind for kind in submit.JOBS if running_jobs.running_job(runtime, kind)]
    submit.side_by_side(lambda kind: running_jobs.stop(own, runtime, kind, savepoint=False), running)
    eventually(made.slots_are_free, within_s=120)  # on a busy machine some time after the job has ended
    assert 0 < made.metaspace_mb() < METASPACE_MB, "stopped jobs left their classes behind"


@pytest.fixture
def retailrocket() -> Iterator[Event]:
    """Yield 46,350 real events of a set that may not be shipped; tests that need it are marked `bench`."""
    if not (REAL_DATA / "retailrocket").is_dir():
        pytest.skip("needs ../shared/data/retailrocket, whose licence doesn't allow a copy in this repository")
    return read("retailrocket", data_dir=REAL_DATA)
