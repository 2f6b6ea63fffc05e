"""A cable between two machines is pulled: connections hang, and go on when it is plugged in again."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from jobs.lab.chaos.own.machines import Machines

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2")
ECHO = """
import socket, sys
connection, _ = socket.create_server((sys.argv[1], 7000)).accept()
while data := connection.recv(9):
    connection.sendall(data)
"""


@pytest.fixture
def machines() -> Iterator[Machines]:
    made = Machines(2)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def connect(address: str) -> socket.socket:
    deadline_s = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection((address, 7000), timeout=5)
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)


def test_a_cut_machine_is_silent_until_it_is_joined(machines: Machines) -> None:
    """The connection stays, as behind a pulled cable: what was sent meanwhile arrives late."""
    address = machines.address(1)
    with subprocess.Popen([*machines.prefix(1), "python3", "-c", ECHO, address]) as server, connect(address) as client:
        client.sendall(b"before")
        assert client.recv(9) == b"before"
        machines.cut(1)
        client.settimeout(1)
        client.sendall(b"after")
        with pytest.raises(TimeoutError):
            client.recv(9)
        machines.join(1)
        client.settimeout(20)
        assert client.recv(9) == b"after"
        server.kill()


def test_nothing_of_the_machines_is_left_behind(machines: Machines) -> None:
    machines.stop()
    left = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    assert f"ls{os.getpid()}" not in left
