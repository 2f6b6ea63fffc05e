"""Write what rows, or one command, say of the shop's items, as far as it isn't known already."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from jobs.catalogue.change import Said, changes
from jobs.connect import fact_topics
from jobs.connect.fact_topics import Change, Known
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


def say_of(bootstrap: str, contracts: Sequence[FactContract], item_id: str, said: Said) -> list[Change]:
    """Write what is said of one item and return the records, when Kafka has them. None is written of what is so."""
    concerned = [contract for contract in contracts if any(contract.field(name) for name in said)]
    known = {contract.topic: _known_of(bootstrap, contract, item_id) for contract in concerned}
    made = list(changes(concerned, known, [(item_id, said)]))
    fact_topics.send(bootstrap, list(known), made, time.time_ns() // 1_000_000)
    return made


def _known_of(bootstrap: str, contract: FactContract, item_id: str) -> dict[str, Known]:
    known = fact_topics.read_one(bootstrap, contract, item_id)
    return {item_id: known} if known else {}
