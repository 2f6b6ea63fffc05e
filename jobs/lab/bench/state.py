"""Measure what an entity's state takes: bytes of heap, and bytes in a checkpoint.

    python -m jobs.lab.bench.state

States are made as the jobs make them, and held as Flink's heap backend holds them, without a cluster
(`StateBench.java`). Sizes at two numbers of events give what the entity takes and what an event adds. It ends in a
minute.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec

from jobs.features import lint, sql
from jobs.features.definitions import from_files
from jobs.features.plan import FeaturePlan
from jobs.jvm import build
from jobs.jvm.java import JAVA
from jobs.lab.bench.memory import machine
from jobs.settings import Settings

HERE = Path(__file__).parent
LIMITS = ("-Xms1g", "-Xmx1g", "-XX:+UseSerialGC")  # a collection that leaves nothing behind


class Size(NamedTuple):
    """Bytes of one entity's state."""

    heap: float
    checkpoint: float

    def line(self, other: "Size", steps: int) -> "Size":
        """Return the bytes of one step, of which `other` has so many more."""
        return Size(*((there - here) / steps for here, there in zip(self, other, strict=True)))

    def without(self, step: "Size", steps: int) -> "Size":
        return Size(*(whole - steps * one for whole, one in zip(self, step, strict=True)))


class StateSizes:
    """Ask `StateBench` for sizes of states."""

    def __init__(self, folder: Path, plan: FeaturePlan, cap: int) -> None:
        self._classpath = build.compiled_beside(folder, HERE / "BotBench.java", HERE / "StateBench.java")
        self._features = {
            "sliding" if operator.slide_ms else "trailing": sql.feature_list(operator) for operator in plan.operators()
        }
        self._cap = cap

    def of(self, kind: str, entities: int, events: int, slides: int = 1) -> Size:
        """Return the mean size of a state of a `kind` with so many events, over so many entities."""
        told = [kind, self._features.get(kind, "-"), self._cap, entities, events, slides]
        command = [str(JAVA), *LIMITS, "-cp", self._classpath, "liveshelf.StateBench", *map(str, told)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return Size(*map(float, answer.split()))


def measured(sizes: StateSizes) -> dict[str, Size]:
    """Return the coefficients of `StateCost` (`jobs/lab/budget/coefficients.py`)."""
    single, few, many = (sizes.of("trailing", *each) for each in ((20_000, 1), (6_000, 10), (500, 400)))
    event = few.line(many, 390)
    session_event = single.line(few, 9).without(event, 1)
    slow, fast = sizes.of("sliding", 3_000, 100, 100), sizes.of("sliding", 6_000, 100, 10)
    crowd = sizes.of("sliding", 300, 1_000, 100)
    slide, visitor = fast.line(slow, 90), slow.line(crowd, 900)
    short, long = sizes.of("history", 20_000, 10), sizes.of("history", 6_000, 50)
    visit = short.line(long, 40)
    small, large = sizes.of("ids", 20_000, 100), sizes.of("ids", 3_000, 1_000)
    an_id = small.line(large, 900)
    return {
        "visitor": single.without(event, 1).without(session_event, 1),
        "session_event": session_event,
        "visitor_event": event,
        "entity": fast.without(slide, 10).without(visitor, 100),
        "entity_slide": slide,
        "entity_visitor": visitor,
        "history": short.without(visit, 10),
        "history_event": visit,
        "bucket": small.without(an_id, 100),
        "id": an_id,
    }


def main() -> None:
    settings = Settings()
    plan = lint.checked(settings, from_files(settings))
    with tempfile.TemporaryDirectory() as folder:
        sizes = measured(StateSizes(Path(folder), plan, settings.max_window_events))
    result = {"machine": machine(), **{name: [round(each, 1) for each in size] for name, size in sizes.items()}}
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n")


if __name__ == "__main__":
    main()
