"""The embedded Flink: a real standalone cluster from the `apache-flink` wheel, under a supervisor.

The JVMs are started directly: Flink's shell scripts start a second JVM to work out memory sizes, which would add two
seconds to each return of a TaskManager. The client is Flink's own `bin/flink`, so that a printed line can be pasted.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import requests

from jobs import connections
from jobs.cluster import archive, flink_config, jars, java, processes
from jobs.cluster.supervise import Child
from jobs.errors import ServiceError, SettingsError
from jobs.settings import REPOSITORY, Settings

JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
PYTHON_WORKER = "pyflink.fn_execution.beam.beam_boot"
ENDED = ("CANCELED", "FINISHED", "FAILED")
GONE_LIMIT_S = 240.0  # after 180 Flink ends a TaskManager whose task doesn't end
CONNECTION_S = 10.0  # at a load of 39 on two cores a JobManager took more than 2


@dataclass(frozen=True)
class FlinkCommand:
    """A call of Flink's client: add the rest to `argv`, such as `-d -py job.py` after `run`."""

    argv: list[str]
    environment: dict[str, str]

    def line(self, *arguments: str) -> str:
        """One shell line that can be pasted."""
        assignments = [f"{name}={value}" for name, value in self.environment.items()]
        return shlex.join(["env", *assignments, *self.argv, *arguments])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call the client and wait for its end; the caller looks at the return code."""
        argv = [*self.argv, *arguments]
        return subprocess.run(argv, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False)


def folder(state_dir: Path) -> Path:
    return state_dir.resolve() / "flink"


def log(state_dir: Path) -> Path:
    return folder(state_dir) / "log" / "supervisor.log"


def start(settings: Settings, rest_port: int, metrics_ports: list[int], secrets: Path | None = None) -> int:
    """Start the supervisor, which starts a JobManager and the TaskManagers; the supervisor's pid.

    `metrics_ports` holds the Prometheus port of the JobManager, then one for each TaskManager. With a folder of `secrets`
    (see `secure.py`) only its own processes and clients get a connection.
    """
    home = folder(settings.state_dir)
    if set(str(home)) & set(" ,:;"):  # the client's script and `io.tmp.dirs` split there
        raise SettingsError(
            f"Flink can't keep its files in {home}: the path has a blank or one of , : ;",
            "set LIVESHELF_STATE_DIR to a path without",
        )
    for part in ("log", "tmp", "checkpoints", "savepoints"):
        (home / part).mkdir(parents=True, exist_ok=True)
    _link_jars(home / "lib")
    memory = flink_config.TaskManagerMemory()
    rpc_port = processes.free_ports(1)[0]
    options = flink_config.job_options(settings.checkpoint_interval_ms, settings.parallelism)
    options |= flink_config.on_this_machine(home)
    options |= flink_config.cluster(rest_port, rpc_port, settings.slots_per_task_manager, memory)
    options |= flink_config.secure(secrets) if secrets else {}
    flink_config.write(home / "conf", options)
    kept = home / "processes.json"
    keeper = [sys.executable, "-m", "jobs.cluster.keep", str(settings.state_dir.resolve()), rest_url(rest_port, secrets)]
    children = [*_children(home, memory, metrics_ports), Child("keeper", keeper, {}, str(home / "log" / "keeper.out"))]
    kept.write_bytes(msgspec.json.encode(children))
    return processes.spawn(
        [sys.executable, "-m", "jobs.cluster.supervise", str(kept)],
        owner=settings.state_dir,
        service="flink",
        log=log(settings.state_dir),
        environment=_environment(home),
    )


def answers(rest_url: str, slots: int) -> bool:
    """Whether the cluster answers and at least `slots` task slots have registered."""
    try:
        return bool(ask(rest_url, "/overview")["slots-total"] >= slots)
    except requests.RequestException:
        return False


def ask(rest_url: str, path: str) -> dict[str, Any]:
    """What Flink's REST interface says; raises `requests.RequestException`."""
    base, certificates = connections.rest(rest_url)
    answer = requests.get(base + path, timeout=CONNECTION_S, **certificates)
    answer.raise_for_status()
    return answer.json()


def operator_counter(metrics_urls: Iterable[str], name: str) -> int:
    """One of our operators' counters, over all tasks that run; raises `requests.RequestException`."""
    return round(sum(sum(counted(requests.get(url, timeout=10).text, name)) for url in metrics_urls))


def counted(page: str, name: str) -> list[float]:
    """The values of an operator's counter on a page of Flink's Prometheus reporter, one for each task."""
    line = rf"^flink_taskmanager_job_task_operator_{name}\{{[^}}]*\}} ([0-9.eE+]+)$"
    return [float(found) for found in re.findall(line, page, re.MULTILINE)]


def cancel(rest_url: str, job_id: str) -> None:
    """Ask for a job's end, without a savepoint; raises `requests.RequestException`."""
    base, certificates = connections.rest(rest_url)
    requests.patch(f"{base}/jobs/{job_id}", params={"mode": "cancel"}, timeout=30, **certificates).raise_for_status()


def wait_gone(rest_url: str, job_id: str) -> None:
    """Wait until the job has ended; raises `ServiceError` if it doesn't, `requests.RequestException`."""
    deadline_s = time.monotonic() + GONE_LIMIT_S
    while ask(rest_url, f"/jobs/{job_id}")["state"] not in ENDED:
        if time.monotonic() > deadline_s:
            raise ServiceError(f"job {job_id} is still there after {GONE_LIMIT_S:g} s", "liveshelf status")
        time.sleep(0.1)


def rest_url(port: int, secrets: Path | None = None) -> str:
    """The REST interface of the embedded cluster."""
    here = f"127.0.0.1:{port}"
    return str(connections.Address("https", "", here, "", str(secrets))) if secrets else f"http://{here}"


def command(settings: Settings, action: str = "run") -> FlinkCommand:
    """How to call `flink <action>` against the embedded cluster, or against the user's own.

    The user's own cluster gets the Kafka connector with each job (`-j`), as it may not have it.
    """
    home = folder(settings.state_dir)
    argv = [str(flink_config.SHIPPED / "bin" / "flink"), action]
    conf = home / "conf"
    if settings.flink_rest_url:
        conf = home / "client"
        options = flink_config.job_options(settings.checkpoint_interval_ms, settings.parallelism)
        flink_config.write(conf, options | flink_config.client(settings.flink_rest_url))
        for part in ("lib", "log"):
            (home / part).mkdir(parents=True, exist_ok=True)
        _link_jars(home / "lib")
        argv += ["-j", str(jars.flink_kafka_connector())] if action == "run" else []
    variables = ("JAVA_HOME", "FLINK_LIB_DIR", "FLINK_LOG_DIR", "PYTHONPATH")  # the others Flink's script knows
    environment = {name: value for name, value in _environment(home).items() if name in variables}
    return FlinkCommand(argv, environment | {"FLINK_CONF_DIR": str(conf)})


def _environment(home: Path) -> dict[str, str]:
    """What Flink's scripts and JVMs look for.

    `PYTHONPATH` lets the client and the Python workers import `jobs` from a checkout. One thread for each worker's
    arithmetic: parallelism is the number of slots, and workers that each take every core would wait for each other. Two of
    glibc's memory arenas for each process: by default there are eight a core, and what one thread gave back another can't use.
    """
    shipped = flink_config.SHIPPED
    return {
        "JAVA_HOME": str(java.JAVA_HOME),
        "FLINK_CONF_DIR": str(home / "conf"),
        "FLINK_LIB_DIR": str(home / "lib"),
        "FLINK_LOG_DIR": str(home / "log"),
        "FLINK_OPT_DIR": str(shipped / "opt"),
        "FLINK_PLUGINS_DIR": str(shipped / "plugins"),
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
    }


def _link_jars(lib: Path) -> None:
    """A folder of links to Flink's own jars, flink-python.jar and the Kafka connector.

    Cluster and client load it, so no job sets `pipeline.jars`, which would replace the list with flink-python.jar.
    """
    lib.mkdir(parents=True, exist_ok=True)
    for old in lib.iterdir():
        old.unlink()
    for jar in [*(flink_config.SHIPPED / "lib").glob("*.jar"), flink_config.python_jar(), jars.flink_kafka_connector()]:
        (lib / jar.name).symlink_to(jar)


def _children(home: Path, memory: flink_config.TaskManagerMemory, metrics_ports: list[int]) -> list[Child]:
    children = [_child(home, "jobmanager", flink_config.JOB_MANAGER_JAVA_OPTIONS, JOB_MANAGER, metrics_ports[0])]
    for number, port in enumerate(metrics_ports[1:]):
        children.append(_child(home, f"taskmanager-{number}", memory.java_options, TASK_MANAGER, port))
    return children


def _child(home: Path, name: str, limits: list[str], main_class: str, metrics_port: int) -> Child:
    conf = home / "conf"
    # flink-dist last, as in Flink's own scripts
    classpath = sorted((home / "lib").iterdir(), key=lambda jar: (jar.name.startswith("flink-dist"), jar.name))
    logging = [
        f"-Dlog.file={home / 'log' / name}.log",
        f"-Dlog4j.configurationFile={(conf / 'log4j.properties').as_uri()}",
    ]
    argv = [
        str(java.JAVA),
        *limits,
        *archive.options(name.partition("-")[0], classpath),
        *flink_config.java_options(conf),
        *logging,
        "-cp",
        ":".join(str(jar) for jar in classpath),
        main_class,
        "--configDir",
        str(conf),
        "-D",
        f"metrics.reporter.prom.port={metrics_port}",
    ]
    return Child(name, argv, {}, str(home / "log" / f"{name}.out"))
