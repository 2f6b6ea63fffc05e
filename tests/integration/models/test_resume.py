"""A training that was interrupted goes on from its last epoch, and ends with the same graph."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from jobs.cli import app  # noqa: E402
from jobs.errors import ModelError, SettingsError  # noqa: E402
from jobs.settings import REPOSITORY  # noqa: E402
from models.runs.export_weights import default_out, export_weights  # noqa: E402
from models.serving.bundle import load_bundle  # noqa: E402
from models.session import saved as saving  # noqa: E402
from models.session.train import _is_stalled  # noqa: E402
from models.session.watch import Watch  # noqa: E402
from tests.support.small_training import RECIPE, sessions, train  # noqa: E402


class CutError(Exception):
    """Ends a training where a test wants it."""


def graph_of(folder: Path) -> str:
    return hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()


def manifest_of(folder: Path) -> dict:
    """The manifest without what the clock measured."""
    manifest: dict[str, Any] = dict(load_bundle(folder).manifest)
    training = manifest["training"] | {"train_s": 0}
    metrics = {scorer: values | {"seconds": 0} for scorer, values in manifest["metrics"].items()}
    return manifest | {"training": training, "metrics": metrics}


def cut_at(line: str):
    def tell(told: str) -> None:
        if line in told:
            raise CutError

    return tell


def cut_short(out: Path, line: str, **how: object) -> Path:
    """A training that ended when a line was told; returns its folder."""
    with pytest.raises(CutError):
        train(out, cut_at(line), **how)
    return saving.place_of(out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The bundle of a training that wasn't interrupted."""
    out = tmp_path_factory.mktemp("whole") / "shop"
    train(out)
    return out


STAGES = {
    "in the first epoch": "epoch 1 of 3",
    "after an epoch of the teaching part": "epoch 2 of 3",
    "when the memory is chosen": "memory, sessions",
    "when the trial bundle is written": "need up to",
    "before the last epoch of all sessions": "all sessions, epoch 3",
    "after an epoch of all sessions": "all sessions, epoch 2",
}


@pytest.mark.parametrize("line", STAGES.values(), ids=STAGES)
def test_a_training_cut_anywhere_ends_with_the_same_graph(whole, tmp_path, line):
    cut_short(tmp_path / "shop", line)
    assert not (tmp_path / "shop").exists()
    train(tmp_path / "shop", resume=True)
    assert graph_of(tmp_path / "shop") == graph_of(whole)
    assert manifest_of(tmp_path / "shop") == manifest_of(whole)
    assert not saving.place_of(tmp_path / "shop").exists()


def lines(out: Path) -> list[str]:
    told: list[str] = []
    train(out, told.append)
    return told


def test_what_is_done_is_not_done_again(tmp_path):
    cut_short(tmp_path / "shop", "all sessions, epoch 3")
    told: list[str] = []
    epochs: list[tuple[str, int]] = []
    watch = Watch(epoch=lambda part, number, _: epochs.append((part, number)))
    train(tmp_path / "shop", told.append, watch=watch, resume=True)
    assert [line.partition(":")[0] for line in told if "epoch" in line] == [
        "goes on from all sessions, epoch 2 of 3", "all sessions, epoch 3 of 3"
    ]  # fmt: skip
    assert epochs == [(part, epoch) for part in ("teaching part", "all sessions") for epoch in (1, 2, 3)]


def test_a_killed_process_goes_on(whole, tmp_path):
    """SIGKILL, as when memory runs out: nothing is cleaned up."""
    command = [sys.executable, "-m", "tests.support.small_training", tmp_path / "shop"]
    where = {"cwd": REPOSITORY, "capture_output": True, "text": True, "env": dict(os.environ)}
    killed = subprocess.run([*command, "--die-at", "all sessions, epoch 2"], check=False, **where)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    subprocess.run([*command, "--resume"], check=True, **where)
    assert graph_of(tmp_path / "shop") == graph_of(whole)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"seed": 2}, r"seed was 1 and is 2"),
        ({"minutes": 1.0}, r"minutes was 600.0 and is 1.0"),
        ({"threads": 3}, r"threads was \d+ and is 3"),
        ({"clicks": sessions(seed=2)}, r"sessions was '[0-9a-f]{64}' and is"),
        ({"recipe": RECIPE._replace(alpha=0.25)}, r"recipe's alpha was 0.5 and is 0.25"),
    ],
)  # fmt: skip
def test_another_training_is_not_gone_on_with(tmp_path, how, named):
    folder = cut_short(tmp_path / "shop", "epoch 2 of 3")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(SettingsError, match=rf"holds another training: .*{named}"):
        train(tmp_path / "shop", resume=True, **how)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_there_must_be_something_to_go_on_with(tmp_path):
    with pytest.raises(SettingsError, match=r"shop\.training holds no interrupted training"):
        train(tmp_path / "shop", resume=True)


def test_without_resume_it_begins_anew_and_says_so(tmp_path, whole):
    cut_short(tmp_path / "shop", "epoch 2 of 3")
    told = lines(tmp_path / "shop")
    assert any("interrupted training (teaching part, epoch 1 of 3), which is begun anew" in line for line in told)
    assert any(line.startswith("epoch 1 of 3") for line in told)
    assert graph_of(tmp_path / "shop") == graph_of(whole)


def test_a_file_of_somebody_else_stays(tmp_path):
    (tmp_path / "shop.training").mkdir()
    (tmp_path / "shop.training" / "notes").write_text("mine")
    train(tmp_path / "shop")
    assert [file.name for file in (tmp_path / "shop.training").iterdir()] == ["notes"]


@pytest.mark.parametrize(
    ("line", "epoch", "has_memory"),
    [
        ("epoch 3 of 3", "teaching part, epoch 2 of 3", False),
        ("all sessions, epoch 1", "teaching part, epoch 3 of 3", True),
        ("all sessions, epoch 3", "all sessions, epoch 2 of 3", True),
    ],
)  # fmt: skip
def test_the_newest_weights_become_a_bundle(tmp_path, line, epoch, has_memory):
    folder = cut_short(tmp_path / "shop", line)
    before = sorted(file.name for file in folder.iterdir())
    told: list[str] = []
    version = export_weights(folder, tmp_path / "so-far", told.append)
    bundle = load_bundle(tmp_path / "so-far")
    assert bundle.version == version
    assert bundle.manifest["training"]["interrupted"] == epoch
    assert told[0] == f"{folder} holds {epoch}, {'with' if has_memory else 'without'} its memory"
    assert sorted(file.name for file in folder.iterdir()) == before


def test_the_last_epoch_exported_is_the_bundle_that_training_makes(tmp_path, whole):
    """The weights are there until the bundle stands: here its writing fails."""
    out = tmp_path / "shop"
    out.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="shop"):
        train(out)
    out.unlink()
    export_weights(saving.place_of(out), tmp_path / "exported", lambda _: None)
    assert graph_of(tmp_path / "exported") == graph_of(whole)


def test_a_bundle_is_not_replaced_unasked(tmp_path, whole):
    with pytest.raises(SettingsError, match=r"holds something already\n  fix: say with --out"):
        default_out(whole.with_name("shop.training"))
    assert default_out(tmp_path / "new.training") == tmp_path / "new"


def test_command_exports_to_the_folder_that_the_training_named(tmp_path):
    folder = cut_short(tmp_path / "shop", "all sessions, epoch 2")
    answer = CliRunner().invoke(app, ["models", "export", str(folder)])
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.strip() == load_bundle(tmp_path / "shop").version


def test_a_folder_without_an_epoch_has_nothing_to_export(tmp_path):
    folder = cut_short_before_first_epoch(tmp_path / "shop")
    with pytest.raises(ModelError, match="holds no weights"):
        export_weights(folder, tmp_path / "so-far", lambda _: None)


def cut_short_before_first_epoch(out: Path) -> Path:
    def recipe(_: dict) -> None:
        raise CutError

    with pytest.raises(CutError):
        train(out, watch=Watch(recipe=recipe))
    return saving.place_of(out)


def test_a_full_disk_is_told_once_and_ends_nothing(tmp_path, monkeypatch, whole):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving.os, "fsync", full)
    told = lines(tmp_path / "shop")
    (line,) = [line for line in told if "No space left" in line]
    assert line.startswith(f"{tmp_path / 'shop.training'} can't be written (No space left on device)")
    assert graph_of(tmp_path / "shop") == graph_of(whole)


def test_too_little_disk_is_refused_before_training(tmp_path, monkeypatch):
    usage = saving.shutil._ntuple_diskusage(100, 99, 1)
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SettingsError, match=r"has 0 MB free, and a training of these items needs"):
        train(tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("quality", "stalled"),
    [([], False), ([0.1] * 5, False), ([0.1] * 6, True), ([0.1, 0.2, 0.1, 0.2, 0.1, 0.1], False)],
)
def test_training_stops_five_epochs_after_its_first_best(quality, stalled):
    assert _is_stalled([{"mrr@20": value} for value in quality]) is stalled
