"""A cluster of an operator's own: Flink from its scripts with ZooKeeper, three brokers, Redis with Sentinels.

Each of two TaskManagers runs on a machine of its own, as far as `machines.py` can make any.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import requests

from jobs.cluster import flink, processes
from jobs.cluster.flink_config import RETAINED_CHECKPOINTS
from jobs.connect import flink_rest
from jobs.errors import ServiceError
from jobs.jvm import jars
from jobs.lab.chaos.own import foreign_flink
from jobs.lab.chaos.own.machines import Machines
from jobs.lab.chaos.own.three_brokers import ThreeBrokers
from jobs.lab.chaos.own.watched_redis import WatchedRedis
from jobs.lab.chaos.running_system import RunningSystem
from jobs.lab.waiting import wait
from jobs.operate import running_jobs
from jobs.operate.bring_up import bring_up
from jobs.settings import Settings

MACHINES, SLOTS, PARTITIONS = 2, 2, 4  # slots of each TaskManager: one is enough for both jobs
BUCKET = "liveshelf"
HELD_S = 0.4


class OwnSystem(RunningSystem):
    """The services, both jobs on them, and `liveshelf keep` beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.machines = Machines(MACHINES)
        host = self.machines.host
        self.kafka = ThreeBrokers(self.folder / "kafka", PARTITIONS, host)
        self.servers = WatchedRedis(self.folder / "redis", host)
        self.flink = self._install_flink(host)
        self._started = 0  # TaskManagers so far
        super().__init__(
            Settings(
                state_dir=self.folder / "state",
                feature_repo=self.folder / "state" / "feature_repo",
                model_dir=self.folder / "state" / "models",
                kafka_bootstrap=self.kafka.bootstrap,
                redis_url=self.servers.address,
                flink_rest_url=self.flink.rest_url,
                topic_partitions=PARTITIONS,
                checkpoint_interval_ms=2000,
                idle_timeout_s=0,
            )
        )

    def start(self) -> None:
        """Start the machines, the services, both jobs and the keeper."""
        self.prepare()
        self.machines.start()
        self.servers.start()
        self.kafka.start_all()
        self._script("zookeeper.sh", "start", "1", service="zookeeper")
        self.start_flink()
        self.running = self.direct = bring_up(self.settings)
        self.submit_both()
        processes.spawn(
            [sys.executable, "-m", "jobs.operate.keep", str(self.state_dir), self.flink.rest_url],
            owner=self.folder,
            service="keeper",
            log=self.folder / "keeper.log",
            environment={"PYTHONPATH": flink.import_path()},
        )

    def stop(self) -> None:
        processes.stop(processes.owned(self.folder))
        self.kafka.stop()
        self.servers.stop()
        self.machines.stop()

    def restarts(self) -> int:
        """Return how often the running jobs went on from a checkpoint.

        Flink's metric of restarts stands still while a TaskManager hangs that it asks for metrics, for ten minutes.
        """
        paths = [f"/jobs/{job_id}/checkpoints" for job_id in self.job_ids()]
        return sum(flink_rest.ask(self.flink.rest_url, path)["counts"]["restored"] for path in paths)

    def start_flink(self) -> None:
        """Start a JobManager, and a TaskManager on each machine."""
        self.start_job_manager()
        for machine in range(MACHINES):
            self.start_task_manager(machine)
        self.wait_slots()

    def restart_flink(self, **options: Any) -> None:
        """Give the cluster other options; both jobs go on from savepoints, as an operator would let them."""
        savepoints = {job: running_jobs.stop(self.settings, self.running, job) for job in running_jobs.JOBS}
        processes.stop(processes.owned(self.folder, "flink"))
        self.flink.configure(**options)
        self.start_flink()
        self.submit_both(**savepoints)

    def start_job_manager(self) -> None:
        self._script("jobmanager.sh", "start")

    def start_task_manager(self, machine: int) -> None:
        """Start a TaskManager on a machine, without waiting for it."""
        self._started += 1
        address = self.machines.address(machine)
        options = {"resource-id": f"{machine}-{self._started}", "host": address, "bind-host": address}
        words = [word for name, value in options.items() for word in ("-D", f"taskmanager.{name}={value}")]
        self._script("taskmanager.sh", "start", *words, prefix=self.machines.prefix(machine))

    def wait_slots(self) -> None:
        """Wait until all TaskManagers are known."""
        wait(lambda: flink_rest.answers(self.flink.rest_url, MACHINES * SLOTS), "a TaskManager", self._logs)

    def busiest(self) -> tuple[str, int]:
        """Return the id of the TaskManager with the most jobs, and their number."""
        managers = flink_rest.ask(self.flink.rest_url, "/taskmanagers")["taskmanagers"]
        return max(
            ((each["id"], each["slotsNumber"] - each["freeSlots"]) for each in managers), key=lambda each: each[1]
        )

    def task_manager(self, name: str) -> list[psutil.Process]:
        """Return a TaskManager's processes: its own, then its Python workers."""
        own = [
            process
            for process in processes.owned(self.folder, "flink")
            if f"taskmanager.resource-id={name}" in processes.words(process)
        ]
        return [*own, *own[0].children(recursive=True)]

    def kill_job_manager(self) -> None:
        for process in processes.owned(self.folder, "flink"):
            if flink.JOB_MANAGER in processes.words(process):
                process.kill()
                process.wait(10)  # its port is free then

    def newest_checkpoint(self, job_id: str) -> dict[str, Any]:
        """Return what Flink says of a job's newest completed checkpoint."""
        return flink_rest.ask(self.flink.rest_url, f"/jobs/{job_id}/checkpoints")["latest"]["completed"]

    def restored_checkpoint(self, job_id: str) -> int:
        """Return the number of the checkpoint that a job went on from last; raise `ServiceError` if there is none."""
        restored = flink_rest.ask(self.flink.rest_url, f"/jobs/{job_id}/checkpoints")["latest"]["restored"]
        if restored is None:
            raise ServiceError(f"job {job_id} began anew", self._logs)
        return int(restored["id"])

    def overtaken_bytes(self, job_id: str) -> int:
        """Return the bytes of events that waited, in the checkpoint that holds the most of them."""
        summary = flink_rest.ask(self.flink.rest_url, f"/jobs/{job_id}/checkpoints")["summary"]
        return int(summary["persisted_data"]["max"])

    def slow_redis(self) -> None:
        """Hold the primary for four tenths of a second: Sentinel takes it for dead after a whole one."""
        primary = self.servers.primary
        self.servers.signal(primary, signal.SIGSTOP)
        try:
            time.sleep(HELD_S)
        finally:
            self.servers.signal(primary, signal.SIGCONT)

    def start_object_store(self) -> dict[str, Any]:
        """Start moto's S3 with one bucket, and put Flink's plugin for it in place; return Flink's options."""
        server = shutil.which("moto_server")
        if server is None:
            raise ServiceError("there is no moto_server on PATH", "pip install 'moto[server]' boto3, best elsewhere")
        (port,) = processes.free_ports(1)
        address = f"{self.machines.host}:{port}"
        processes.spawn(
            [server, "-H", self.machines.host, "-p", str(port)],
            owner=self.folder,
            service="s3",
            log=self.folder / "s3.log",
        )
        wait(lambda: processes.listens(address), "moto's S3", self._logs)
        requests.put(f"http://{address}/{BUCKET}", timeout=10).raise_for_status()
        plugin = self.flink.home / "plugins" / "s3"
        plugin.mkdir(exist_ok=True)
        jar = jars.flink_s3()
        if not (plugin / jar.name).exists():
            (plugin / jar.name).symlink_to(jar)
        return {
            "s3.endpoint": f"http://{address}",
            "s3.path.style.access": True,
            "s3.access-key": "test",
            "s3.secret-key": "test",
            "execution.checkpointing.dir": f"s3://{BUCKET}/checkpoints",
        }

    def _install_flink(self, host: str) -> foreign_flink.ForeignFlink:
        """Install Flink with the options that docker/kubernetes names, but ZooKeeper for Kubernetes."""
        port, peer, election = processes.free_ports(3)
        home = self.folder / "flink"
        options = {
            "taskmanager.numberOfTaskSlots": SLOTS,
            "jobmanager.rpc.address": host,
            "jobmanager.bind-host": host,
            "rest.address": host,
            "rest.bind-address": host,
            "high-availability.type": "zookeeper",
            "high-availability.zookeeper.quorum": f"{host}:{port}",
            # A JobManager that died holds the lead for so long. By default it is a minute.
            "high-availability.zookeeper.client.session-timeout": "10 s",
            "high-availability.storageDir": (home / "ha").as_uri(),
            "classloader.resolve-order": "parent-first",
            "heartbeat.interval": "1 s",
            "heartbeat.timeout": "10 s",
            "execution.checkpointing.num-retained": RETAINED_CHECKPOINTS,
            "state.backend.type": "hashmap",
            "python.executable": sys.executable,
        }
        cluster = foreign_flink.install(home, options, host)
        cluster.put_python_into_lib()
        peers = {"server.1": f"{host}:{peer}:{election}", "clientPort": port, "clientPortAddress": host}
        keeper = {"dataDir": home / "zookeeper", "tickTime": 2000, "admin.enableServer": "false", **peers}
        (home / "conf" / "zoo.cfg").write_text("".join(f"{name}={value}\n" for name, value in keeper.items()))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LIVESHELF_", "FLINK_"))}
        own = {
            "JAVA_HOME": str(foreign_flink.java_home()),
            "PYTHONPATH": flink.import_path(),
            processes.OWNER_MARK: str(self.folder),
        }
        return replace(cluster, environment=kept | own)

    def _script(self, name: str, *arguments: str, service: str = "flink", prefix: Sequence[str] = ()) -> None:
        marked = {**self.flink.environment} | {processes.SERVICE_MARK: service}
        replace(self.flink, environment=marked).script(name, *arguments, prefix=prefix)
