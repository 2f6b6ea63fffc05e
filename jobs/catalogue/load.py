"""Write what rows say of the shop's items, as far as it isn't known already."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from jobs.catalogue.change import Said, changes
from jobs.connect import fact_topics
from jobs.connect.fact_topics import Change
from jobs.contract.items import FactContract


def load(
    bootstrap: str, contracts: Sequence[FactContract], rows: Iterable[tuple[str, Said]], dry_run: bool = False
) -> Counter[str]:
    """Return how many records were written, or would be, by topic. Raise ServiceError if Kafka doesn't answer."""
    known = {contract.topic: fact_topics.read(bootstrap, contract) for contract in contracts}
    written: Counter[str] = Counter(dict.fromkeys(known, 0))

    def counted() -> Iterator[Change]:
        for change in changes(contracts, known, rows):
            written[change.topic] += 1
            yield change

    if dry_run:
        for _ in counted():
            pass
    else:
        fact_topics.send(bootstrap, list(known), counted(), time.time_ns() // 1_000_000)
    return written
