"""What the measurements share: a cluster of their own with one slot, its topics, and how a job is told what to read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
import shutil

import msgspec
import redis
from pydantic import SecretStr

from jobs.bench import clicks, flink_jobs
from jobs.cluster import runtime, topics
from jobs.job_config import JobConfig
from jobs.jvm.build import contract_jar
from jobs.settings import REPOSITORY, Settings

MODEL = REPOSITORY / "models" / "artifacts" / "serenade"  # 18,009 items
PROJECT = "liveshelf"
VISITORS = 50_000
TOPIC = "bench.events"


@dataclass(frozen=True)
class Workplace:
    """A running cluster of one slot, with `settings` that name its own folder and `plan` of the features job."""

    settings: Settings
    services: runtime.Runtime
    plan: Path

    @property
    def rest_url(self) -> str:
        return self.services.flink_rest_url

    @cached_property
    def items(self) -> list[str]:
        """The item ids of the model's vocabulary."""
        return msgspec.json.decode((MODEL / "vocabulary.json").read_bytes())["items"]

    @cached_property
    def store(self) -> redis.Redis:
        return redis.Redis.from_url(self.services.redis_url)

    def new_topic(self, name: str) -> None:
        topics.create_topics(self.services.kafka_bootstrap, {name: self.settings.topic_partitions})

    def submit(self, job: str, topic: str, ends: dict[int, int] | None = None) -> str:
        """Submit the features or the rankings job to read a topic from its beginning, up to `ends` if given."""
        options = {"scan.startup.mode": "earliest-offset"}
        if ends is not None:
            stop = ";".join(f"partition:{partition},offset:{offset}" for partition, offset in ends.items())
            options |= {"scan.bounded.mode": "specific-offsets", "scan.bounded.specific-offsets": stop}
        settings = self.settings.model_copy(update={"events_topic": topic})
        config = JobConfig.of(
            settings, self.services.kafka_bootstrap, self.services.redis_url, project=PROJECT, context_features=[],
            source_options=options,
        )
        config_file = self.settings.state_dir.resolve() / f"{job}.json"
        config.save(config_file)
        told = ["-j", str(contract_jar()), "-py", str(REPOSITORY / "jobs" / f"session_{job}.py"), "--config", str(config_file)]
        told += ["--plan", str(self.plan)] if job == "features" else []
        return flink_jobs.submit(self.settings, *(flink_jobs.BOUNDED if ends else ()), *told)

    def submit_tutorial(self, job: str, topic: str, ends: dict[int, int]) -> str:
        """Submit the tutorials' kind of the job."""
        told = ["-py", str(REPOSITORY / "jobs" / "bench" / f"tutorial_{job}.py")]
        told += ["--bootstrap", self.services.kafka_bootstrap, "--topic", topic, "--redis", self.services.redis_url]
        told += ["--ends", msgspec.json.encode({str(place): end for place, end in ends.items()}).decode(), "--model", str(MODEL)]
        return flink_jobs.submit(self.settings, *flink_jobs.BOUNDED, *told)


@contextmanager
def workplace(settings: Settings, plan: Path) -> Iterator[Workplace]:
    """Start a cluster in `state_dir/bench`, stop it at the end, and keep the folder only if something went wrong."""
    clicks.require_confluent()
    own = settings.model_copy(update={
        "state_dir": settings.state_dir / "bench", "kafka_bootstrap": "", "redis_url": SecretStr(""), "flink_rest_url": "",
        "kafka_port": 0, "redis_port": 0, "flink_port": 0, "metrics_port": 0, "task_managers": 1,
        "slots_per_task_manager": 1, "parallelism": 1, "topic_partitions": 2, "model_dir": MODEL,
    })
    runtime.down(own)
    shutil.rmtree(own.state_dir, ignore_errors=True)
    try:
        services = runtime.up(own)
        place = Workplace(own, services, plan)
        for topic in (TOPIC, own.dead_topic, own.late_topic, own.rankings_topic):
            place.new_topic(topic)
        yield place
    finally:
        runtime.down(own)
    shutil.rmtree(own.state_dir, ignore_errors=True)
