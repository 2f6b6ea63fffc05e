"""Activations and rollbacks of the model under load: how long each version's first list takes."""

import math
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from jobs.connect.kafka_read import Record
from jobs.lab.bench.workplace import MODEL
from models.serving.registry import Active, Registry

VERSIONS = 3
PAUSE_S = 2.5  # from one to the next


class Swaps(msgspec.Struct, frozen=True):
    """How often the version changes: activations first, then rollbacks."""

    activations: int
    rollbacks: int

    @property
    def seconds(self) -> float:
        return (self.activations + self.rollbacks) * PAUSE_S


class Made(msgspec.Struct, frozen=True):
    """A list in the log: the version that computed it, and when."""

    model: str
    computed_at_ms: int


def registry_of(folder: Path) -> Registry:
    """Return a registry of the measured model under several names, each a version of its own; one is active."""
    registry = Registry(folder)
    with TemporaryDirectory() as copies:
        for number in range(VERSIONS):
            copy = Path(shutil.copytree(MODEL, Path(copies, str(number))))
            manifest = msgspec.json.decode((copy / "manifest.json").read_bytes())
            (copy / "manifest.json").write_bytes(msgspec.json.encode(manifest | {"name": f"version{number}"}))
            registry.publish(copy)
    registry.activate(registry.versions()[0].version)
    return registry


def swap(registry: Registry, swaps: Swaps) -> list[Active]:
    """Activate one version after another, `PAUSE_S` apart, then roll back; return what was active, in order."""
    names = [version.version for version in registry.versions()]
    history, started_s = [], time.monotonic()
    for number in range(1, swaps.activations + swaps.rollbacks + 1):
        activates = number <= swaps.activations
        history.append(registry.activate(names[number % VERSIONS]) if activates else registry.rollback())
        time.sleep(max(0.0, started_s + number * PAUSE_S - time.monotonic()))
    return history


def first_list_ms(log: Iterable[Record], history: Sequence[Active]) -> list[int]:
    """Return the time from each activation to when the first list by its version was computed, in ms.

    A version that computed no list before the next one was activated is left out.
    """
    lists = [msgspec.json.decode(record.value, type=Made) for record in log]
    ends_ms = [*(active.activated_at_ms for active in history[1:]), math.inf]
    delays_ms = []
    for active, end_ms in zip(history, ends_ms, strict=True):
        times_ms = [one.computed_at_ms for one in lists if one.model == active.version]
        within_ms = [time_ms for time_ms in times_ms if active.activated_at_ms <= time_ms < end_ms]
        delays_ms += [min(within_ms) - active.activated_at_ms] if within_ms else []
    return delays_ms
