"""Processes that a state folder started, as it finds them again."""

import os
import socket
from pathlib import Path

from jobs.cluster import processes
from tests.support.waiting import eventually


def test_a_process_is_known_from_the_moment_it_was_started(tmp_path: Path):
    try:
        for _ in range(100):
            pid = processes.spawn(["sleep", "60"], owner=tmp_path, service="sleep", log=tmp_path / "log")
            assert processes.is_owned(pid, tmp_path)
    finally:
        processes.stop(processes.owned(tmp_path))


def test_one_that_ends_at_once_is_not_waited_for(tmp_path: Path):
    pid = processes.spawn(["true"], owner=tmp_path, service="true", log=tmp_path / "log")
    assert pid > 0


def test_what_a_process_writes_is_its_owners(tmp_path: Path):
    """Whatever the umask of who starts it, and so for its children."""
    program = "touch file; mkdir folder; sh -c 'touch folder/of-a-child'"
    before = os.umask(0o002)
    try:
        state = tmp_path / "state"
        processes.private_folder(state / "service")
        processes.spawn(["sh", "-c", program], owner=state, service="s", log=state / "service" / "log")
        eventually((state / "service" / "folder" / "of-a-child").exists)
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in (state, *state.rglob("*"))} == {
        "state": 0o700, "service": 0o700, "log": 0o600, "file": 0o600, "folder": 0o700, "of-a-child": 0o600,
    }  # fmt: skip
    assert processes.open_to_others(state / "service") == []
    (state / "service" / "file").chmod(0o640)
    assert processes.open_to_others(state / "service") == [state / "service" / "file"]


def test_free_ports_are_free_and_stay_so():
    """Free ports are different not taken and none that an outgoing connection may get."""
    lowest, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", processes.free_ports(1)[0]))
        taken.listen()
        found = processes.free_ports(200)
        assert len(set(found) - {taken.getsockname()[1]}) == 200
        assert all(1024 < port < lowest for port in found)


def test_a_given_port_waits_for_its_server():
    """A broker got its controller's port as its clients' port: two asks in 12,768 ports, both free when asked."""
    found = [port for _ in range(10) for port in processes.free_ports(200)]
    assert len(set(found)) == len(found) == 2_000
