"""Letters about records of item facts that were refused: read `items.dead`, and send their records again.

Sent again, a record would replace what was said since. So one whose item has a newer record in its topic stays where it
is, unless it comes after that one.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from jobs.connect.fact_topics import Change
from jobs.connect.kafka_read import read_slice, stream
from jobs.contract.items import FactContract, Refusal, parse
from jobs.errors import DataError
from jobs.operate.dead_letters import Fix, Letter

NEWER = "a newer record of the item"
OTHER_TOPIC = "a topic that no view reads"


class FactLetter(Letter):
    """A letter with the refused record's key. `key` is null where it isn't UTF-8, or where there was none."""

    key: str | None = None
    key_base64: str | None = None

    @property
    def place(self) -> str:
        """Return TOPIC/PARTITION-OFFSET of the record."""
        return f"{self.topic}/{self.partition}-{self.offset}"

    @property
    def key_bytes(self) -> bytes:
        return base64.b64decode(self.key_base64) if self.key_base64 is not None else (self.key or "").encode()


def read_letters(bootstrap: str, topic: str, reason: str = "") -> list[FactLetter]:
    """Return the letters in a topic, of one reason if it is named, in the order of their records.

    A record may have several letters; the first one is returned. Raises ServiceError if Kafka doesn't answer, DataError
    for a record that isn't a letter.
    """
    by_record: dict[tuple[str, int, int], FactLetter] = {}
    for record in read_slice(bootstrap, topic, must_exist=False).records:
        try:
            letter = msgspec.json.decode(record.value or b"", type=FactLetter)
        except msgspec.DecodeError as error:
            what = f"{topic} holds no letter at {record.partition}-{record.offset}: {error}"
            raise DataError(what, "check the setting items_dead_topic") from error
        by_record.setdefault((letter.topic, letter.partition, letter.offset), letter)
    letters = [by_record[place] for place in sorted(by_record)]
    return [letter for letter in letters if not reason or letter.reason == reason]


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
