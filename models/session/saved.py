"""Keep a training's weights beside its bundle, so that an interrupted one goes on, or is exported as it stands.

The folder `OUT.training` is made when a training begins and removed when its bundle is written:

| file             | what it holds                                                                                 |
|------------------|-----------------------------------------------------------------------------------------------|
| `progress.json`  | the arguments, the sessions' fingerprint, and what was decided so far (`Progress`)            |
| `PART.weights`   | after each epoch: weights, optimizer and generators (`Weights`); PART: `teaching`, `all`      |
| `PART.shop`      | the part's items and newest sessions, from which a bundle can be made (`Shop`)                |
| `PART.memory`    | the memory, once it is chosen                                                                 |

Each file is written beside its place and renamed. They are msgpack of declared types: nothing is unpickled.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from jobs.errors import ModelError, SettingsError
from models.clicks.dataset import Encoder, Session
from models.session.choose import Memory
from models.session.epochs import Training, load_weights, new_model
from models.session.gru import ItemMemory, SessionGRU
from models.session.head import Product
from models.session.recipe import Recipe
from models.session.segments import VISITORS
from models.session.words import ItemFacts

SUFFIX = ".training"
PROGRESS = "progress.json"
TITLES = {"teaching": "teaching part", "all": "all sessions"}
PARTS = tuple(TITLES)  # the later part is the newer one
FILES = (PROGRESS, *(f"{part}.{kind}" for part in PARTS for kind in ("weights", "shop", "memory")))
TRIAL = "trial"  # a bundle of the teaching part's model
KEPT_SESSIONS = VISITORS  # the newest, for the golden case, the questions and the segments of an export


class Array(msgspec.Struct, array_like=True):
    """A numpy array."""

    kind: str
    shape: tuple[int, ...]
    data: bytes


Arrays = dict[str, Array]


class Weights(msgspec.Struct):
    """A training after an epoch. `values` holds what was measured after each epoch so far."""

    epoch: int
    epochs: int
    values: list[dict[str, float]]
    arrays: Arrays
    generator: str  # numpy's, as JSON
    seconds: float  # of training so far, interruptions left out


class Shop(msgspec.Struct):
    """What a bundle needs of the sessions: each item's clicks, in the model's order, and the newest sessions."""

    clicks: dict[str, int]
    sessions: list[Session]


class Progress(msgspec.Struct):
    """The arguments of a training, and what it decided."""

    name: str
    settings: dict[str, Any]
    context_features: list[str]
    names: dict[str, str]
    source: dict[str, str]
    recipe: dict[str, Any] | None = None  # with the epochs that the time allows
    whole: int | None = None  # epochs of the recipe, were there time for all
    memory: dict[str, Any] | None = None
    newcomers: dict[str, float | int] | None = None
    reports: dict[str, Any] | None = None
    product: Product | None = None
    more: int | None = None


def place_of(out: Path) -> Path:
    """Return the folder of a training whose bundle goes to `out`: beside it, or in it where only `out` is writable."""
    around = out.absolute()
    inside = around.is_dir() and not os.access(around.parent, os.W_OK)
    return around / SUFFIX if inside else around.parent / f"{around.name}{SUFFIX}"


class Saved:
    """Write and read the folder of one training."""

    def __init__(self, folder: Path, progress: Progress, tell: Callable[[str], None]) -> None:
        self.folder, self.progress, self._tell = folder, progress, tell
        self._began, self._before_s, self._failed = time.monotonic(), 0.0, False

    @property
    def seconds(self) -> float:
        """Return how long the training took, with what it took before an interruption."""
        return self._before_s + time.monotonic() - self._began

    def decide(self, **values: Any) -> None:
        """Keep what was decided."""
        for name, value in values.items():
            setattr(self.progress, name, value)
        self._write(PROGRESS, msgspec.json.encode(self.progress))

    def begin(self, part: str, encoder: Encoder, sessions: list[Session]) -> None:
        """Keep what an export of this part needs beside weights."""
        self._write(f"{part}.shop", msgspec.msgpack.encode(Shop(encoder.clicks, sessions[-KEPT_SESSIONS:])))

    def epoch(self, part: str, training: Training, values: list[dict[str, float]]) -> None:
        """Keep the training as it stands."""
        arrays, generator = training.state()
        kept = {name: _packed(array) for name, array in arrays.items()}
        weights = Weights(training.epoch, training.epochs, values, kept, json.dumps(generator), self.seconds)
        self._write(f"{part}.weights", msgspec.msgpack.encode(weights))

    def memory(self, part: str, memory: ItemMemory | None) -> None:
        """Keep the memory's arrays, nothing where there is none."""
        arrays = (
            {}
            if memory is None
            else {name: _packed(value.cpu().numpy()) for name, value in memory.state_dict().items()}
        )
        self._write(f"{part}.memory", msgspec.msgpack.encode(arrays))

    def resume(self, part: str, training: Training) -> list[dict[str, float]]:
        """Set `training` to its last epoch that is kept, if there is one; return the values of all epochs so far."""
        file = self.folder / f"{part}.weights"
        if not file.is_file():
            return []
        weights = _read(file, Weights)
        arrays = {name: _unpacked(array) for name, array in weights.arrays.items()}
        training.load(weights.epoch, arrays, json.loads(weights.generator))
        self._before_s = max(self._before_s, weights.seconds)
        return weights.values

    def latest(self) -> str:
        """Return the newest part and epoch that are kept, "" if there is none."""
        for part in reversed(PARTS):
            if (self.folder / f"{part}.weights").is_file():
                weights = _read(self.folder / f"{part}.weights", Weights)
                return f"{TITLES[part]}, epoch {weights.epoch} of {weights.epochs}"
        return ""

    def remove(self) -> None:
        """Remove the folder's own files, and the folder if nothing else is in it."""
        _empty(self.folder)

    def _write(self, name: str, data: bytes) -> None:
        """Write a file and rename it. A disk that is full doesn't end a training: it is told once."""
        partial = self.folder / f"{name}.partial"
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.folder / name)
        except OSError as error:
            partial.unlink(missing_ok=True)
            if not self._failed:
                self._tell(
                    f"{self.folder} can't be written ({error.strerror}): an interruption would lose what follows"
                )
            self._failed = True


def opened(out: Path, progress: Progress, resume: bool, tell: Callable[[str], None], needed_bytes: int = 0) -> Saved:
    """Open the folder of a training whose bundle goes to `out`.

    Raises SettingsError where `resume` finds another training or none, where the folder can't be made, or where the
    disk has fewer than `needed_bytes` free.
    """
    folder = place_of(out)
    if resume:
        known = _known(folder)
        _compare(folder, known.settings, msgspec.to_builtins(progress.settings))
        saved = Saved(folder, known, tell)
        tell(f"goes on from {saved.latest() or 'the beginning: no epoch was over'}")
        return saved
    if (folder / PROGRESS).is_file():
        before = Saved(folder, progress, tell).latest() or "no epoch"
        tell(f"{folder} holds an interrupted training ({before}), which is begun anew; --resume goes on with it")
        _empty(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise SettingsError(
            f"{folder} can't be made ({error.strerror})", "give an --out that can be written"
        ) from error
    if free < needed_bytes:
        _empty(folder)
        raise SettingsError(
            f"{folder.parent} has {free >> 20:,} MB free, and a training of these items needs {needed_bytes >> 20:,}",
            "free some, give another --out, or raise --min-item-support",
        )
    saved = Saved(folder, progress, tell)
    saved.decide()
    return saved


def fingerprint_of(*parts: Iterable[Session] | None) -> str:
    """Return the sha256 of sessions, part by part."""
    digest = hashlib.sha256()
    for part in parts:
        for session in part or ():
            digest.update(msgspec.msgpack.encode(session))
        digest.update(b"\n")
    return digest.hexdigest()


def fingerprint_of_facts(facts: ItemFacts) -> str:
    """Return the sha256 of items' facts, whatever their order."""
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()


def restore_model(folder: Path) -> tuple[SessionGRU, Encoder, list[Session], Progress, str]:
    """Return the newest weights in the folder of a training as a model, its items and newest sessions, and what it is.

    Raises SettingsError for another folder, and ModelError for one without weights.
    """
    progress = _known(folder)
    part = next((part for part in reversed(PARTS) if (folder / f"{part}.weights").is_file()), None)
    if part is None or progress.recipe is None:
        raise ModelError(f"{folder} holds no weights: the first epoch wasn't over", "liveshelf train --resume")
    weights, shop = _read(folder / f"{part}.weights", Weights), _read(folder / f"{part}.shop", Shop)
    encoder = Encoder([], shop.clicks, progress.context_features)
    model = new_model(encoder, Recipe(**progress.recipe), 1).cpu()
    load_weights(model, {name: _unpacked(array) for name, array in weights.arrays.items()})
    if (folder / f"{part}.memory").is_file() and (kept := _read(folder / f"{part}.memory", Arrays)):
        model.memory = ItemMemory.of_arrays({name: _unpacked(array) for name, array in kept.items()})
    return model.eval(), encoder, shop.sessions, progress, f"{TITLES[part]}, epoch {weights.epoch} of {weights.epochs}"


def facts_of(progress: Progress) -> dict[str, Any]:
    """Return what a manifest tells of the training."""
    memory = Memory(**(progress.memory or {}))
    return progress.source | {"seed": progress.settings["seed"]} | (progress.recipe or {}) | memory.facts()


def _known(folder: Path) -> Progress:
    if not (folder / PROGRESS).is_file():
        raise SettingsError(
            f"{folder} holds no interrupted training",
            "name one that does, or the --out that was given before; train without --resume begins anew",
        )
    return _read(folder / PROGRESS, Progress)


def _compare(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    differ = [name for name in sorted(before | now) if before.get(name) != now.get(name)]
    if differ:
        told = ", ".join(f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in differ)
        raise SettingsError(
            f"{folder} holds another training: {told}",
            "give the same arguments and clicks, or leave --resume out to begin anew",
        )


def _read(file: Path, kind: Any) -> Any:
    module = msgspec.json if file.suffix == ".json" else msgspec.msgpack
    try:
        return module.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ModelError(f"{file} can't be read: {error}", "begin anew without --resume") from error


def _packed(array: np.ndarray) -> Array:
    return Array(array.dtype.str, array.shape, array.tobytes())


def _unpacked(array: Array) -> np.ndarray:
    values = np.frombuffer(array.data, array.kind) if array.data else np.zeros(0, array.kind)
    return values.reshape(array.shape).copy()  # torch wants to write


def _empty(folder: Path) -> None:
    for trial in (folder / TRIAL, folder / f".{TRIAL}.new"):
        shutil.rmtree(trial, ignore_errors=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
        (folder / f"{name}.partial").unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
