"""Run the embedded Kafka: one process that is broker and KRaft controller, on the loopback address."""

import base64
import subprocess
import uuid
from collections.abc import Iterable
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import RetriableError

from jobs.cluster import archive, processes
from jobs.connect import addresses, users
from jobs.errors import ServiceError
from jobs.jvm import jars, java

MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # an event may carry 2 MB; twice that leaves room for a batch's headers

_LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1} - %m%n
"""


def start(
    state_dir: Path,
    port: int,
    default_partitions: int,
    secrets: Path | None = None,
    behind: tuple[int, int] | None = None,
) -> int:
    """Start the broker on `port` and return its pid. The first start formats its storage.

    With a folder of `secrets` (see `secure.py`) it accepts only TLS and users of the table, each with its own rights.
    With `behind` a plain broker stands behind a proxy: it names the broker's second port and the proxy's port.
    """
    folder = state_dir / "kafka"
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    listeners = _secure_listeners(port, secrets) if secrets else _plain_listeners(port, behind)
    properties.write_text(_lines(listeners | _storage(folder, default_partitions)))
    (folder / "log4j2.properties").write_text(_LOGGING)
    if not (folder / "data" / "meta.properties").is_file():
        _format(folder, properties, secrets)
    argv = [*_java(folder), "kafka.Kafka", str(properties.resolve())]
    return processes.spawn(argv, owner=state_dir, service="kafka", log=log(state_dir))


def address(port: int, secrets: Path | None = None) -> str:
    """Return the address of the embedded broker, as the command line's user."""
    here = f"127.0.0.1:{port}"
    return str(addresses.Address(addresses.SECURE_KAFKA, users.CLI, here, "", str(secrets))) if secrets else here


def log(state_dir: Path) -> Path:
    return state_dir / "kafka" / "server.log"


def answers(bootstrap: str) -> bool:
    """Return True if a broker is registered and answers an admin request."""
    if not any(processes.listens(server) for server in addresses.servers(bootstrap)):
        return False  # spares the admin client's growing pauses between its attempts
    try:
        limits = {"bootstrap_timeout_ms": 2000, "request_timeout_ms": 2000}
        admin = KafkaAdminClient(**addresses.kafka_python(bootstrap), **limits)
    except RetriableError:
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except RetriableError:
        return False
    finally:
        admin.close()


def _java(folder: Path) -> list[str]:
    classpath = jars.kafka_classpath()
    logging = f"-Dlog4j2.configurationFile={(folder / 'log4j2.properties').resolve()}"
    limits = ["-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]
    return [
        str(java.JAVA),
        *limits,
        *archive.options("kafka", classpath),
        logging,
        "-cp",
        ":".join(map(str, classpath)),
    ]


def _format(folder: Path, properties: Path, secrets: Path | None) -> None:
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # With "=": one id in 64 begins with a dash, and would be taken for an option.
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(properties.resolve())]
    scram = [f"--add-scram=SCRAM-SHA-512=[{user}]" for user in _users(secrets)] if secrets else []
    # Passwords in a file for Java to read: every user of the machine may read a command line.
    arguments = folder / "format.arguments"
    arguments.touch(mode=0o600)
    java_binary, *rest = _java(folder)
    arguments.write_text("\n".join(f'"{word}"' for word in (*rest, "-XX:-UsePerfData", *tool, *scram)))
    try:
        done = subprocess.run([java_binary, f"@{arguments.resolve()}"], capture_output=True, text=True, check=False)
    finally:
        arguments.unlink()
    if done.returncode != 0:
        raise ServiceError(f"Kafka's storage in {folder} can't be formatted: {done.stdout}{done.stderr}", "see above")


def _users(secrets: Path) -> Iterable[str]:
    """Yield each user in the form of `--add-scram`."""
    for user in users.KAFKA_USERS:
        yield f"name={user},password={(secrets / f'kafka-{user}').read_text()}"


def _plain_listeners(port: int, behind: tuple[int, int] | None) -> dict[str, object]:
    controller_port = processes.free_ports(1)[0]
    second = [f",PROXIED://127.0.0.1:{number}" for number in behind] if behind else ["", ""]
    return {
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{second[0]}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}{second[1]}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
    }


def _secure_listeners(port: int, secrets: Path) -> dict[str, object]:
    """Return a listener for clients, with passwords, and two by which the broker talks to itself, with certificates."""
    broker_port, controller_port = processes.free_ports(2)
    return {
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"CLIENTS://127.0.0.1:{port},BROKER://127.0.0.1:{broker_port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"CLIENTS://127.0.0.1:{port},BROKER://127.0.0.1:{broker_port}",
        "listener.security.protocol.map": "CLIENTS:SASL_SSL,BROKER:SSL,CONTROLLER:SSL",
        "inter.broker.listener.name": "BROKER",
        "listener.name.broker.ssl.client.auth": "required",
        "listener.name.controller.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": secrets / "kafka.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": secrets / "ca.pem",
        "sasl.enabled.mechanisms": addresses.MECHANISM,
        "listener.name.clients.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:CN=kafka;User:{users.ADMIN}",
    }


def _storage(folder: Path, default_partitions: int) -> dict[str, object]:
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.listener.names": "CONTROLLER",
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


def _lines(values: dict[str, object]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())
