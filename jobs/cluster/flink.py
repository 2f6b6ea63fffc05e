"""Run the embedded Flink: a standalone cluster from the `apache-flink` wheel, under a supervisor.

The supervisor starts the JVMs directly. Flink's shell scripts start a second JVM to work out memory sizes, which adds
two seconds to each restart of a TaskManager. The client is Flink's own `bin/flink`, so a printed line can be pasted.
"""

import os
import shlex
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import msgspec
import requests

from jobs.cluster import archive, flink_config, processes
from jobs.cluster.supervise import Child
from jobs.connect import addresses, flink_rest
from jobs.errors import ServiceError, SettingsError
from jobs.jvm import build, jars, java
from jobs.settings import IN_CHECKOUT, REPOSITORY, Settings

JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
FLINKS_PYTHON = "python"  # what Flink starts where nobody names another one
PYTHON_WORKER = "pyflink.fn_execution.beam.beam_boot"


@dataclass(frozen=True)
class FlinkCommand:
    """A call of Flink's client: add the rest to `argv`, such as `-d -py job.py` after `run`."""

    argv: list[str]
    environment: dict[str, str]

    def line(self, *arguments: str) -> str:
        """Return the call as one shell line that can be pasted."""
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
    """Start the supervisor, which starts a JobManager and the TaskManagers; return the supervisor's pid.

    `metrics_ports` holds the Prometheus port of the JobManager, then one for each TaskManager. With a folder of
    `secrets` (see `secure.py`), Flink accepts only its own processes and clients.
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
    memory = flink_config.TaskManagerMemory(task_heap_mb=settings.task_heap_mb)
    rpc_port = processes.free_ports(1)[0]
    options = flink_config.job_options(settings.checkpoint_interval_ms, settings.parallelism)
    options |= flink_config.on_this_machine(home, worker_python(settings))
    options |= flink_config.cluster(rest_port, rpc_port, settings.slots_per_task_manager, memory)
    options |= flink_config.secure(secrets) if secrets else {}
    flink_config.write(home / "conf", options)
    kept = home / "processes.json"
    keeper = [
        sys.executable,
        "-m",
        "jobs.operate.keep",
        str(settings.state_dir.resolve()),
        rest_url(rest_port, secrets),
    ]
    children = [*_children(home, memory, metrics_ports), Child("keeper", keeper, {}, str(home / "log" / "keeper.out"))]
    kept.write_bytes(msgspec.json.encode(children))
    return processes.spawn(
        [sys.executable, "-m", "jobs.cluster.supervise", str(kept)],
        owner=settings.state_dir,
        service="flink",
        log=log(settings.state_dir),
        environment=_environment(home),
    )


def rest_url(port: int, secrets: Path | None = None) -> str:
    """Return the address of the embedded cluster's REST interface."""
    here = f"127.0.0.1:{port}"
    return str(addresses.Address("https", "", here, "", str(secrets))) if secrets else f"http://{here}"


def worker_python(settings: Settings) -> str:
    """Return the Python of the workers, as a TaskManager finds it; raise `ServiceError` if Flink doesn't answer."""
    if settings.worker_python:
        return settings.worker_python
    if not settings.flink_rest_url:
        return sys.executable
    return cluster_config(settings).get("python.executable", FLINKS_PYTHON)


def cluster_config(settings: Settings) -> dict[str, str]:
    """Return the configuration of the user's own cluster; raise `ServiceError` if it doesn't answer."""
    try:
        return flink_rest.cluster_config(settings.flink_rest_url)
    except requests.RequestException as error:
        raise ServiceError(
            f"the Flink cluster at {settings.flink_rest_url} doesn't say how it is configured: {error}",
            "check that it runs, and LIVESHELF_FLINK_REST_URL",
        ) from error


def command(settings: Settings, action: str = "run") -> FlinkCommand:
    """Return the call of `flink <action>` against the embedded cluster, or against the user's own.

    The user's own cluster gets the Kafka connector with each job (`-j`), as it may not have it.
    """
    home = folder(settings.state_dir)
    argv = [str(jars.SHIPPED / "bin" / "flink"), action]
    conf = home / "conf"
    if settings.flink_rest_url:
        conf = home / "client"
        options = flink_config.of_cluster(cluster_config(settings))
        options |= flink_config.job_options(settings.checkpoint_interval_ms, settings.parallelism)
        flink_config.write(conf, options | flink_config.client(settings.flink_rest_url, worker_python(settings)))
        for part in ("lib", "log"):
            (home / part).mkdir(parents=True, exist_ok=True)
        _link_jars(home / "lib")
        argv += ["-j", str(jars.flink_kafka_connector())] if action == "run" else []
    variables = ("JAVA_HOME", "FLINK_LIB_DIR", "FLINK_LOG_DIR", "PYTHONPATH")  # the others Flink's script knows
    environment = {name: value for name, value in _environment(home).items() if name in variables}
    return FlinkCommand(argv, environment | {"FLINK_CONF_DIR": str(conf)})


def _environment(home: Path) -> dict[str, str]:
    """Return the variables that Flink's scripts and JVMs read.

    `OMP_NUM_THREADS`: a worker has one thread for arithmetic, because the slots are the parallelism, and workers that
    each take every core wait for each other. `MALLOC_ARENA_MAX`: by default glibc has eight memory arenas a core, and
    what a thread frees in one, a thread of another can't use.
    """
    shipped = jars.SHIPPED
    return {
        "JAVA_HOME": str(java.JAVA_HOME),
        "FLINK_CONF_DIR": str(home / "conf"),
        "FLINK_LIB_DIR": str(home / "lib"),
        "FLINK_LOG_DIR": str(home / "log"),
        "FLINK_OPT_DIR": str(shipped / "opt"),
        "FLINK_PLUGINS_DIR": str(shipped / "plugins"),
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": import_path(),
    }


CHECKOUT = (str(REPOSITORY), str(REPOSITORY / "jobs" / "sdk"))  # where `jobs`, and `liveshelf`, are imported from


def import_path() -> str:
    """Return the `PYTHONPATH` with which the client and the Python workers import `jobs`.

    It is this process's own with absolute folders, as workers have other working directories. A checkout goes before
    it. An installed wheel needs nothing: site-packages would stand before the standard library there.
    """
    inherited = [os.path.abspath(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return os.pathsep.join(dict.fromkeys([*(CHECKOUT if IN_CHECKOUT else []), *inherited]))


def _link_jars(lib: Path) -> None:
    """Make a folder of links to Flink's own jars, flink-python.jar, the Kafka connector and the guard of REST.

    Cluster and client load it. So no job sets `pipeline.jars`, which would replace the list with flink-python.jar. A
    link that is right stays: another client may be starting with it.
    """
    lib.mkdir(parents=True, exist_ok=True)
    own = (jars.python_jar(), jars.flink_kafka_connector(), build.guard_jar())
    wanted = {jar.name: jar for jar in [*(jars.SHIPPED / "lib").glob("*.jar"), *own]}
    for old in lib.glob("*.jar"):
        if old.name not in wanted:
            old.unlink(missing_ok=True)
    for name, jar in wanted.items():
        if not (lib / name).is_symlink() or (lib / name).readlink() != jar:
            partial = lib / f"{name}.{uuid.uuid4()}"
            partial.symlink_to(jar)
            partial.replace(lib / name)


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
