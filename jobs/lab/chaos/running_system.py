"""A system that faults happen to, as Flink, Kafka and Redis show it: its restarts, and what it has read."""

import shutil
import time
from contextlib import suppress
from typing import Literal

import redis
import requests

from jobs.cluster import runtime
from jobs.connect import addresses, flink_rest, kafka_admin
from jobs.connect.users import GROUPS
from jobs.errors import ServiceError
from jobs.lab.chaos.traffic import DELAY_S
from jobs.lab.waiting import LOOK_EVERY_S, wait
from jobs.operate import running_jobs, submit
from jobs.operate.keep import MARK
from jobs.settings import REPOSITORY, Settings
from models.serving.registry import Registry

ESHOP = REPOSITORY / "models" / "artifacts" / "eshop"


class RunningSystem:
    """Both jobs and the services under them. `direct` is how the harness reaches the services, `running` the jobs."""

    def __init__(self, settings: Settings) -> None:
        self.state_dir, self.settings = settings.state_dir, settings
        self.running = self.direct = runtime.Runtime()

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def prepare(self) -> None:
        """Write definitions with a watermark delay of a minute, and a registry with one model."""
        repo = self.settings.feature_repo
        shutil.copytree(REPOSITORY / "feature_repo", repo, ignore=shutil.ignore_patterns("data", "__pycache__"))
        definitions = repo / "definitions.py"
        delay = "watermark_delay_threshold=timedelta(seconds={})"
        definitions.write_text(definitions.read_text().replace(delay.format(1), delay.format(DELAY_S)))
        registry = Registry(self.settings.model_dir)
        registry.activate(registry.publish(ESHOP))

    def submit_both(self, **savepoints: str) -> None:
        """Submit both jobs, from their `savepoints` if there are any, and wait until they run."""
        jobs = submit.side_by_side(lambda job: submit.submit(self.settings, self.running, job, savepoints.get(job)))
        for job_id in jobs.values():
            running_jobs.wait_running(self.running, job_id, limit_s=180)

    def redis(self) -> redis.Redis:
        return addresses.redis_client(self.direct.redis_url)

    def restarts(self) -> int:
        """Return how often the jobs that run now were restarted, summed."""
        count = 0
        for job_id in self.job_ids():
            metrics = flink_rest.ask(self.running.flink_rest_url, f"/jobs/{job_id}/metrics?get=numRestarts")
            count += sum(int(metric["value"]) for metric in metrics)
        return count

    def checkpoints(self, state: Literal["completed", "failed"] = "completed") -> int:
        """Return the number of checkpoints of the running job that has the fewest."""
        paths = [f"/jobs/{job_id}/checkpoints" for job_id in self.job_ids()]
        return min((flink_rest.ask(self.running.flink_rest_url, path)["counts"][state] for path in paths), default=0)

    def job_ids(self) -> list[str]:
        jobs = flink_rest.ask(self.running.flink_rest_url, "/jobs/overview")["jobs"]
        return [job["jid"] for job in jobs if job["state"] in running_jobs.RUNNING]

    def works(self) -> bool:
        """Return True if both jobs run, with all their tasks."""
        with suppress(requests.RequestException):
            jobs = flink_rest.ask(self.running.flink_rest_url, "/jobs/overview")["jobs"]
            running = [job for job in jobs if job["state"] == "RUNNING"]
            return len(running) == len(submit.JOBS) and all(
                job["tasks"]["running"] == job["tasks"]["total"] for job in running
            )
        return False

    def wait_working(self, limit_s: float = 180, after_restarts: int | None = None) -> float:
        """Wait until both jobs run and return the seconds it took.

        With `after_restarts`, wait until the jobs were restarted more often than that.
        """
        started_s = time.monotonic()
        while True:
            with suppress(requests.RequestException):
                if self.works() and (after_restarts is None or self.restarts() > after_restarts):
                    return time.monotonic() - started_s
            if time.monotonic() - started_s > limit_s:
                what = f"the jobs don't run {limit_s:g} s after a fault ({self._seen(after_restarts)})"
                raise ServiceError(what, self._logs)
            time.sleep(LOOK_EVERY_S)

    def _seen(self, after_restarts: int | None) -> str:
        """Return what `wait_working` waits for, as it is now."""
        with suppress(requests.RequestException):
            counted = "" if after_restarts is None else f", {self.restarts()} restarts; over {after_restarts} wanted"
            return f"all tasks run: {self.works()}{counted}"
        return "Flink doesn't answer"

    def wait_repaired(self, limit_s: float = 180) -> float:
        """Wait until Redis is said to be complete and both jobs run; return the seconds it took."""
        started_s = time.monotonic()
        wait(self._complete, "Redis' content", self._logs, limit_s)
        self.wait_working(limit_s)
        return time.monotonic() - started_s

    def wait_read(self, limit_s: float = 120) -> float:
        """Wait until both jobs have checkpointed the events' present end; return the seconds it took."""
        bootstrap, topic = self.direct.kafka_bootstrap, self.settings.events_topic
        ends = kafka_admin.end_offsets(bootstrap, topic)
        started_s = time.monotonic()
        self.wait_checkpoint(2)
        read = lambda: all(kafka_admin.has_read(bootstrap, group, topic, ends) for group in GROUPS.values())  # noqa: E731
        wait(read, "the end of the topic", self._logs, limit_s)
        return time.monotonic() - started_s

    def wait_checkpoint(self, more: int = 1, limit_s: float = 60) -> None:
        """Wait until each job has completed that many further checkpoints."""
        goal = self.checkpoints() + more
        wait(lambda: self.checkpoints() >= goal, "a checkpoint", self._logs, limit_s)

    def _complete(self) -> bool:
        """Return True if the keeper calls the server complete that is the primary now."""
        with suppress(redis.RedisError), self.redis() as client:
            return (client.get(MARK) or b"").startswith(client.info("server")["run_id"].encode())
        return False

    @property
    def _logs(self) -> str:
        return f"see the logs in {self.state_dir}"
