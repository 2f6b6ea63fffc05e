"""Read what an event, a visitor, an item and a list cost, and where and when that was measured."""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jobs.errors import DataError
from jobs.lab.bench import compare

SHIPPED = Path(__file__).with_name("measured.json")
PROCESSES = ("task_manager", "python_worker", "redis", "broker")  # whose work grows with events
FIX = "name a file that `liveshelf bench --profile --json FILE` wrote"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where costs come from. `at` holds the sizes that they were measured at; beyond those they are extrapolated."""

    command: str
    machine: str
    date: str
    at: dict[str, float] = {}

    def __str__(self) -> str:
        return f"{self.command}, {self.machine}, {self.date}"


class Processor(Origin, frozen=True, kw_only=True):
    """Processor time in µs an event, by process, for each job; with `items` in the catalogue and no shelves."""

    features: dict[str, float]
    rankings: dict[str, float]
    items: int


class Catalogue(Origin, frozen=True, kw_only=True):
    """µs of a list in the model, by the number of items, rising."""

    list_us: list[tuple[int, float]]


class Size(NamedTuple):
    """Bytes of state: on the heap, and in a checkpoint."""

    heap: float
    checkpoint: float


class StateCost(Origin, frozen=True, kw_only=True):
    """State of the shipped definitions: of a visitor and each of its events, of an item or a category (an entity).

    An event of the visitor's last session takes so much more than another of the day. An entity has so much more for
    each minute in which something happened, and for each of its visitors. `history` is the ranker's, and `bucket` and
    `id` are the deduplication's.
    """

    visitor: Size
    session_event: Size
    visitor_event: Size
    entity: Size
    entity_slide: Size
    entity_visitor: Size
    history: Size
    history_event: Size
    bucket: Size
    id: Size


class RedisCost(Origin, frozen=True, kw_only=True):
    """Bytes of a key with all that belongs to it."""

    visitor: float
    item: float
    category: float
    list: float
    shelf_list: float


class LogCost(Origin, frozen=True, kw_only=True):
    """Bytes of a record's key and value."""

    event: float
    list: float
    shelf_list: float


class WorkerCost(Origin, frozen=True, kw_only=True):
    """Bytes of a Python worker by itself, and of each item's facts and model in each worker of the rankings job."""

    worker: float
    item_facts: float
    item_model: float


class ShelvesCost(Origin, frozen=True, kw_only=True):
    """All shipped shelves: how many times the processor time they take, lists an event, lists that a visitor has."""

    times: float
    lists_an_event: float
    lists_a_visitor: int


class Coefficients(msgspec.Struct, frozen=True, kw_only=True):
    """All costs that a plan is made of."""

    processor: Processor
    catalogue: Catalogue
    state: StateCost
    redis: RedisCost
    log: LogCost
    workers: WorkerCost
    shelves: ShelvesCost


def shipped() -> Coefficients:
    """Return the costs that come with the package."""
    return msgspec.json.decode(SHIPPED.read_bytes(), type=Coefficients)


def with_profile(known: Coefficients, file: Path) -> Coefficients:
    """Return `known` with the processor time of a stored result of the bench. The rest of it isn't in such a result.

    Raises DataError if the file holds no processor time of both jobs.
    """
    result = compare.load(file)
    processor = Processor(
        command=f"liveshelf bench, stored in {file.name}" + " (a quick run: rough)" * ("rough" in result),
        machine=f"{result['machine'].get('cores')} cores, {result['machine'].get('cpu')}",
        date=str(result["machine"].get("date")),
        at={"events/s": min(_rate(file, result, "features"), _rate(file, result, "rankings"))},
        features=_by_process(file, result, "features"),
        rankings=_by_process(file, result, "rankings"),
        items=known.processor.items,  # all benches serve the same bundle
    )
    return msgspec.structs.replace(known, processor=processor)


def _rate(file: Path, result: dict[str, Any], job: str) -> float:
    part = result.get(job)
    rate = part.get("events_per_s") if isinstance(part, dict) else None
    if not isinstance(rate, int | float) or rate <= 0:
        raise DataError(f"{file} holds no events_per_s of the {job} job", FIX)
    return rate


def _by_process(file: Path, result: dict[str, Any], job: str) -> dict[str, float]:
    taken_us = result[job].get("cpu_us_by_process")
    missing = [name for name in PROCESSES if not _is_time(taken_us, name)]
    if missing:
        raise DataError(f"{file} holds no processor time of the {job} job's {', '.join(missing)}", FIX)
    return {name: float(taken_us[name]) for name in PROCESSES}


def _is_time(taken_us: Any, name: str) -> bool:
    value = taken_us.get(name) if isinstance(taken_us, dict) else None
    return isinstance(value, int | float) and value > 0
