"""Nothing is lost: what the oracle refuses or calls late is what lies in the side topics, with its original bytes."""

from collections.abc import Collection, Mapping

import msgspec

from jobs.connect.kafka_read import Position, Slice
from jobs.contract.letters import Letter
from jobs.errors import DataError
from jobs.verify.classify import FUTURE, Classified, Entry
from jobs.verify.report import Report

LATE = ("late", "event_time_ms")


Letters = dict[Position, list[Letter]]


def letters_for(events: Slice, side: Slice) -> Letters:
    """The letters about records of `events`, by their place; delivery is at-least-once, so there may be several.

    Raises DataError for a record of `side` that isn't a letter.
    """
    found: Letters = {}
    for record in side.records:
        try:
            letter = msgspec.json.decode(record.value or b"", type=Letter)
        except msgspec.DecodeError as error:
            place = f"partition {record.partition}, offset {record.offset}"
            what = f"{side.topic} holds at {place} what isn't a dead letter: {error}"
            raise DataError(what, "check the topic's name") from error
        if events.covers(letter.topic, letter.position):
            found.setdefault(letter.position, []).append(letter)
    return found


def refused_as_future(dead: Letters) -> set[Position]:
    """Where the job's clock said that an event lies in the future."""
    return {place for place, letters in dead.items() if any(letter.verdict == FUTURE for letter in letters)}


def compare_letters(report: Report, classified: Classified, dead: Letters, late: Letters) -> None:
    """Both side topics hold exactly what the oracle expects, with the same reasons and the same bytes.

    Late events of visitors who were forgotten since may lie there until the topic's retention takes them, or not.
    """
    refused = {entry.record.position: (entry, tuple(entry.refusal)) for entry in classified.of_kind("refused")}
    _compare(report, "dead", refused, dead)
    unsure = {entry.record.position for entry in classified.entries if entry.forgotten or entry.kind == "suppressed"}
    kept = {entry.record.position: (entry, LATE) for entry in classified.of_kind("late")}
    _compare(report, "late", _without(kept, unsure), _without(late, unsure))


def _without(letters: Mapping[Position, object], places: set[Position]) -> dict:
    return {place: each for place, each in letters.items() if place not in places}


def _compare(report: Report, name: str, expected: Mapping[Position, tuple[Entry, tuple]], found: Letters) -> None:
    for place in sorted(expected.keys() | found.keys()):
        entry, verdict = expected.get(place, (None, None))
        letters = found.get(place, [])
        label = f"partition {place[0]}, offset {place[1]}"
        report.compare(f"{name}:reason", label, verdict, _one({letter.verdict for letter in letters}))
        if entry and letters:
            original = entry.record.value or b""
            report.compare(f"{name}:original", label, original, _one({letter.bytes for letter in letters}))


def _one(verdicts: Collection) -> object:
    """What all letters about a place say; all that they say if they contradict each other."""
    return next(iter(verdicts), None) if len(verdicts) < 2 else sorted(verdicts)
