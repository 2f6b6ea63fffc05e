"""Processes that a state folder started, as it finds them again."""

import socket
from pathlib import Path

from jobs.cluster import processes


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


def test_free_ports_are_free_and_stay_so():
    """Free ports are different not taken and none that an outgoing connection may get."""
    lowest, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", processes.free_ports(1)[0]))
        taken.listen()
        found = processes.free_ports(200)
        assert len(set(found) - {taken.getsockname()[1]}) == 200
        assert all(1024 < port < lowest for port in found)
