"""The embedded Kafka: one process that is broker and KRaft controller, on the loopback address."""

import base64
import subprocess
import uuid
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import RetriableError

from jobs.cluster import jars, java, processes
from jobs.errors import ServiceError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # an event may carry 2 MB; twice that leaves room for a batch's headers

_LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1} - %m%n
"""


def start(state_dir: Path, port: int, default_partitions: int, behind: tuple[int, int] | None = None) -> int:
    """Start the broker on `port`, formatting its storage on the first start; its pid.

    `behind` is (a second port, the port that clients of it are told to come to): how a broker stands behind a proxy.
    """
    folder = state_dir / "kafka"
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    properties.write_text(_properties(folder, port, processes.free_ports(1)[0], default_partitions, behind))
    (folder / "log4j2.properties").write_text(_LOGGING)
    if not (folder / "data" / "meta.properties").is_file():
        _format(folder, properties)
    argv = [*_java(folder), "kafka.Kafka", str(properties.resolve())]
    return processes.spawn(argv, owner=state_dir, service="kafka", log=log(state_dir))


def log(state_dir: Path) -> Path:
    return state_dir / "kafka" / "server.log"


def answers(bootstrap: str) -> bool:
    """Whether a broker is registered and answers an admin request."""
    servers = bootstrap.split(",")
    if not any(processes.listens(server) for server in servers):
        return False  # spares the admin client's growing pauses between its attempts
    try:
        admin = KafkaAdminClient(bootstrap_servers=servers, bootstrap_timeout_ms=2000, request_timeout_ms=2000)
    except RetriableError:
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except RetriableError:
        return False
    finally:
        admin.close()


def _java(folder: Path) -> list[str]:
    classpath = ":".join(str(path) for path in jars.kafka_classpath())
    logging = f"-Dlog4j2.configurationFile={(folder / 'log4j2.properties').resolve()}"
    return [str(java.JAVA), "-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", logging, "-cp", classpath]


def _format(folder: Path, properties: Path) -> None:
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    argv = [*_java(folder), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties.resolve())]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServiceError(f"Kafka's storage in {folder} can't be formatted: {done.stdout}{done.stderr}", "see above")


def _properties(
    folder: Path, port: int, controller_port: int, default_partitions: int, behind: tuple[int, int] | None
) -> str:
    second = [f",PROXIED://127.0.0.1:{each}" for each in behind] if behind else ["", ""]
    values = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{second[0]}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}{second[1]}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": (folder / "data").resolve(),
        "num.partitions": default_partitions,
        "auto.create.topics.enable": "false",  # a misspelled topic is an error, not an empty topic
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        "log.retention.ms": -1,  # `verify` and a bootstrap read the whole log
        "log.retention.bytes": -1,
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,  # a handful of groups; the default 50 are for thousands
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())
