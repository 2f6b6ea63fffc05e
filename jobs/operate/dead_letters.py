"""Letters about events that weren't counted: read `events.dead` and `events.late`, and send refused events again.

An event is refused because the contract doesn't take it. It is late because event time had passed it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec

from jobs.connect import kafka_send
from jobs.connect.kafka_read import Position, read_slice
from jobs.contract import letters
from jobs.contract.consent import Consents
from jobs.contract.events import Event, Refusal, parse
from jobs.errors import DataError, SettingsError

EXCERPT = 80  # bytes of an event on one line


class Letter(letters.Letter):
    """A letter with the moment at which the features job wrote it. `original` is null where bytes aren't UTF-8."""

    TOPIC_SETTINGS: ClassVar[str] = "settings dead_topic and late_topic"

    refused_at_ms: int

    @property
    def place(self) -> str:
        """Return PARTITION-OFFSET of the event in the events topic."""
        return f"{self.partition}-{self.offset}"


AnyLetter = TypeVar("AnyLetter", bound=Letter)


class EventTime(msgspec.Struct):
    """The one field of a late event by which it is listed."""

    event_time_ms: int


class Ready(NamedTuple):
    """An event that the contract takes now, its bytes, as they were or corrected, and where it was refused."""

    event: Event
    value: bytes
    position: Position


@dataclass(frozen=True)
class Fix:
    """The fields to set and the fields to leave out before an event is checked again."""

    values: dict[str, Any] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()

    @classmethod
    def of(cls, assignments: Sequence[str], dropped: Sequence[str]) -> "Fix":
        """Read FIELD=VALUE texts. A VALUE that is JSON (5, null) is taken as JSON, any other as a string.

        Raises SettingsError for a text without a field or without an equals sign.
        """
        values = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals or not name:
                raise SettingsError(f"--set is {assignment!r}", "FIELD=VALUE, such as event_type=view")
            values[name] = _json_or_text(text)
        return cls(values, frozenset(dropped))

    def apply(self, original: bytes) -> bytes:
        """Return the corrected bytes. Bytes that aren't a JSON object stay as they are; the check refuses them."""
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


def read_letters(bootstrap: str, topic: str, form: type[AnyLetter], reason: str = "") -> list[AnyLetter]:
    """Return the letters in a topic, of one reason if it is named, in the order of their records.

    Delivery is at-least-once, so a record may have several letters; the first one is returned.
    A topic that doesn't exist yet holds no letter.
    Raises ServiceError if Kafka doesn't answer, DataError for a record that isn't a letter.
    """
    letter_by_record: dict[tuple[str, int, int], AnyLetter] = {}
    for record in read_slice(bootstrap, topic, must_exist=False).records:
        try:
            letter = msgspec.json.decode(record.value or b"", type=form)
        except msgspec.DecodeError as error:
            what = f"{topic} holds no letter at {record.partition}-{record.offset}: {error}"
            raise DataError(what, f"check the {form.TOPIC_SETTINGS}") from error
        letter_by_record.setdefault((letter.topic, letter.partition, letter.offset), letter)
    letters = [letter_by_record[place] for place in sorted(letter_by_record)]
    return [letter for letter in letters if not reason or letter.reason == reason]


def by_reason(letters: Iterable[Letter]) -> dict[tuple[str, str], list[Letter]]:
    """Group letters by (reason, field), the most frequent first."""
    groups: dict[tuple[str, str], list[Letter]] = {}
    for letter in letters:
        groups.setdefault((letter.reason, letter.field), []).append(letter)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def by_hour(letters: Iterable[Letter]) -> dict[tuple[int, str, str], list[Letter]]:
    """Group letters by (partition of the event, hour of its event time in UTC, reason), in that order.

    Raises DataError for a letter whose event has no event time: only events that the contract takes can be late.
    """
    groups: dict[tuple[int, str, str], list[Letter]] = {}
    for letter in letters:
        groups.setdefault((letter.partition, _hour(letter), letter.reason), []).append(letter)
    return dict(sorted(groups.items()))


def _hour(letter: Letter) -> str:
    try:
        time_ms = msgspec.json.decode(letter.bytes, type=EventTime).event_time_ms
    except msgspec.DecodeError as error:
        raise DataError(
            f"the late event {letter.place} can't be read: {error}", "check the setting late_topic"
        ) from error
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:00")


def excerpt(letter: Letter) -> str:
    """Return the beginning of the event's bytes, printable."""
    return repr(letter.bytes[:EXCERPT])[2:-1] + ("…" if len(letter.bytes) > EXCERPT else "")


def find(letters: Iterable[Letter], place: str, way_out: str) -> Letter:
    """Return the letter about the event at PARTITION-OFFSET.

    Raises DataError with `way_out` if there is none.
    """
    letter = next((letter for letter in letters if letter.place == place), None)
    if letter is None:
        raise DataError(f"there is no letter about an event at {place!r}", way_out)
    return letter


def told(letter: Letter) -> str:
    """Return a letter for a person: the reason, the place of the event, and its bytes as they were."""
    where = f"topic {letter.topic}, partition {letter.partition}, offset {letter.offset}"
    return f"{letter.reason}{f': {letter.field}' if letter.field else ''}\nfrom {where}\n{letter.bytes!r}"


def check_again(
    letters: Iterable[Letter], fix: Fix, max_skew_ms: int, now_ms: int | None = None
) -> tuple[list[Ready], Counter[str]]:
    """Return the events that the contract takes now, and how many it refuses by "reason" or "reason field"."""
    ready, refused = [], Counter()
    for letter in letters:
        value = fix.apply(letter.bytes)
        event = parse(value, now_ms, max_skew_ms)
        if isinstance(event, Refusal):
            refused[" ".join(filter(None, event))] += 1
        else:
            ready.append(Ready(event, value, letter.position))
    return ready, refused


def allowed(ready: Iterable[Ready], consents: Consents) -> list[Ready]:
    """Return the events that count for their visitors where they were refused, and heartbeats.

    Sent again, an event has a new place. By that place an erasure would no longer cover it, if its clock was ahead.
    """
    return [each for each in ready if "visitor_id" not in each.event or _counts(each, consents)]


def _counts(ready: Ready, consents: Consents) -> bool:
    event = ready.event
    return consents.verdict(event["visitor_id"], *ready.position, event["event_time_ms"]) == "counts"


def send(bootstrap: str, topic: str, ready: Iterable[Ready]) -> None:
    """Send events with the key and the timestamp that the contract asks for, and wait until Kafka has them.

    Raises ServiceError if Kafka doesn't take them.
    """
    with closing(kafka_send.connect(bootstrap, topic, fast=False)) as sender:
        for event, value, _ in ready:
            visitor = event.get("visitor_id")  # a heartbeat has none
            sender.send(visitor.encode() if visitor else None, value, event["event_time_ms"])
        sender.flush()
