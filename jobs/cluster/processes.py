"""Start detached processes, find those that a state folder started, stop them; and find free ports.

Every process has two marks in its environment. Its children inherit them, the Python workers of a TaskManager too.
Marks find what pid files lose: workers of a killed parent, and processes that an interrupted `up` had started.
"""

import os
import random
import socket
import stat
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from jobs.errors import ServiceError

OWNER_MARK = "LIVESHELF_OWNER"
SERVICE_MARK = "LIVESHELF_SERVICE"
PRIVATE = 0o077  # umask: nobody but the owner reads topics, lists, checkpoints and logs, which hold people
LOWEST_PORT, PORTS_TRIED, PORTS_REMEMBERED = 20_000, 1_000, 3_000

_children: list[subprocess.Popen[bytes]] = []  # kept: a Popen that is collected while its process runs gives a warning
_returned: deque[int] = deque(maxlen=PORTS_REMEMBERED)


def spawn(
    argv: Sequence[str],
    *,
    owner: Path,
    service: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Start `argv` and return its pid. It has a session of its own, so Ctrl-C in the terminal doesn't reach it."""
    private_folder(log.parent)
    marks = {OWNER_MARK: str(owner.resolve()), SERVICE_MARK: service}
    with open(log, "ab", opener=_private_file) as output:
        child = subprocess.Popen(
            argv,
            env={**os.environ, **(environment or {}), **marks},
            cwd=cwd or log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=PRIVATE,
        )
    _children.append(child)
    # A program that is being loaded has no environment for a moment: 32 of 300 on a busy machine seemed to have ended.
    while child.poll() is None and not is_owned(child.pid, owner):
        time.sleep(0.001)
    return child.pid


def _private_file(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it that aren't there, so that only their owner can look into them."""
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def hide_from_git(folder: Path) -> None:
    """Let git leave out a folder that was just made: it may have any name, and lie in somebody's repository."""
    if not any(folder.iterdir()):
        with open(folder / ".gitignore", "w", opener=_private_file) as file:
            file.write("*\n")


def open_to_others(folder: Path) -> list[Path]:
    """Return what others may read, write or enter, of a folder and all in it. A link has no mode of its own."""
    looked = [folder, *folder.rglob("*")] if folder.is_dir() else []
    found = []
    for path in looked:
        with suppress(FileNotFoundError):  # a checkpoint may go while this looks
            mode = path.lstat().st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode):
                found.append(path)
    return found


def owned(owner: Path, service: str = "") -> list[psutil.Process]:
    """Return the living processes that this state folder started, of one service if it is named."""
    mark = str(owner.resolve())
    living = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get(OWNER_MARK) != mark or not _alive(process):
                continue
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if not service or environment.get(SERVICE_MARK) == service:
            living.append(process)
    return living


def is_owned(pid: int, owner: Path) -> bool:
    """Return True if `pid` lives and this state folder started it. Pids are used again, marks aren't."""
    try:
        process = psutil.Process(pid)
        return _alive(process) and process.environ().get(OWNER_MARK) == str(owner.resolve())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def words(process: psutil.Process) -> list[str]:
    """Return a process' command line, [] if it has ended."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []


def stop(processes: Iterable[psutil.Process], grace_s: float = 15.0) -> None:
    """Ask the processes to end, wait `grace_s`, kill what is left, and wait until it is gone."""
    asked = list(processes)
    for process in asked:
        _signal(process.terminate)
    stubborn = _wait_gone(asked, grace_s)
    for process in stubborn:
        _signal(process.kill)
    _wait_gone(stubborn, limit_s=5.0)


def _wait_gone(processes: list[psutil.Process], limit_s: float) -> list[psutil.Process]:
    """Wait, and return the processes that are still alive after `limit_s`.

    `psutil.wait_procs` counts a zombie as alive, and the process that called `up` may never reap it.
    """
    deadline = time.monotonic() + limit_s
    alive = [process for process in processes if _alive(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = [process for process in alive if _alive(process)]
    for child in _children:
        child.poll()  # reaps it
    return alive


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(send: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):  # it has ended by itself
        send()


def wait_until(answers: Callable[[], bool], *, service: str, pid: int, owner: Path, log: Path, limit_s: float) -> None:
    """Wait until `answers()`; raise `ServiceError` with the log's end if the process dies or the time is over."""
    deadline = time.monotonic() + limit_s
    fix = f"see the files in {log.parent}"
    while not answers():
        if not is_owned(pid, owner) and not _shows_late(pid, owner):
            raise ServiceError(f"{service} ended while it started:\n{_tail(log)}", fix)
        if time.monotonic() > deadline:
            raise ServiceError(f"{service} didn't answer within {limit_s:.0f} s:\n{_tail(log)}", fix)
        time.sleep(0.1)


def _shows_late(pid: int, owner: Path) -> bool:
    """Look again later: a process in the middle of its exec has no environment, and a broker was taken for dead."""
    time.sleep(0.5)
    return is_owned(pid, owner)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.is_file() else "(no log)"


def free_ports(count: int) -> list[int]:
    """Return different ports that are free on the loopback address now.

    They lie below the ports of outgoing connections, so that a server that dies finds its port free again. No port of
    the last `PORTS_REMEMBERED` is returned again: its server may not listen yet. Raise `ServiceError` if there aren't
    so many.
    """
    ports: list[int] = []
    for port in random.Random().sample(range(LOWEST_PORT, _lowest_outgoing_port()), PORTS_TRIED):
        if len(ports) == count:
            return ports
        if port not in _returned and port_is_free(port):
            ports.append(port)
            _returned.append(port)
    raise ServiceError(
        f"{count} free ports weren't found among {PORTS_TRIED} from {LOWEST_PORT} on", "close other programs"
    )


def _lowest_outgoing_port() -> int:
    file = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(file.read_text().split()[0]) if file.is_file() else 32_768
    return lowest if lowest >= LOWEST_PORT + PORTS_TRIED else 65_536


def port_is_free(port: int) -> bool:
    """Return True if a server could listen on the loopback port. Connections of a former server don't count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(address: str) -> bool:
    """Return True if something accepts connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except OSError:
        return False


def port_holder(port: int) -> str:
    """Return who listens on the port, as far as this user may see it."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "a process of another user"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "a process that can't be seen from here"


def claim_port(port: int, service: str, setting: str) -> int:
    """Return the port to use, a free one for 0; raise `ServiceError` if the port is taken."""
    if port == 0:
        return free_ports(1)[0]
    if not port_is_free(port):
        raise ServiceError(
            f"port {port} for {service} is taken by {port_holder(port)}",
            f"stop that process, or set LIVESHELF_{setting.upper()} to another port (0: a free one)",
        )
    return port
