"""Archives of classes, with a real JVM: Kafka's broker."""

import subprocess
import time
from pathlib import Path

import pytest

from jobs.cluster import archive, jars, java, runtime
from jobs.settings import Settings

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
            archives = archive.Archives(settings.state_dir)
            assert "kafka-" in archives.look()
            deadline_s = time.monotonic() + 120
            while not (files := list((folder / "classes").glob("*.jsa"))):
                assert time.monotonic() < deadline_s
                time.sleep(0.1)
            assert archives.look() == ""
        finally:
            runtime.down(settings)
    (file,) = files
    return file


def uuid(*options: str) -> list[str]:
    """What Kafka's tool says, which makes an id; it uses the same jars."""
    command = [java.JAVA, *options, "-cp", ":".join(map(str, jars.kafka_classpath())), "kafka.tools.StorageTool", "random-uuid"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_what_a_jvm_has_loaded_the_next_one_takes_from_the_archive(written: Path) -> None:
    loaded = uuid(archive.OPTION + str(written), archive.QUIET, "-Xlog:class+load")

    (found,) = [line for line in loaded if f" {CLASS} source: " in line]
    assert found.endswith("source: shared objects file")


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_an_archive_that_is_missing_or_damaged_is_left_out_without_a_word(written: Path, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "damaged.jsa"
    if damage != "missing":
        content = written.read_bytes()
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"something else")

    assert len(uuid(archive.OPTION + str(file), archive.QUIET)) == 1
