"""Start what the measurements share: a cluster, its topics, and jobs that read a part of a topic."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import msgspec
import redis
from pydantic import SecretStr

from jobs.cluster import flink, runtime
from jobs.connect import kafka_admin
from jobs.lab.bench import flink_jobs
from jobs.operate.bring_up import bring_up
from jobs.operate.running_jobs import Job
from jobs.operate.submit import submission
from jobs.settings import REPOSITORY, Settings

MODEL = REPOSITORY / "models" / "artifacts" / "serenade"  # 18,009 items
VISITORS = 50_000
# The topic holds all visits of 50,000 visitors in 17 minutes of event time. With the usual 30 minutes, the visits of a
# visitor would be one session that grows with the topic, and a rate would depend on the length of the run.
SESSION_GAP_S = 300


@dataclass(frozen=True)
class Workplace:
    """A running cluster, and the `settings` that name its own folder and the parallelism of its jobs."""

    settings: Settings
    services: runtime.Runtime

    @property
    def rest_url(self) -> str:
        return self.services.flink_rest_url

    @cached_property
    def items(self) -> list[str]:
        """Return the item ids of the model's vocabulary."""
        return msgspec.json.decode((MODEL / "vocabulary.json").read_bytes())["items"]

    @cached_property
    def store(self) -> redis.Redis:
        return redis.Redis.from_url(self.services.redis_url)

    def new_topic(self, name: str) -> None:
        kafka_admin.create_topics(self.services.kafka_bootstrap, {name: self.settings.topic_partitions})

    def submit(self, job: Job, topic: str, ends: dict[int, int] | None = None, **config: object) -> str:
        """Submit the features or the rankings job to read a topic from its beginning, up to `ends` if given.

        `config` overrides fields of `JobConfig`.
        """
        options = {"scan.startup.mode": "earliest-offset"}
        if ends is not None:
            stop = ";".join(f"partition:{partition},offset:{offset}" for partition, offset in ends.items())
            options |= {"scan.bounded.mode": "specific-offsets", "scan.bounded.specific-offsets": stop}
        run = submission(self.settings, self.services, job, events_topic=topic, source_options=options, **config)
        return flink_jobs.submit(run.argv, run.environment, bounded=ends is not None)

    def submit_tutorial(self, job: str, topic: str, ends: dict[int, int]) -> str:
        """Submit the tutorials' kind of the job."""
        command = flink.command(self.settings)
        told = ["-d", "-py", str(REPOSITORY / "jobs" / "lab" / "bench" / f"tutorial_{job}.py")]
        told += ["--bootstrap", self.services.kafka_bootstrap, "--topic", topic, "--redis", self.services.redis_url]
        told += [
            "--ends",
            msgspec.json.encode({str(place): end for place, end in ends.items()}).decode(),
            "--model",
            str(MODEL),
        ]
        return flink_jobs.submit([*command.argv, *told], command.environment, bounded=True)


@contextmanager
def workplace(settings: Settings, slots: int = 1) -> Iterator[Workplace]:
    """Start a cluster in `state_dir/bench`, stop it at the end, and keep the folder only if something went wrong."""
    place = own(settings, slots)
    runtime.down(place)
    shutil.rmtree(place.state_dir, ignore_errors=True)
    try:
        yield Workplace(place, bring_up(place))
    finally:
        runtime.down(place)
    shutil.rmtree(place.state_dir, ignore_errors=True)


def own(settings: Settings, slots: int = 1) -> Settings:
    """Return the settings of a cluster of so many slots: no service of the user's own, and free ports."""
    return settings.model_copy(
        update={
            "state_dir": settings.state_dir / "bench",
            "profile": "plain",  # the tutorials' jobs know no users
            "kafka_bootstrap": "",
            "redis_url": SecretStr(""),
            "flink_rest_url": "",
            "kafka_port": 0,
            "redis_port": 0,
            "flink_port": 0,
            "metrics_port": 0,
            "task_managers": 1,
            "slots_per_task_manager": slots,
            "parallelism": 1,
            "topic_partitions": max(2, slots),
            "session_gap_s": SESSION_GAP_S,
            "model_dir": MODEL,
        }
    )
