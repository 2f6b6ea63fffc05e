"""Say how many visitors, items and categories the jobs hold, and how much of the heap that takes."""

from typing import NamedTuple

from jobs.connect import flink_rest

BYTES_OF_ENTITY = 3500  # measured: 3,650 for a visitor with one event, 3,000 for an item (jobs/lab/budget)
BYTES_OF_CONSENT = 400  # measured: 200 for a denial, 185 for a grant, and both jobs hold all of them
HEAP_SHARE = 0.5  # of the heap for entities; the rest is for windows of many events, and for garbage


class Held(NamedTuple):
    """The entities that came and didn't go since the job began to run, and the visitors who said what they agree to.

    The latter stay for good: whoever denies, whether the visitor exists or not.
    """

    entities: int
    visitors: int

    @property
    def heap_mb(self) -> float:
        """What they take of the heap, about."""
        return (self.entities * BYTES_OF_ENTITY + self.visitors * BYTES_OF_CONSENT) / 1e6

    def fits(self, task_heap_mb: float) -> bool:
        return self.heap_mb <= HEAP_SHARE * task_heap_mb

    def __str__(self) -> str:
        said = f"{self.entities:,} since the job began to run, and consents of {self.visitors:,} visitors"
        return f"{said}, about {self.heap_mb:,.0f} MB"


def held(metrics_urls: list[str], visitors: int) -> Held:
    """Return what the job's metrics say. An entity is counted once for each operator that has a state of it.

    `visitors` are those of whom the consent topic says something. Raises `requests.RequestException`.
    """
    came, gone = (flink_rest.operator_counter(metrics_urls, name) for name in ("entities_new", "entities_gone"))
    # After a restart more may go than came: those of the checkpoint.
    return Held(max(0, came - gone), visitors)
