"""The system that faults happen to: broker and Redis of its own behind proxies, an embedded Flink, both jobs."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from jobs.cluster import flink, kafka, processes, redis, runtime
from jobs.flow import failpoints
from jobs.lab.chaos.proxy import FaultProxy
from jobs.lab.chaos.running_system import RunningSystem
from jobs.lab.waiting import wait
from jobs.operate.bring_up import bring_up
from jobs.settings import Settings

MAIN_CLASS = {
    "taskmanager": flink.TASK_MANAGER,
    "jobmanager": flink.JOB_MANAGER,
    "python": flink.PYTHON_WORKER,
}


class System(RunningSystem):
    """A running system that can be hurt. Jobs reach the services through proxies, the harness directly."""

    def __init__(self, state_dir: Path) -> None:
        state_dir = state_dir.resolve()
        ports = processes.free_ports(5)
        self.kafka_port, self._kafka_behind, self.redis_port = ports[:3]
        self.kafka_proxy = FaultProxy(ports[3], self._kafka_behind)
        self.redis_proxy = FaultProxy(ports[4], self.redis_port)
        super().__init__(
            Settings(
                state_dir=state_dir,
                feature_repo=state_dir / "feature_repo",
                kafka_bootstrap=f"127.0.0.1:{ports[3]}",
                redis_url=redis.url(ports[4]),
                model_dir=state_dir / "models",
                flink_port=0,
                checkpoint_interval_ms=2000,
                idle_timeout_s=0,
            )
        )

    def start(self, settled_heaps: bool = False) -> None:
        """Start services, definitions with a watermark delay of a minute, and both jobs.

        With `settled_heaps` each JVM takes all of its heap from the start, so that what grows isn't the heap filling.
        """
        if settled_heaps:
            # The TaskManager's own -Xms goes first; broker and JobManager have this much at most.
            options = [os.environ.get("JAVA_TOOL_OPTIONS", ""), "-XX:+AlwaysPreTouch", "-Xms512m"]
            os.environ["JAVA_TOOL_OPTIONS"] = " ".join(options).strip()
        self.prepare()
        self.start_services(bring_up)
        self.submit_both()

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
        wait(lambda: kafka.answers(f"127.0.0.1:{self.kafka_port}"), "Kafka", self._logs)

    def start_redis(self) -> None:
        redis.start(self.state_dir, self.redis_port)
        wait(lambda: redis.answers(redis.url(self.redis_port)), "Redis", self._logs)

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

    def limit_files(self, to_bytes: int = psutil.RLIM_INFINITY) -> None:
        """Let Flink's JVMs write no file beyond that size, as on a full disk."""
        for process in (*self.processes("taskmanager"), *self.processes("jobmanager")):
            _, hardest = process.rlimit(psutil.RLIMIT_FSIZE)
            process.rlimit(psutil.RLIMIT_FSIZE, (to_bytes, hardest))
