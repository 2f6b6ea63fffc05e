"""Archives of classes, with a real JVM: Kafka's broker."""

import subprocess
from pathlib import Path

import pytest

from jobs.cluster import archive, runtime
from jobs.jvm import jars, java
from jobs.settings import Settings
from tests.support.waiting import eventually

CLASS = "org.apache.kafka.common.Uuid"  # a broker loads it, and the tool below


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a broker wrote that had no archive, when the keeper's part asked it to."""
    folder = tmp_path_factory.mktemp("archives")
    settings = Settings(state_dir=folder / "own", kafka_port=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "FOLDER", folder / "classes")
        patch.setattr(archive, "SETTLED_S", 0)
        patch.setattr(archive, "LOOK_EVERY_S", 0)
        try:
            runtime.up(settings, ["kafka"])
            (folder / "classes").mkdir()
            (folder / "classes" / "kafka-of-other-jars.jsa").touch()
            archives = archive.Archives(settings.state_dir)
            eventually(lambda: "kafka-" in archives.look(), within_s=120)
            assert archives.look() == ""
            (file,) = (folder / "classes").iterdir()
        finally:
            runtime.down(settings)
    return file


def uuid(*options: str) -> list[str]:
    """What Kafka's tool says, which makes an id; it uses the same jars."""
    command = [
        java.JAVA,
        *options,
        "-cp",
        ":".join(map(str, jars.kafka_classpath())),
        "kafka.tools.StorageTool",
        "random-uuid",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_what_jvm_has_loaded_next_one_takes_from_the_archive(written: Path) -> None:
    loaded = uuid(archive.OPTION + str(written), *archive.SAFE, "-Xlog:class+load")

    (found,) = [line for line in loaded if f" {CLASS} source: " in line]
    assert found.endswith("source: shared objects file")


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "other"])
def test_a_missing_or_damaged_archive_is_left_out_silently(written: Path, tmp_path: Path, damage: str) -> None:
    """An archive that is missing or damaged is left out without a word."""
    content, file = bytearray(written.read_bytes()), tmp_path / "damaged.jsa"
    middle = len(content) // 2
    content[middle] ^= 0xFF
    damaged = {"cut": content[:middle], "flipped": content, "other": b"something else"}
    if damage != "missing":
        file.write_bytes(damaged[damage])

    lines = uuid(archive.OPTION + str(file), *archive.SAFE, "-Xlog:class+load")

    assert not [line for line in lines if line.endswith("source: shared objects file")]
    assert [line for line in lines if f" {CLASS} source: jar" in line or f" {CLASS} source: file" in line]
