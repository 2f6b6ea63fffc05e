"""Letters about records of item facts that were refused: what `items.dead` holds, and which records may be sent again.

Sent again, a record would replace what was said since. So one whose item has a newer record in its topic stays where it
is, unless it comes after that one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from jobs.connect.fact_topics import Change
from jobs.connect.kafka_read import stream
from jobs.contract.items import FactContract, Refusal, parse
from jobs.contract.letters import exact
from jobs.operate.dead_letters import Fix, Letter

NEWER = "a newer record of the item"
OTHER_TOPIC = "a topic that no view reads"


class FactLetter(Letter):
    """A letter with the refused record's key. `key` is null where it isn't UTF-8, or where there was none."""

    TOPIC_SETTINGS: ClassVar[str] = "setting items_dead_topic"

    key: str | None = None
    key_base64: str | None = None

    @property
    def place(self) -> str:
        """Return TOPIC/PARTITION-OFFSET of the record."""
        return f"{self.topic}/{self.partition}-{self.offset}"

    @property
    def key_bytes(self) -> bytes:
        return exact(self.key, self.key_base64)


def newest(bootstrap: str, topics: Iterable[str]) -> dict[tuple[str, bytes], int]:
    """Return the offset of each key's newest record, by topic and key."""
    return {
        (topic, record.key or b""): record.offset
        for topic in topics
        for record in stream(bootstrap, topic, must_exist=False)
    }


def check_again(
    letters: Iterable[FactLetter],
    fix: Fix,
    contracts: Sequence[FactContract],
    newest_offset: Mapping[tuple[str, bytes], int],
) -> tuple[list[Change], Counter[str]]:
    """Return the records that the contract takes now, and how many it refuses by "reason" or "reason field"."""
    by_topic = {contract.topic: contract for contract in contracts}
    ready: dict[tuple[str, str], Change] = {}  # of an item's refused records the last one
    refused: Counter[str] = Counter()
    for letter in letters:
        contract, key = by_topic.get(letter.topic), letter.key_bytes
        if contract is None:
            refused[OTHER_TOPIC] += 1
            continue
        if newest_offset.get((letter.topic, key), letter.offset) > letter.offset:
            refused[NEWER] += 1
            continue
        fact = parse(contract, key, fix.apply(letter.bytes))
        if isinstance(fact, Refusal):
            refused[" ".join(filter(None, fact))] += 1
        else:
            ready[letter.topic, fact.item_id] = Change(letter.topic, *fact)
    return list(ready.values()), refused
