"""A Redis of the user's own: a primary, a replica, and three Sentinels that watch them."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import redis

from jobs.cluster import processes
from jobs.cluster.redis import server_binary
from jobs.lab.waiting import wait

NAME, QUORUM, SENTINELS = "shop", 2, 3
DOWN_AFTER_MS = 1000


class WatchedRedis:
    """The processes. `address` is what liveshelf is told."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self._folder, self._host = folder, host
        self.ports = processes.free_ports(2 + SENTINELS)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._arguments: dict[int, list[str]] = {}
        self.sentinels = self.ports[2:]

    def start(self) -> None:
        """Start the servers, then the Sentinels, and wait until they know each other."""
        first, second = self.ports[:2]
        self._serve(first)
        self._serve(second, "--replicaof", self._host, str(first))
        wait(lambda: self.in_sync(second), "a replica in sync", limit_s=20)
        for port in self.sentinels:
            self._watch(port, first)
        wait(lambda: all(self._knows_all(port) for port in self.sentinels), "a Sentinel that knows all", limit_s=20)

    @property
    def address(self) -> str:
        return f"redis+sentinel://{','.join(f'{self._host}:{port}' for port in self.sentinels)}/{NAME}/0"

    @property
    def primary(self) -> int:
        """The port of the server that the Sentinels call the primary."""
        return int(self.client(self.sentinels[0]).sentinel_get_master_addr_by_name(NAME)[1])

    def client(self, port: int) -> redis.Redis:
        return redis.Redis(self._host, port, socket_timeout=2, decode_responses=True)

    def replication(self, port: int) -> dict[str, Any]:
        """Return what a server says of its role and of how far it has followed; raise `redis.RedisError`."""
        return cast(dict[str, Any], self.client(port).info("replication"))

    def is_replica(self, port: int) -> bool:
        """Whether a server says so; False while it can't be asked: one that is demoted closes its connections."""
        try:
            return self.replication(port)["role"] == "slave"
        except redis.ConnectionError:
            return False

    def signal(self, port: int, number: signal.Signals) -> None:
        self._running[port].send_signal(number)

    def kill_primary(self) -> int:
        """Kill the primary, wait for another one, and return the new one's port."""
        before = self.primary
        self.signal(before, signal.SIGKILL)
        self._running.pop(before).wait()
        wait(lambda: self.primary != before, "another primary", limit_s=30)
        return self.primary

    def in_sync(self, port: int) -> bool:
        """Whether a server is a replica that has all its primary has; False while it can't be asked."""
        try:
            return self.replication(port).get("master_link_status") == "up"
        except redis.RedisError:
            return False

    def has_replica(self) -> bool:
        """Whether one of the servers follows the other. Sentinel may have made either the primary meanwhile."""
        return any(self.in_sync(port) for port in self.ports[:2])

    def start_again(self, port: int) -> None:
        """Start a server that was killed, as it was configured at first; Sentinel makes it a replica."""
        self._start(port, *self._arguments[port])

    def hold_back(self, port: int) -> None:
        """Let no replica of this server have what it is told from now on."""
        client = self.client(port)
        client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")

    def stop(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def _serve(self, port: int, *options: str) -> None:
        folder = self._folder / str(port)
        folder.mkdir(parents=True)
        # On the loopback address only, Redis protects itself. Elsewhere it is told that nobody else is there.
        where = ["--port", str(port), "--bind", self._host, "--protected-mode", "no"]
        self._arguments[port] = [*where, "--dir", str(folder), "--save", "", "--appendonly", "yes"]
        self._start(port, *self._arguments[port], *options)

    def _watch(self, port: int, primary: int) -> None:
        file = self._folder / f"sentinel-{port}.conf"
        lines = [
            f"port {port}",
            f"bind {self._host}",
            "protected-mode no",
            f"dir {self._folder}",
            f"sentinel monitor {NAME} {self._host} {primary} {QUORUM}",
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {NAME} 5000",
        ]
        file.write_text("\n".join(lines))
        self._start(port, str(file), "--sentinel")

    def _start(self, port: int, *arguments: str) -> None:
        with (self._folder / f"{port}.log").open("ab") as log:
            self._running[port] = subprocess.Popen([server_binary(), *arguments], stdout=log, env={**os.environ})
        wait(lambda: processes.listens(f"{self._host}:{port}"), f"port {port}", limit_s=20)

    def _knows_all(self, port: int) -> bool:
        state = self.client(port).sentinel_master(NAME)
        return state["num-other-sentinels"] == SENTINELS - 1 and state["num-slaves"] == 1


@contextmanager
def watched_redis(folder: Path, host: str = "127.0.0.1") -> Iterator[WatchedRedis]:
    """Start them; stop them at the end."""
    running = WatchedRedis(folder, host)
    try:
        running.start()
        yield running
    finally:
        running.stop()
