"""A Flink cluster that liveshelf didn't start: a copy of Flink, its own scripts, a folder of its own."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import yaml

from jobs.cluster import processes
from jobs.connect import flink_rest
from jobs.jvm import jars, java
from jobs.lab.waiting import wait
from jobs.settings import REPOSITORY

TASK_MANAGERS, SLOTS_EACH = 2, 1


@dataclass(frozen=True)
class ForeignFlink:
    """The cluster's folder, and the address of its REST interface."""

    home: Path
    rest_url: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def savepoints(self) -> Path:
        """Where the cluster's own configuration puts savepoints."""
        return self.home / "savepoints"

    def slots(self) -> tuple[int, int]:
        """Free slots, and all."""
        overview = flink_rest.ask(self.rest_url, "/overview")
        return overview["slots-available"], overview["slots-total"]

    def task_managers(self) -> list[psutil.Process]:
        """The TaskManagers' processes, the oldest first."""
        found = [
            process
            for process in psutil.process_iter(["cmdline", "create_time"])
            if str(self.home) in " ".join(process.info["cmdline"] or [])
            and "TaskManagerRunner" in " ".join(process.info["cmdline"] or [])
        ]
        return sorted(found, key=lambda process: process.info["create_time"])

    def put_python_into_lib(self) -> None:
        """Let all jobs share the classes of flink-python.jar."""
        (jar,) = (self.home / "opt").glob("flink-python-*.jar")
        (self.home / "lib" / jar.name).symlink_to(jar.resolve())

    def configure(self, **options: Any) -> None:
        """Add options to `config.yaml`, with `__` for the dots of their names. Processes read it when they start."""
        file = self.home / "conf" / "config.yaml"
        config = yaml.safe_load(file.read_text()) | {name.replace("__", "."): value for name, value in options.items()}
        file.write_text(yaml.safe_dump(config, width=10_000))

    def script(self, name: str, *arguments: str, prefix: Sequence[str] = ()) -> None:
        """Run one of Flink's scripts, as an operator would; behind `prefix`, on another machine."""
        with (self.home / "log" / f"{name}.log").open("ab") as log:
            subprocess.run(
                [*prefix, str(self.home / "bin" / name), *arguments],
                env=dict(self.environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                check=True,
            )

    def living_jobs(self) -> list[str]:
        """Names of the jobs that haven't ended."""
        jobs = flink_rest.ask(self.rest_url, "/jobs/overview")["jobs"]
        return sorted(job["name"] for job in jobs if job["state"] not in flink_rest.ENDED)


def java_home() -> Path:
    """Java as the machine has it, else the one that liveshelf installs."""
    installed = shutil.which("java")
    return Path(installed).resolve().parents[1] if installed else java.JAVA_HOME


@contextmanager
def foreign_flink(
    home: Path, *, slots: int = SLOTS_EACH, checkout: bool = True, python_in_lib: bool = False, **options: Any
) -> Iterator[ForeignFlink]:
    """Start a JobManager and two TaskManagers by `bin/start-cluster.sh`; stop them by `bin/stop-cluster.sh`.

    Each TaskManager has so many `slots`. Workers find this `checkout`, or only what their Python has installed.
    `python_in_lib` is what the operator's page advises for jobs that come and go.
    `options` are added to the cluster's `config.yaml`, with `__` for the dots of their names.
    """
    options = {name.replace("__", "."): value for name, value in options.items()}
    cluster = install(home, {"taskmanager.numberOfTaskSlots": slots, **options})
    # Nothing of the test's own environment: a cluster elsewhere knows no liveshelf.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LIVESHELF_", "FLINK_"))}
    # As if this checkout were installed there: workers import `jobs` from it.
    environment.pop("PYTHONPATH", None)
    environment |= {"JAVA_HOME": str(java_home())} | ({"PYTHONPATH": str(REPOSITORY)} if checkout else {})
    cluster = replace(cluster, environment=environment)
    if python_in_lib:
        cluster.put_python_into_lib()
    try:
        cluster.script("start-cluster.sh")
        wait(lambda: flink_rest.answers(cluster.rest_url, TASK_MANAGERS * slots), "Flink")
        yield cluster
    finally:
        cluster.script("stop-cluster.sh")
        for process in cluster.task_managers():  # one that was added isn't in the scripts' list
            process.kill()
        wait(lambda: not processes.listens(cluster.rest_url.removeprefix("http://")), "the end of Flink", limit_s=60)


def install(home: Path, options: dict[str, Any], host: str = "127.0.0.1") -> ForeignFlink:
    """Copy Flink's scripts and plugins into `home`, link its jars, and configure it; start nothing."""
    rest_port, rpc_port = processes.free_ports(2)
    for folder in ("bin", "conf", "plugins"):
        shutil.copytree(jars.SHIPPED / folder, home / folder)
    for folder in ("lib", "opt"):
        (home / folder).mkdir()
        for jar in (jars.SHIPPED / folder).glob("*.jar"):
            (home / folder / jar.name).symlink_to(jar)
    for folder in ("log", "pids", "savepoints", "checkpoints"):
        (home / folder).mkdir()
    cluster = ForeignFlink(home, f"http://{host}:{rest_port}")
    config = _flat(yaml.safe_load((home / "conf" / "config.yaml").read_text())) | {
        "env.pid.dir": str(home / "pids"),
        "env.log.dir": str(home / "log"),
        "jobmanager.rpc.port": rpc_port,
        "rest.port": rest_port,
        "rest.bind-port": rest_port,
        "execution.checkpointing.dir": (home / "checkpoints").as_uri(),
        "execution.checkpointing.savepoint-dir": cluster.savepoints.as_uri(),
        **options,
    }
    (home / "conf" / "config.yaml").write_text(yaml.safe_dump(config, width=10_000))
    (home / "conf" / "workers").write_text("localhost\n" * TASK_MANAGERS)
    return cluster


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
