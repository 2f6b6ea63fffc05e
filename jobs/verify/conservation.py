"""Compare the side topics with the oracle: each refused and each late event lies there, with its bytes."""

import math
from collections.abc import Collection, Mapping

import msgspec

from jobs.connect.kafka_read import Position, Slice
from jobs.contract.letters import Letter
from jobs.errors import DataError
from jobs.verify.classify import FUTURE, Classified, Entry
from jobs.verify.report import Kind, Report

LATE = ("late", "event_time_ms")

Letters = dict[Position, list[Letter]]


def letters_for(events: Slice, side: Slice) -> Letters:
    """Return the letters about records of `events`, by the record's place.

    Delivery is at-least-once, so a record may have several letters.
    Raises DataError for a record of `side` that isn't a letter.
    """
    letters: Letters = {}
    for record in side.records:
        try:
            letter = msgspec.json.decode(record.value or b"", type=Letter)
        except msgspec.DecodeError as error:
            place = f"partition {record.partition}, offset {record.offset}"
            what = f"{side.topic} holds at {place} what isn't a dead letter: {error}"
            raise DataError(what, "check the topic's name") from error
        if events.covers(letter.topic, letter.position):
            letters.setdefault(letter.position, []).append(letter)
    return letters


def refused_as_future(dead: Letters) -> set[Position]:
    """Return the places of the events that lay in the future by the job's clock."""
    return {place for place, letters in dead.items() if any(letter.verdict == FUTURE for letter in letters)}


def compare_letters(
    report: Report, classified: Classified, dead: Letters, late: Letters, certain_ms: float = -math.inf
) -> None:
    """Check that both side topics hold what the oracle expects and nothing else, with the same reasons and bytes.

    Late events of visitors who were forgotten since aren't compared: retention may have taken them or not. Nor are
    those from before `certain_ms`: lost events may have made them late.
    """
    refused = {entry.record.position: (entry, tuple(entry.refusal)) for entry in classified.of_kind("refused")}
    _compare(report, "dead", refused, dead)
    unsure = {entry.record.position for entry in classified.entries if _is_unsure(entry, certain_ms)}
    kept = {entry.record.position: (entry, LATE) for entry in classified.of_kind("late")}
    _compare(report, "late", _without(kept, unsure), _without(late, unsure))


def _is_unsure(entry: Entry, certain_ms: float) -> bool:
    too_old = entry.event is not None and entry.event["event_time_ms"] < certain_ms
    return entry.forgotten or entry.kind == "suppressed" or too_old


def _without(letters: Mapping[Position, object], places: set[Position]) -> dict:
    return {place: letter for place, letter in letters.items() if place not in places}


def _compare(report: Report, name: str, expected: Mapping[Position, tuple[Entry, tuple]], found: Letters) -> None:
    for place in sorted(expected.keys() | found.keys()):
        entry, verdict = expected.get(place, (None, None))
        letters = found.get(place, [])
        label = f"partition {place[0]}, offset {place[1]}"
        kind: Kind = "wrong_letter" if verdict and letters else "missing_letter" if verdict else "extra_letter"
        report.compare(f"{name}:reason", label, verdict, one_of({letter.verdict for letter in letters}), kind=kind)
        if entry and letters:
            original, bytes_ = entry.record.value or b"", one_of({letter.bytes for letter in letters})
            report.compare(f"{name}:original", label, original, bytes_, kind="wrong_letter")


def one_of(verdicts: Collection) -> object:
    """Return what all letters about a place say, or a list of it all where they contradict each other."""
    return next(iter(verdicts), None) if len(verdicts) < 2 else sorted(verdicts)
