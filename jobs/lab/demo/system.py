"""Run the demo's own system. Its folder and ports are its own, so it can run beside `liveshelf up`; nothing is left."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from jobs.catalogue.follower import Follower
from jobs.catalogue.load import load
from jobs.cluster import runtime
from jobs.cluster.runtime import Runtime
from jobs.errors import DefinitionError
from jobs.features import plan
from jobs.lab.replay.catalogues import MADE_UP, eshop2008
from jobs.operate.bring_up import bring_up
from jobs.operate.facts import contracts_of
from jobs.operate.running_jobs import wait_running
from jobs.operate.shelves import known_of, lint
from jobs.operate.submit import submit
from jobs.settings import Settings
from jobs.shelves.load import FILE
from jobs.shelves.versions import ShelfVersions

RUNNING_LIMIT_S = 120.0
LIST_SIZE = 20  # what `hit_rate_20` means
PORTS = ("kafka_port", "redis_port", "flink_port")
# The replay moves thirteen days of clicks to end now: a list of the first day must not have expired when it is made.
LIST_TTL_S = 60 * 86_400
# Offsets are committed with each checkpoint and say what was read: the demo waits for the last one.
CHECKPOINT_INTERVAL_MS = 4000

Say = Callable[[str], None]


def demo_settings(settings: Settings) -> Settings:
    """Return the demo's settings: a folder of its own, free ports unless chosen, lists that outlive the replay.

    A Kafka, Redis or Flink of the user's own is left alone: a show is no reason to write to it.
    """
    changed: dict[str, object] = {name: 0 for name in PORTS if name not in settings.model_fields_set}
    changed |= {"kafka_bootstrap": "", "redis_url": SecretStr(""), "flink_rest_url": ""}
    changed |= {
        "state_dir": settings.state_dir / "demo",
        "shelves_dir": None,
        "list_size": LIST_SIZE,
        "list_ttl_s": LIST_TTL_S,
        "checkpoint_interval_ms": CHECKPOINT_INTERVAL_MS,
    }
    return settings.model_copy(update=changed)


@contextmanager
def system(settings: Settings, say: Say) -> Iterator[Runtime]:
    """Run the system with the rankings job; whatever happens, everything is stopped at the end."""
    left = runtime.down(settings)
    if left:
        say(f"stopped {left} processes that an earlier demo had left")
    shutil.rmtree(settings.state_dir, ignore_errors=True)  # begins with empty stores
    try:
        yield _start(settings, say)
    finally:
        say("stopping everything")
        runtime.down(settings)


def _start(settings: Settings, say: Say) -> Runtime:
    def rankings(running: Runtime) -> None:
        say("services answer; submitting the rankings job while Feast applies the definitions")
        wait_running(running, submit(settings, running, "rankings"), RUNNING_LIMIT_S)
        say("the rankings job runs")

    say("starting Kafka, Redis and Flink")
    return bring_up(settings, meanwhile=rankings)


def load_catalogue(settings: Settings, running: Runtime, say: Say) -> None:
    """Write the shop's catalogue, once the topics are there."""
    written = load(running.kafka_bootstrap, contracts_of(settings), eshop2008())
    say(f"loaded the catalogue, {written[settings.items_topic]} items; {MADE_UP}")


def publish_shelves(settings: Settings, running: Runtime, say: Say) -> None:
    """Publish the repository's shelves and make them active, once the features job was submitted.

    Its plan was compiled with Feast, which takes ten seconds to import, and says what rules may read.
    """
    file = settings.feature_repo / FILE
    if not file.is_file():
        return say(f"{settings.feature_repo} has no {FILE}: there is one list, {settings.ranker.shelf}")
    follower = Follower(running.kafka_bootstrap, contracts_of(settings)).start()
    follower.close()
    known = known_of(settings, plan.load(plan.wanted_path(settings.state_dir)))
    shelves, problems = lint(settings, known, follower.snapshot)
    if errors := [str(problem) for problem in problems if not problem.is_warning]:
        raise DefinitionError("\n".join(errors))
    versions = ShelfVersions(settings.shelves_folder)
    version = versions.publish(shelves, file)
    versions.activate(version)
    say(f"published {version}: {', '.join(shelf.name for shelf in shelves.shelves)}")


def start_features(settings: Settings, running: Runtime, say: Say) -> None:
    """Submit the features job and wait until it runs; it reads the topic from its beginning."""
    say("submitting the features job")
    wait_running(running, submit(settings, running, "features"), RUNNING_LIMIT_S)
    say("both jobs run")
