"""Dead letters: read those in `events.dead`, and send again what the contract takes now."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from jobs.connect import kafka_send
from jobs.connect.kafka_read import read_slice
from jobs.contract import letters
from jobs.contract.events import Event, Refusal, parse
from jobs.errors import DataError, SettingsError
from jobs.settings import Settings

EXCERPT = 80  # bytes of an event on one line


class Letter(letters.Letter):
    """A refused record, as the features job wrote it; `original` is null where its bytes aren't UTF-8."""

    refused_at_ms: int

    @property
    def place(self) -> str:
        """PARTITION-OFFSET of the record in the events topic."""
        return f"{self.partition}-{self.offset}"


class Ready(NamedTuple):
    """What is sent again: as it was, or corrected."""

    event: Event
    value: bytes


@dataclass(frozen=True)
class Fix:
    """Fields that are set and fields that are left out before a letter is checked again."""

    values: dict[str, Any] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()

    @classmethod
    def of(cls, assignments: Sequence[str], dropped: Sequence[str]) -> "Fix":
        """From FIELD=VALUE texts: a VALUE that reads as JSON is that (5, null), any other a string."""
        values = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals or not name:
                raise SettingsError(f"--set is {assignment!r}", "FIELD=VALUE, such as event_type=view")
            values[name] = _json_or_text(text)
        return cls(values, frozenset(dropped))

    def apply(self, original: bytes) -> bytes:
        """The corrected bytes; what is no JSON object stays as it is, and the check will say so."""
        if not self.values and not self.dropped:
            return original
        try:
            document = msgspec.json.decode(original)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return original
        if not isinstance(document, dict):
            return original
        kept = {name: value for name, value in document.items() if name not in self.dropped}
        return msgspec.json.encode(kept | self.values)


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def read_letters(settings: Settings, bootstrap: str, reason: str = "") -> list[Letter]:
    """All letters (of one reason, if named), each record once although delivery is at-least-once, in topic order.

    Raises ServiceError if Kafka doesn't answer, DataError for a record that is no letter.
    """
    found: dict[tuple[str, int, int], Letter] = {}
    for record in read_slice(bootstrap, settings.dead_topic, must_exist=False).records:
        try:
            letter = msgspec.json.decode(record.value or b"", type=Letter)
        except msgspec.DecodeError as error:
            what = f"{settings.dead_topic} holds no letter at {record.partition}-{record.offset}: {error}"
            raise DataError(what, "check LIVESHELF_DEAD_TOPIC") from error
        found.setdefault((letter.topic, letter.partition, letter.offset), letter)
    return [found[place] for place in sorted(found) if not reason or found[place].reason == reason]


def by_reason(letters: Iterable[Letter]) -> dict[tuple[str, str], list[Letter]]:
    """Letters by (reason, field), the most frequent first."""
    groups: dict[tuple[str, str], list[Letter]] = {}
    for letter in letters:
        groups.setdefault((letter.reason, letter.field), []).append(letter)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def excerpt(letter: Letter) -> str:
    """The beginning of the record, printable."""
    return repr(letter.bytes[:EXCERPT])[2:-1] + ("…" if len(letter.bytes) > EXCERPT else "")


def find(letters: Iterable[Letter], place: str) -> Letter:
    """The letter about the record at PARTITION-OFFSET; raises DataError if there is none."""
    letter = next((each for each in letters if each.place == place), None)
    if letter is None:
        raise DataError(f"no refused event came from {place!r}", "`liveshelf dead list --reason R` prints the places")
    return letter


def check_again(
    letters: Iterable[Letter], fix: Fix, max_skew_ms: int, now_ms: int | None = None
) -> tuple[list[Ready], Counter[str]]:
    """What the contract takes now, and why it refuses the rest: a count by "reason" or "reason field"."""
    ready, refused = [], Counter()
    for letter in letters:
        value = fix.apply(letter.bytes)
        event = parse(value, now_ms, max_skew_ms)
        if isinstance(event, Refusal):
            refused[" ".join(filter(None, event))] += 1
        else:
            ready.append(Ready(event, value))
    return ready, refused


def send(bootstrap: str, topic: str, ready: Iterable[Ready]) -> None:
    """Send events, keyed and dated as the contract says; returns when Kafka has them, or raises ServiceError."""
    with closing(kafka_send.connect(bootstrap, topic, fast=False)) as sender:
        for event, value in ready:
            visitor = event.get("visitor_id")  # a heartbeat has none
            sender.send(visitor.encode() if visitor else None, value, event["event_time_ms"])
        sender.flush()
