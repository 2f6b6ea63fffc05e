"""The system that faults happen to: broker and Redis of its own behind proxies, an embedded Flink, both jobs."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import psutil
import redis as redis_client
import requests

from jobs.cluster import flink, kafka, processes, redis, runtime
from jobs.connect import flink_rest, kafka_admin
from jobs.connect.users import GROUPS
from jobs.errors import ServiceError
from jobs.flow import failpoints
from jobs.lab.chaos.proxy import FaultProxy
from jobs.lab.chaos.traffic import DELAY_S
from jobs.operate import running_jobs, submit
from jobs.operate.bring_up import bring_up
from jobs.operate.keep import MARK
from jobs.settings import REPOSITORY, Settings
from models.serving.registry import Registry

ESHOP = REPOSITORY / "models" / "artifacts" / "eshop"
START_LIMIT_S = 120.0
LOOK_EVERY_S = 0.1
MAIN_CLASS = {
    "taskmanager": flink.TASK_MANAGER,
    "jobmanager": flink.JOB_MANAGER,
    "python": flink.PYTHON_WORKER,
}


class System:
    """A running system that can be hurt. Jobs reach the services through proxies, the harness directly."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir.resolve()
        ports = processes.free_ports(5)
        self.kafka_port, self._kafka_behind, self.redis_port = ports[:3]
        self.kafka_proxy = FaultProxy(ports[3], self._kafka_behind)
        self.redis_proxy = FaultProxy(ports[4], self.redis_port)
        self.settings = Settings(
            state_dir=self.state_dir,
            feature_repo=self.state_dir / "feature_repo",
            kafka_bootstrap=f"127.0.0.1:{ports[3]}",
            redis_url=redis.url(ports[4]),
            model_dir=self.state_dir / "models",
            flink_port=0,
            checkpoint_interval_ms=2000,
            idle_timeout_s=0,
        )
        self.running = runtime.Runtime()
        self.direct = runtime.Runtime()

    def start(self, settled_heaps: bool = False) -> None:
        """Start services, definitions with a watermark delay of a minute, and both jobs.

        With `settled_heaps` each JVM takes all of its heap from the start, so that what grows isn't the heap filling.
        """
        if settled_heaps:
            # The TaskManager's own -Xms goes first; broker and JobManager have this much at most.
            options = [os.environ.get("JAVA_TOOL_OPTIONS", ""), "-XX:+AlwaysPreTouch", "-Xms512m"]
            os.environ["JAVA_TOOL_OPTIONS"] = " ".join(options).strip()
        repo = self.settings.feature_repo
        shutil.copytree(REPOSITORY / "feature_repo", repo, ignore=shutil.ignore_patterns("data", "__pycache__"))
        definitions = repo / "definitions.py"
        delay = "watermark_delay_threshold=timedelta(seconds={})"
        definitions.write_text(definitions.read_text().replace(delay.format(1), delay.format(DELAY_S)))
        registry = Registry(self.settings.model_dir)
        registry.activate(registry.publish(ESHOP))
        self.start_services(bring_up)
        for job_id in submit.side_by_side(lambda job: submit.submit(self.settings, self.running, job)).values():
            running_jobs.wait_running(self.running, job_id, limit_s=180)

    def start_services(self, up: Callable[[Settings], runtime.Runtime] = runtime.up) -> None:
        """Start broker, Redis and Flink, at first or after `kill_everything`; `up` starts Flink."""
        self.start_kafka()
        self.start_redis()
        with failpoints.allowed(self.state_dir / "failpoints"):
            self.running = up(self.settings)
        bootstrap, redis_url = f"127.0.0.1:{self.kafka_port}", redis.url(self.redis_port)
        self.direct = replace(self.running, kafka_bootstrap=bootstrap, redis_url=redis_url)

    def kill_everything(self) -> None:
        """Kill all processes, as a power failure does; files stay."""
        every = processes.owned(self.state_dir)
        for process in every:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        processes.stop(every)

    def stop(self) -> None:
        runtime.down(self.settings)
        processes.stop(processes.owned(self.state_dir))
        for proxy in (self.kafka_proxy, self.redis_proxy):
            proxy.close()

    def start_kafka(self) -> None:
        behind = (self._kafka_behind, self.kafka_proxy.port)
        kafka.start(self.state_dir, self.kafka_port, self.settings.topic_partitions, behind=behind)
        self._wait(lambda: kafka.answers(f"127.0.0.1:{self.kafka_port}"), "Kafka")

    def start_redis(self) -> None:
        redis.start(self.state_dir, self.redis_port)
        self._wait(lambda: redis.answers(redis.url(self.redis_port)), "Redis")

    def kill(self, what: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to every process of a kind: kafka, redis, taskmanager, jobmanager or python."""
        for process in self.processes(what):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        if number == signal.SIGKILL:
            processes.stop(self.processes(what) if what in ("kafka", "redis") else [])

    def processes(self, what: str) -> list[psutil.Process]:
        if what in ("kafka", "redis"):
            return processes.owned(self.state_dir, what)
        return [
            process
            for process in processes.owned(self.state_dir, "flink")
            if MAIN_CLASS[what] in processes.words(process)
        ]

    def redis(self) -> redis_client.Redis:
        return redis_client.Redis.from_url(redis.url(self.redis_port))

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

    def limit_files(self, to_bytes: int = psutil.RLIM_INFINITY) -> None:
        """Let Flink's JVMs write no file beyond that size, as on a full disk."""
        for process in (*self.processes("taskmanager"), *self.processes("jobmanager")):
            _, hardest = process.rlimit(psutil.RLIMIT_FSIZE)
            process.rlimit(psutil.RLIMIT_FSIZE, (to_bytes, hardest))

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
                raise ServiceError(what, f"see {self.state_dir}/flink/log")
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
        with self.redis() as client:
            run_id = client.info("server")["run_id"].encode()
            self._wait(lambda: (client.get(MARK) or b"").startswith(run_id), "Redis' content", limit_s)
        self.wait_working(limit_s)
        return time.monotonic() - started_s

    def wait_read(self, limit_s: float = 120) -> float:
        """Wait until both jobs have checkpointed the events' present end; return the seconds it took."""
        bootstrap, topic = self.direct.kafka_bootstrap, self.settings.events_topic
        ends = kafka_admin.end_offsets(bootstrap, topic)
        started_s = time.monotonic()
        self.wait_checkpoint(2)
        read = lambda: all(kafka_admin.has_read(bootstrap, group, topic, ends) for group in GROUPS.values())  # noqa: E731
        self._wait(read, "the end of the topic", limit_s)
        return time.monotonic() - started_s

    def wait_checkpoint(self, more: int = 1, limit_s: float = 60) -> None:
        """Wait until each job has completed that many further checkpoints."""
        goal = self.checkpoints() + more
        self._wait(lambda: self.checkpoints() >= goal, "a checkpoint", limit_s)

    def _wait(self, done: Callable[[], bool], what: str, limit_s: float = START_LIMIT_S) -> None:
        deadline_s = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > deadline_s:
                raise ServiceError(f"{what} isn't there after {limit_s:g} s", f"see the logs in {self.state_dir}")
            time.sleep(LOOK_EVERY_S)
