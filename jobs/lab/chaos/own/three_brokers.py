"""A Kafka of the user's own: three brokers, each a controller too. Topics have three replicas, two of them in sync."""

import os
import signal
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from jobs.cluster import kafka, processes
from jobs.connect import addresses
from jobs.errors import ServiceError
from jobs.jvm import jars, java
from jobs.lab.waiting import wait

BROKERS = 3


class ThreeBrokers:
    """The processes. `bootstrap` is what liveshelf is told."""

    def __init__(self, folder: Path, partitions: int, host: str = "127.0.0.1") -> None:
        self._host = host
        ports = processes.free_ports(2 * BROKERS)
        self.ports, controllers = ports[:BROKERS], ports[BROKERS:]
        voters = ",".join(f"{node}@{host}:{port}" for node, port in enumerate(controllers, start=1))
        cluster_id = urlsafe_b64encode(uuid.UUID(int=1).bytes).decode().rstrip("=")
        self._files, self._running = list[Path](), dict[int, subprocess.Popen[bytes]]()
        for node, (port, controller) in enumerate(zip(self.ports, controllers, strict=True), start=1):
            own = folder / f"broker-{node}"
            own.mkdir(parents=True)
            properties = {
                "process.roles": "broker,controller",
                "node.id": node,
                "controller.quorum.voters": voters,
                "controller.listener.names": "CONTROLLER",
                "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}",
                "advertised.listeners": f"PLAINTEXT://{host}:{port}",
                "log.dirs": own / "data",
                "num.partitions": partitions,
                "auto.create.topics.enable": "false",
                "default.replication.factor": BROKERS,
                "min.insync.replicas": BROKERS - 1,
                "offsets.topic.replication.factor": BROKERS,
                "offsets.topic.num.partitions": 4,
                "transaction.state.log.replication.factor": BROKERS,
                "transaction.state.log.min.isr": BROKERS - 1,
                "transaction.state.log.num.partitions": 4,
                "message.max.bytes": kafka.MAX_MESSAGE_BYTES,
                "replica.fetch.max.bytes": kafka.MAX_MESSAGE_BYTES,
                "log.retention.ms": -1,
            }
            file = own / "server.properties"
            file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
            self._files.append(file)
        tool = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "-c"]
        formatting = [subprocess.Popen([*_java(), *tool, str(file)], stdout=subprocess.DEVNULL) for file in self._files]
        if any([process.wait() for process in formatting]):
            raise ServiceError(f"Kafka's storage in {folder} can't be formatted", "see what it printed")

    def start_all(self) -> None:
        """Start all brokers, and wait until they answer."""
        for node in range(BROKERS):
            self.start(node)
        wait(lambda: all(map(processes.listens, self.bootstrap.split(","))), "a broker", limit_s=180)
        wait(lambda: kafka.answers(self.bootstrap), "Kafka", limit_s=180)

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{self._host}:{port}" for port in self.ports)

    def start(self, node: int) -> None:
        """Start a broker, 0 to 2, without waiting for it."""
        file = self._files[node]
        with (file.parent / "server.log").open("ab") as log:
            argv = [*_java(), "kafka.Kafka", str(file)]
            self._running[node] = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, env={**os.environ})

    def kill(self, node: int) -> None:
        self._running[node].send_signal(signal.SIGKILL)
        self._running.pop(node).wait()

    def in_sync(self) -> bool:
        """Whether every partition has all its replicas in sync; False while a broker that starts refuses to say."""
        with suppress(KafkaError), closing(KafkaAdminClient(**addresses.kafka_python(self.bootstrap))) as admin:
            topics = admin.describe_topics()
            return all(len(each["isr_nodes"]) == BROKERS for topic in topics for each in topic["partitions"])
        return False

    def stop(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


def _java() -> list[str]:
    return [
        str(java.JAVA),
        "-Xmx384m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        ":".join(map(str, jars.kafka_classpath())),
    ]


@contextmanager
def three_brokers(folder: Path, partitions: int, host: str = "127.0.0.1") -> Iterator[ThreeBrokers]:
    """Start them; stop them at the end."""
    running = ThreeBrokers(folder, partitions, host)
    try:
        running.start_all()
        yield running
    finally:
        running.stop()
