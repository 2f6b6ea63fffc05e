"""A Redis of the user's own: a primary, a replica, and three Sentinels that watch them."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from jobs.cluster import processes
from jobs.cluster.redis import server_binary
from tests.support.waiting import eventually

NAME, QUORUM, SENTINELS = "shop", 2, 3
DOWN_AFTER_MS = 1000


class WatchedRedis:
    """The processes. `address` is what liveshelf is told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ports = processes.free_ports(2 + SENTINELS)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.sentinels = self.ports[2:]

    def start(self) -> None:
        """Start the servers, then the Sentinels, and wait until they know each other."""
        first, second = self.ports[:2]
        self._serve(first)
        self._serve(second, "--replicaof", "127.0.0.1", str(first))
        eventually(lambda: self.client(second).info("replication")["master_link_status"] == "up", within_s=20)
        for port in self.sentinels:
            self._watch(port, first)
        eventually(lambda: all(self._knows_all(port) for port in self.sentinels), within_s=20)

    @property
    def address(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.sentinels)}/{NAME}/0"

    @property
    def primary(self) -> int:
        """The port of the server that the Sentinels call the primary."""
        return int(self.client(self.sentinels[0]).sentinel_get_master_addr_by_name(NAME)[1])

    def client(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, socket_timeout=2, decode_responses=True)

    def is_replica(self, port: int) -> bool:
        """Whether a server says so; False while it can't be asked: one that is demoted closes its connections."""
        try:
            return str(self.client(port).info("replication")["role"]) == "slave"
        except redis.ConnectionError:
            return False

    def signal(self, port: int, number: signal.Signals) -> None:
        self._running[port].send_signal(number)

    def kill_primary(self) -> int:
        """Kill the primary, wait for another one, and return the new one's port."""
        before = self.primary
        self.signal(before, signal.SIGKILL)
        self._running.pop(before).wait()
        eventually(lambda: self.primary != before, within_s=30)
        return self.primary

    def stop(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def _serve(self, port: int, *options: str) -> None:
        folder = self._folder / str(port)
        folder.mkdir(parents=True)
        self._start(port, "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes", *options)

    def _watch(self, port: int, primary: int) -> None:
        file = self._folder / f"sentinel-{port}.conf"
        lines = [
            f"port {port}",
            f"dir {self._folder}",
            f"sentinel monitor {NAME} 127.0.0.1 {primary} {QUORUM}",
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {NAME} 5000",
        ]
        file.write_text("\n".join(lines))
        self._start(port, str(file), "--sentinel")

    def _start(self, port: int, *arguments: str) -> None:
        with (self._folder / f"{port}.log").open("wb") as log:
            self._running[port] = subprocess.Popen([server_binary(), *arguments], stdout=log, env={**os.environ})
        eventually(lambda: processes.listens(f"127.0.0.1:{port}"), within_s=20)

    def _knows_all(self, port: int) -> bool:
        state = self.client(port).sentinel_master(NAME)
        return state["num-other-sentinels"] == SENTINELS - 1 and state["num-slaves"] == 1


@contextmanager
def watched_redis(folder: Path) -> Iterator[WatchedRedis]:
    """Start them; stop them at the end."""
    running = WatchedRedis(folder)
    try:
        running.start()
        yield running
    finally:
        running.stop()
