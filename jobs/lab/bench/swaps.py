"""Ten activations and two rollbacks under load: when a version's first list is there."""

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

ACTIVATIONS, ROLLBACKS = 10, 2
VERSIONS = 3
PAUSE_S = 2.5  # from one to the next
SECONDS = (ACTIVATIONS + ROLLBACKS) * PAUSE_S


class Made(msgspec.Struct, frozen=True):
    """What the log says of a list: which version made it, and when."""

    model: str
    computed_at_ms: int


def registry_of(folder: Path) -> Registry:
    """A registry of the measured model under several names, each of which makes it another version; one is active."""
    registry = Registry(folder)
    with TemporaryDirectory() as copies:
        for number in range(VERSIONS):
            copy = Path(shutil.copytree(MODEL, Path(copies, str(number))))
            manifest = msgspec.json.decode((copy / "manifest.json").read_bytes())
            (copy / "manifest.json").write_bytes(msgspec.json.encode(manifest | {"name": f"version{number}"}))
            registry.publish(copy)
    registry.activate(registry.versions()[0].version)
    return registry


def swap(registry: Registry) -> list[Active]:
    """Activate one version after another, `PAUSE_S` apart, then roll back; takes `SECONDS`."""
    names = [each.version for each in registry.versions()]
    made, started_s = [], time.monotonic()
    for number in range(1, ACTIVATIONS + ROLLBACKS + 1):
        made.append(registry.activate(names[number % VERSIONS]) if number <= ACTIVATIONS else registry.rollback())
        time.sleep(max(0.0, started_s + number * PAUSE_S - time.monotonic()))
    return made


def first_list_ms(log: Iterable[Record], made: Sequence[Active]) -> list[int]:
    """The time from each activation to when the first list by its version was computed.

    A version that made no list before the next one was activated is left out.
    """
    lists = [msgspec.json.decode(record.value, type=Made) for record in log]
    ends_ms = [*(each.activated_at_ms for each in made[1:]), math.inf]
    taken_ms = []
    for active, end_ms in zip(made, ends_ms, strict=True):
        times_ms = [each.computed_at_ms for each in lists if each.model == active.version]
        within_ms = [each for each in times_ms if active.activated_at_ms <= each < end_ms]
        taken_ms += [min(within_ms) - active.activated_at_ms] if within_ms else []
    return taken_ms
