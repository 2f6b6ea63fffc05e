"""Compile the JVM's part into one small jar. Its name holds the hash of what went into it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from jobs.contract import consent_record, events
from jobs.errors import ServiceError
from jobs.jvm import jars
from jobs.jvm.java import JAVA

SOURCES = Path(__file__).parent / "src"
# Flink's JobManager loads it from its `lib`; jobs bring the other jar themselves.
GUARD = Path(__file__).parent / "guard" / "liveshelf" / "RestGuard.java"
CONTRACTS = {"event_contract.json": events.as_json(), "consent_contract.json": consent_record.as_json()}


def contract_jar() -> Path:
    """Return the jar of the JVM's part and the contracts. Compile it if sources or contracts have changed."""
    return _jar("liveshelf", sorted(SOURCES.rglob("*.java")), CONTRACTS)


def guard_jar() -> Path:
    """Return the jar that keeps other sites' pages from Flink's REST interface."""
    service = "META-INF/services/org.apache.flink.runtime.io.network.netty.InboundChannelHandlerFactory"
    return _jar("liveshelf-guard", [GUARD], {service: b"liveshelf.RestGuard\n"})


def _jar(name: str, sources: list[Path], files: dict[str, bytes]) -> Path:
    """Return the jar of these classes and files; its name holds the hash of all of it."""
    digest = hashlib.sha256(b"".join(files.values()))
    for source in sources:
        digest.update(source.read_bytes())
    jar = jars.cache_dir() / "jvm" / f"{name}-{digest.hexdigest()[:16]}.jar"
    if not jar.is_file():
        _pack(sources, files, jar)
    return jar


def compiled_beside(folder: Path, *sources: Path) -> str:
    """Compile classes of tests or benchmarks into `folder`; return a class path of them and the jobs' classes."""
    libraries = [str(contract_jar()), str(guard_jar()), *_libraries()]
    _compile(list(sources), libraries, folder)
    return os.pathsep.join([str(folder), *libraries])


def run_beside(classpath: str, name: str, *arguments: object, told: str = "") -> str:
    """Run the class `name` of `compiled_beside` with `told` on its stdin, and return what it prints."""
    command = [str(JAVA), "-cp", classpath, f"liveshelf.{name}", *map(str, arguments)]
    return subprocess.run(command, input=told, capture_output=True, text=True, check=True).stdout


def _libraries() -> list[str]:
    import pyflink

    return [*map(str, (Path(pyflink.__file__).parent / "lib").glob("*.jar")), str(jars.flink_kafka_connector())]


def _compile(sources: list[Path], libraries: list[str], folder: Path) -> None:
    options = ["-source", "17", "-target", "17", "-nowarn", "-cp", os.pathsep.join(libraries), "-d", str(folder)]
    command = [str(JAVA), "-jar", str(jars.compiler()), *options, *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ServiceError(
            f"the JVM part doesn't compile: {done.stdout}{done.stderr}", "report this with your Java version"
        )


def _pack(sources: list[Path], files: dict[str, bytes], jar: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _compile(sources, _libraries(), Path(folder))
        for name, content in files.items():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_bytes(content)
        partial = Path(folder, "liveshelf.jar")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and path != partial:
                    archive.write(path, path.relative_to(folder))
        jar.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(partial, jar.with_suffix(".partial"))
        jar.with_suffix(".partial").replace(jar)


def main(lib: Path) -> None:
    """Put what a cluster needs beside Flink's own jars into its `lib` folder (see docker/Dockerfile)."""
    for jar in (contract_jar(), guard_jar(), jars.flink_kafka_connector(), jars.python_jar()):
        print(shutil.copy(jar, lib))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
