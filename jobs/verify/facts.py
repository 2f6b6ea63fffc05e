"""The oracle of item facts: what each topic says of each item now, from its records, in plain Python.

A record replaces the item's one before it as a whole, a tombstone takes it away, and a refused one changes nothing.
Once Kafka has compacted a topic, the record before a refused one is gone, though the job has written it. Then nobody
can say what the online store should hold: such an item is `unsure`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from jobs.connect.kafka_read import Position, Record, read_slice, stream
from jobs.contract import items
from jobs.contract.items import FactContract, Refusal
from jobs.contract.letters import Letter, exact
from jobs.errors import DataError
from jobs.verify.checked import Checked, now_ms
from jobs.verify.conservation import one_of
from jobs.verify.fact_history import FactHistory
from jobs.verify.features import Key, Row
from jobs.verify.parts import Expected
from jobs.verify.report import Kind, Report
from jobs.verify.sample import Sample
from jobs.verify.views import View

KINDS: Mapping[str, items.Kind] = {"String": "string", "Int64": "int", "Float64": "float", "Bool": "bool"}
ALWAYS_MS = 2**62  # facts reach back to no event
GOING_MS = 60_000  # a removed item's version stays in Redis for some seconds
LETTERS_MS = 6 * 86_400_000  # Kafka keeps letters for a week by default, and the refused record for good
CHANGED = "changed while it was compared, or a refused record is all that is left of the item"
OLD_LETTER = "its letter may have been taken by retention"


class FactLetter(Letter):
    """A letter about a record of item facts; `key` is null where it isn't UTF-8."""

    key: str | None = None
    key_base64: str | None = None

    @property
    def key_bytes(self) -> bytes:
        return exact(self.key, self.key_base64)


@dataclass
class Told:
    """What a topic says: the newest record of each item that is known, and the time of each tombstone.

    `unsure` are items of which a refused record is all that is left. `places` are all records that were read.
    """

    topic: str
    known: dict[str, tuple[items.Fields, int]] = field(default_factory=dict)  # fields and the record's time
    gone_ms: dict[str, int] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    refused: dict[Position, tuple[Refusal, Record]] = field(default_factory=dict)
    places: set[Position] = field(default_factory=set)
    end: dict[int, int] = field(default_factory=dict)

    def rows(self, view: View, sample: Sample) -> dict[Key, Row]:
        """Return the row of each item in the sample that a view of this topic should have."""
        names = [aggregate.feature for aggregate in view.aggregates]
        return {
            (item_id,): Row(time_ms, {name: fields.get(name) for name in names}, ALWAYS_MS)
            for item_id, (fields, time_ms) in self.known.items()
            if sample.holds(item_id)
        }


def tell(contract: FactContract, records: Iterable[Record]) -> Told:
    """Walk a topic's records in their order."""
    told = Told(contract.topic)
    for record in records:
        told.places.add(record.position)
        told.end[record.partition] = record.offset + 1
        fact = items.parse(contract, record.key, record.value)
        if isinstance(fact, Refusal):
            told.refused[record.position] = fact, record
            item_id = items.item_of(record.key)
            if isinstance(item_id, str) and item_id not in told.known.keys() | told.gone_ms.keys():
                told.unsure.add(item_id)
            continue
        told.unsure.discard(fact.item_id)
        told.gone_ms.pop(fact.item_id, None)
        told.known.pop(fact.item_id, None)
        if fact.fields is None:
            told.gone_ms[fact.item_id] = record.timestamp_ms
        else:
            told.known[fact.item_id] = fact.fields, record.timestamp_ms
    return told


class Facts:
    """What all topics of facts say that a view reads, as of one moment."""

    def __init__(self, checked: Checked) -> None:
        """Read the topics to their ends. Raises ServiceError."""
        self._bootstrap = checked.runtime.kafka_bootstrap
        own = own_fields(checked.facts)
        self._told = {
            contract.topic: tell(contract, stream(self._bootstrap, contract.topic, must_exist=False))
            for contract in all_contracts(checked)
            if contract.topic in own
        }
        self.expected = {
            view.name: Expected(self._told[view.topic].rows(view, checked.sample)) for view in checked.facts
        }

    @property
    def items(self) -> int:
        """Return of how many items something is known."""
        return len(set().union(*(told.known for told in self._told.values())))

    @property
    def ever_said(self) -> bool:
        """Return True if a record of facts stands anywhere. Until then, no hash of an item lives longer for facts."""
        return any(told.places for told in self._told.values())

    def unsure(self) -> set[Key]:
        """Return the items of which nothing can be said, with those that changed after the topics were read."""
        return {(item_id,) for told in self._told.values() for item_id in told.unsure} | self._changed()

    def going(self) -> set[Key]:
        """Return the items that were removed a moment ago: what is left of them in Redis is about to go."""
        since_ms = now_ms() - GOING_MS
        gone = (told.gone_ms.items() for told in self._told.values())
        return {(item_id,) for each in gone for item_id, time_ms in each if time_ms >= since_ms}

    def _changed(self) -> set[Key]:
        changed: set[Key] = set()
        for told in self._told.values():
            later = read_slice(self._bootstrap, told.topic, told.end, must_exist=False).records
            changed |= {(item_id,) for each in later if isinstance(item_id := items.item_of(each.key), str)}
        return changed

    def compare_letters(self, report: Report, topic: str) -> None:
        """Check that each refused record has a letter, with its reason, its key and its bytes, and no other has one."""
        letters: dict[tuple[str, Position], list[FactLetter]] = {}
        for record in read_slice(self._bootstrap, topic, must_exist=False).records:
            try:
                letter = msgspec.json.decode(record.value or b"", type=FactLetter)
            except msgspec.DecodeError as error:
                place = f"partition {record.partition}, offset {record.offset}"
                what = f"{topic} holds at {place} what isn't a letter: {error}"
                raise DataError(what, "check the setting items_dead_topic") from error
            letters.setdefault((letter.topic, letter.position), []).append(letter)
        for told in self._told.values():
            of_topic = {place: about for (name, place), about in letters.items() if name == told.topic}
            _compare_letters(report, told, of_topic)


def _compare_letters(report: Report, told: Told, letters: Mapping[Position, list[FactLetter]]) -> None:
    for place in sorted(told.refused.keys() | (letters.keys() & told.places)):
        label, found = f"{told.topic}, partition {place[0]}, offset {place[1]}", letters.get(place, [])
        refusal, record = told.refused.get(place, (None, None))
        if record and not found and record.timestamp_ms < now_ms() - LETTERS_MS:
            report.not_compared[OLD_LETTER] += 1
            continue
        kind: Kind = "wrong_letter" if record and found else "missing_letter" if record else "extra_letter"
        verdict = tuple(refusal) if refusal else None
        report.compare("items_dead:reason", label, verdict, one_of({each.verdict for each in found}), kind=kind)
        if record and found:
            original = one_of({(each.key_bytes, each.bytes) for each in found})
            report.compare(
                "items_dead:original", label, (record.key or b"", record.value or b""), original, kind="wrong_letter"
            )


def fact_history(checked: Checked) -> FactHistory:
    """Return what was known of each item at any moment, by all topics that workers follow. Raises ServiceError."""
    bootstrap = checked.runtime.kafka_bootstrap
    return FactHistory(
        {each: stream(bootstrap, each.topic, must_exist=False) for each in all_contracts(checked)}, now_ms()
    )


def all_contracts(checked: Checked) -> list[FactContract]:
    settings = checked.settings
    return items.contracts(settings.items_topic, settings.offers_topic, own_fields(checked.facts))


def own_fields(views: Iterable[View]) -> dict[str, dict[str, items.Kind]]:
    """Return the fields that views of facts read, by topic. Of the contract's fields it keeps its own limits."""
    fields: dict[str, dict[str, items.Kind]] = {}
    for view in views:
        kinds = {each.feature: KINDS[each.dtype] for each in view.aggregates if each.dtype in KINDS}
        fields.setdefault(view.topic, {}).update(kinds)
    return fields
