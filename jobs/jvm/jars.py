"""Find Kafka's and Flink's jars: `jgo` resolves Maven coordinates once, and later starts need no network.

The jars themselves lie in Maven's usual local repository (`~/.m2/repository`), where other tools share them. So each
jar is compared with its SHA-256 in `jars.json` whenever it is asked for, and a jar that has none isn't used. After a
change of a coordinate, `python -m jobs.jvm.jars` prints the file anew: compare it with another download.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import msgspec
import pyflink

from jobs.errors import ServiceError

KAFKA = "org.apache.kafka:kafka_2.13:4.1.0"
# Kafka's distribution adds a log4j binding that its published pom doesn't name; without it the broker logs nothing.
# Resolved apart: in one request with Kafka, log4j's parent pom pins kafka-clients to 3.8.0.
KAFKA_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
REDIS_WITH_TLS = "com.github.codemonstur:embedded-redis:1.4.3"
COMPILER = "org.eclipse.jdt:ecj:3.42.0"  # Eclipse's, one jar: the Java that pip brings has none
FLINK_KAFKA_CONNECTOR = "org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2"
FLINK_S3 = "org.apache.flink:flink-s3-fs-presto:2.3.0"
SHIPPED = Path(pyflink.__file__).parent  # Flink, as the wheel brings it


def kafka_classpath() -> list[Path]:
    """Return the jars of a Kafka broker and what it needs; raises `ServiceError` if they can't be resolved."""
    return [*_jars(KAFKA), _jars(KAFKA_LOGGING)[0]]


def flink_kafka_connector() -> Path:
    """Return the jar of Flink's SQL connector for Kafka. It bundles what it needs."""
    return _jars(FLINK_KAFKA_CONNECTOR)[0]


def flink_s3() -> Path:
    """Return the jar of Flink's plugin for S3, of the kind that keeps checkpoints."""
    return _jars(FLINK_S3)[0]


def redis_with_tls() -> Path:
    """Return the jar that holds a Redis server with TLS (see `jobs/cluster/redis.py`)."""
    return _jars(REDIS_WITH_TLS)[0]


def compiler() -> Path:
    """Return the jar of a Java compiler."""
    return _jars(COMPILER)[0]


def python_jar() -> Path:
    """Return the jar that runs Python operators. It is large, and Flink's client adds it to every job."""
    return next((SHIPPED / "opt").glob("flink-python-*.jar"))


def cached() -> bool:
    """Return True if every jar is here, so that a start needs no network."""
    return all(_remembered(coordinate) for coordinate in (KAFKA, KAFKA_LOGGING, FLINK_KAFKA_CONNECTOR))


def cache_dir() -> Path:
    """Return liveshelf's folder in the user's cache folder (XDG base directories).

    It is absolute: its jars reach processes that have other working directories.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "liveshelf"


@cache
def pins() -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each jar by coordinate and file name, in the order of the class path."""
    return msgspec.json.decode((Path(__file__).parent / "jars.json").read_bytes(), type=dict[str, dict[str, str]])


def _jars(coordinate: str) -> list[Path]:
    return _checked(coordinate, _remembered(coordinate) or _found(coordinate))


def _checked(coordinate: str, paths: list[Path]) -> list[Path]:
    """Return the jars of `paths` that are pinned; raise `ServiceError` if one isn't there or is another.

    Kafka's 45 jars take 0.13 s.
    """
    found = {path.name: path for path in paths}
    for name, digest in pins()[coordinate].items():
        if name not in found:
            raise ServiceError(
                f"{name} isn't among the jars of {coordinate}: {', '.join(found)}",
                f"remove {_memory(coordinate)}; if it stays away, the Maven repository has another {coordinate}",
            )
        with found[name].open("rb") as jar:
            actual = hashlib.file_digest(jar, "sha256").hexdigest()
        if actual != digest:
            raise ServiceError(
                f"{found[name]} has sha256 {actual}, and {name} of {coordinate} has {digest}",
                "remove the file, so that it comes anew; if it comes as it is, don't trust that Maven repository",
            )
    return [found[name] for name in pins()[coordinate]]


def _found(coordinate: str) -> list[Path]:
    """Return the paths of a coordinate's jars from its Maven repository, and remember them."""
    paths = _resolve(coordinate)
    memory = _memory(coordinate)
    memory.parent.mkdir(parents=True, exist_ok=True)
    partial = memory.with_suffix(f".{os.getpid()}")
    partial.write_bytes(msgspec.json.encode([str(path) for path in paths]))
    partial.replace(memory)
    return paths


def _memory(coordinate: str) -> Path:
    return cache_dir() / "jars" / f"{coordinate.replace(':', '_')}.json"


def _remembered(coordinate: str) -> list[Path]:
    """Return the paths that were found the last time, or nothing if one of them is gone."""
    memory = _memory(coordinate)
    if not memory.is_file():
        return []
    paths = [Path(path) for path in msgspec.json.decode(memory.read_bytes(), type=list[str])]
    return paths if all(path.is_file() for path in paths) else []


def _resolve(coordinate: str) -> list[Path]:
    import jgo  # not needed once the paths are remembered
    from jgo.config import GlobalSettings

    try:
        artifacts = jgo.resolve(coordinate, repositories=GlobalSettings.load().repositories)
        with ThreadPoolExecutor(max_workers=8) as downloads:
            return list(downloads.map(lambda artifact: artifact.resolve(), artifacts))
    except (OSError, RuntimeError, ValueError) as error:
        raise ServiceError(
            f"the jars of {coordinate} can't be resolved: {error}",
            "check the network, or name a Maven repository in ~/.config/jgo.conf under [repositories]",
        ) from error


def main() -> None:
    """Print `jars.json` for what the coordinates resolve to now. Of all but Kafka only the first jar is used."""
    found = {coordinate: _found(coordinate) for coordinate in pins()}
    used = {coordinate: paths if coordinate == KAFKA else paths[:1] for coordinate, paths in found.items()}
    digests = {
        coordinate: {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        for coordinate, paths in used.items()
    }
    print(msgspec.json.format(msgspec.json.encode(digests), indent=1).decode())


if __name__ == "__main__":
    main()
