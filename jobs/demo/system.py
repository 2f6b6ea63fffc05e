"""The demo's own system: its own folder and ports, so that it can run beside `liveshelf up`, and nothing is left."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests
from kafka import KafkaAdminClient

from jobs.bring_up import bring_up, topics_of
from jobs.cluster import runtime
from jobs.cluster.runtime import Runtime
from jobs.settings import Settings

RUNNING_LIMIT_S = 120.0
PORTS = ("kafka_port", "redis_port", "flink_port")
# The replay moves thirteen days of clicks to end now: a list of the first day must not have expired when it is made.
LIST_TTL_S = 60 * 86_400
# Offsets are committed with each checkpoint and say what was read: the demo waits for the last one.
CHECKPOINT_INTERVAL_MS = 4000

Say = Callable[[str], None]


def demo_settings(settings: Settings) -> Settings:
    """Settings for the demo: another folder, free ports unless they were chosen, and lists that outlive the replay.

    On a Kafka or Redis of the user's own it keeps apart from what is there: with topics and a channel of its own.
    """
    changed: dict[str, object] = {name: 0 for name in PORTS if name not in settings.model_fields_set}
    changed |= {
        "state_dir": settings.state_dir / "demo",
        "list_ttl_s": LIST_TTL_S,
        "checkpoint_interval_ms": CHECKPOINT_INTERVAL_MS,
    }
    apart = f"liveshelf-demo-{secrets.token_hex(4)}"
    if runtime.users_own(settings, "kafka"):
        for name in ("events_topic", "dead_topic", "late_topic", "rankings_topic"):
            changed[name] = f"{apart}.{getattr(settings, name)}"
    if runtime.users_own(settings, "redis"):
        changed["channel"] = apart
    return settings.model_copy(update=changed)


@contextmanager
def system(settings: Settings, say: Say) -> Iterator[Runtime]:
    """The running system with both jobs; at the end, however it comes, everything is stopped."""
    _sweep(settings, say)
    jobs: list[str] = []
    try:
        yield _start(settings, jobs, say)
    finally:
        say("stopping everything")
        try:
            _leave(settings, runtime.current(settings), jobs)
        finally:
            runtime.down(settings)


def _sweep(settings: Settings, say: Say) -> None:
    """Stop what an earlier demo left when it was killed, and begin with empty stores."""
    left = runtime.down(settings)
    if left:
        say(f"stopped {left} processes that an earlier demo had left")
    shutil.rmtree(settings.state_dir, ignore_errors=True)


def _start(settings: Settings, jobs: list[str], say: Say) -> Runtime:
    from jobs.submit import submit, wait_running

    def rankings(running: Runtime) -> None:
        say("services answer; submitting the rankings job while Feast applies the definitions")
        jobs.append(submit(settings, running, "rankings"))

    say("starting Kafka, Redis and Flink")
    running = bring_up(settings, meanwhile=rankings)
    say("definitions applied; submitting the features job")
    jobs.append(submit(settings, running, "features"))
    for job in jobs:
        wait_running(running, job, RUNNING_LIMIT_S)
    say("both jobs run")
    return running


def _leave(settings: Settings, running: Runtime, jobs: list[str]) -> None:
    """An embedded service goes as a whole; from the user's own, the demo takes its jobs and topics away again."""
    if runtime.users_own(settings, "flink"):
        for job in jobs:
            requests.patch(f"{running.flink_rest_url.rstrip('/')}/jobs/{job}?mode=cancel", timeout=10)
    if runtime.users_own(settings, "kafka"):
        admin = KafkaAdminClient(bootstrap_servers=running.kafka_bootstrap.split(","))
        admin.delete_topics(list(topics_of(settings)))
        admin.close()
