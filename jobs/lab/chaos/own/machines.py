"""Machines that a network joins: namespaces of Linux on a bridge. A cable can be pulled.

It needs root and `ip` (iproute2). Without them everything is on the loopback address, and no cable can be pulled.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence

from jobs.errors import ServiceError

LOOPBACK = "127.0.0.1"


class Machines:
    """So many machines beside this one. `host` is this one's address on their network."""

    def __init__(self, count: int) -> None:
        self._count = count if os.geteuid() == 0 and shutil.which("ip") else 0
        self._network = f"10.213.{os.getpid() % 250 + 1}"
        self._bridge = f"ls{os.getpid()}"
        self.host = f"{self._network}.1" if self._count else LOOPBACK

    def start(self) -> None:
        """Make the bridge and the machines; raise `ServiceError` with what `ip` says."""
        if not self._count:
            return
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.host}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number in range(self._count):
            name = self._name(number)
            _ip("netns", "add", name)
            _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", name, "master", self._bridge, "up")
            _ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", name, "link", "set", device, "up")

    def address(self, number: int) -> str:
        """Return a machine's address on the network."""
        return f"{self._network}.{number + 2}" if self._count else LOOPBACK

    def prefix(self, number: int) -> Sequence[str]:
        """Return what a command line begins with that runs on a machine."""
        return ("ip", "netns", "exec", self._name(number)) if self._count else ()

    def cut(self, number: int) -> None:
        """Pull a machine's cable: nothing arrives any more, and nobody is told."""
        if not self._count:
            raise ServiceError("the network of a TaskManager can't be cut here", "run it as root, with iproute2")
        _ip("link", "set", self._name(number), "down")

    def join(self, number: int) -> None:
        """Plug the cable in again."""
        _ip("link", "set", self._name(number), "up")

    def stop(self) -> None:
        """Take the machines and the bridge away, also those of a start that failed."""
        names = [self._name(number) for number in range(self._count)]
        links = [*names, self._bridge] if names else []
        # Cables first: Linux takes away those of a namespace some time after it.
        commands = [*(("link", "delete", name) for name in links), *(("netns", "delete", name) for name in names)]
        for command in commands:
            subprocess.run(["ip", *command], capture_output=True, check=False)

    def _name(self, number: int) -> str:
        return f"{self._bridge}m{number}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"ip {' '.join(arguments)}: {done.stderr.strip()}", "run it as root, with iproute2")
