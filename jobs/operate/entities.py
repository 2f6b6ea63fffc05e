"""Say how many visitors, items and categories the features job holds, and how much of the heap that takes."""

from typing import NamedTuple

from jobs.connect import flink_rest

BYTES_OF_ENTITY = 1400  # measured: 1,356 for an item with one event, without its key and timer
HEAP_SHARE = 0.5  # of the heap for entities; the rest is for windows of many events, and for garbage


class Held(NamedTuple):
    """The entities that came and didn't go since the job began to run, and what they take of the heap, about."""

    entities: int
    heap_mb: float

    def fits(self, task_heap_mb: float) -> bool:
        return self.heap_mb <= HEAP_SHARE * task_heap_mb

    def __str__(self) -> str:
        return f"{self.entities:,} since the job began to run, about {self.heap_mb:,.0f} MB"


def held(metrics_urls: list[str]) -> Held:
    """Return what the job's metrics say. An entity is counted once for each operator that has a state of it.

    Raises `requests.RequestException`.
    """
    came, gone = (flink_rest.operator_counter(metrics_urls, name) for name in ("entities_new", "entities_gone"))
    # After a restart more may go than came: those of the checkpoint.
    entities = max(0, came - gone)
    return Held(entities, entities * BYTES_OF_ENTITY / 1e6)
