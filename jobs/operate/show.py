"""A visitor's list for a person's eyes: names, ages, and the events that it came from."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from jobs.cluster.runtime import Runtime
from jobs.connect import addresses
from jobs.connect.kafka_admin import end_offsets
from jobs.connect.kafka_read import read_slice
from jobs.contract.events import FIELD, Event, Refusal, parse, visitor_of
from jobs.contract.printable import printable
from jobs.errors import DefinitionError, ModelError
from jobs.flow import submissions
from jobs.settings import Settings
from jobs.shelves.versions import ShelfVersions
from liveshelf.reader import Shelf, ShelfReader, shelf_key
from models.serving.registry import serving_folder

NOBODYS = FIELD["visitor_id"].reserved  # how the names of lists begin that are no visitor's
HISTORY_EVENTS = 50  # what the rankings job looks at
# A list names the record that it answers; the visitor's earlier ones are looked for in so many records before it.
LOOK_BACK = 100_000
SCAN_ROUNDS, SCAN_KEYS = 200, 1000  # at most so many keys are looked at for a few visitors with a list: 0.2 s


@dataclass(frozen=True)
class Item:
    """A place in the list."""

    item_id: str
    name: str
    score: float
    why: str = ""
    instead: int = 0  # the step of the shelf's `instead` that gave it
    because: str | None = None
    because_name: str = ""


@dataclass(frozen=True)
class Shown:
    """A list, and the session's events that it came from: none where Kafka doesn't run or has deleted them."""

    visitor_id: str
    state: str
    model: str | None
    age_s: float | None
    event_age_s: float | None
    fallback: str | None
    list_id: str | None
    items: list[Item]
    events: list[Event]
    shelf: str = ""
    about: Sequence[str] = ()
    shelves: str | None = None  # the version that made it


def shelf_names(settings: Settings) -> list[str]:
    """Return the shelves on which a visitor may have a list: the ranker's own, and those of all published versions.

    Redis can't be asked: keys aren't found by a part of their names.
    """
    published = ShelfVersions(settings.shelves_folder).names()
    return list(dict.fromkeys([settings.ranker.shelf, *published]))


def canary_shelf_names(settings: Settings) -> list[str]:
    """Return the shelves on which a visitor may have a list of a canary, none while there is no canary."""
    if not submissions.config_path(settings.state_dir, submissions.CANARY).is_file():
        return []
    ranker = submissions.config(settings.state_dir, submissions.CANARY).ranker
    published = ShelfVersions(Path(ranker.shelves_dir)).names() if ranker.shelves_dir else []
    return list(dict.fromkeys([ranker.shelf, *published]))


def look(settings: Settings, running: Runtime, visitor_ids: Sequence[str], name: str = "") -> Shown:
    """Return the visitor's newest list of a shelf, with names, reasons, ages and the events that it came from.

    While keys are rotated, a visitor has two ids, and may have a list under each. Raises DefinitionError for a shelf
    that no published version has, and no visitor has a list on.
    """
    name = name or settings.ranker.shelf
    reader = ShelfReader(addresses.redis_client(running.redis_url), name, settings.list_stale_s)
    try:
        shelf = newest([reader.get(visitor_id) for visitor_id in visitor_ids])
    finally:
        reader.close()
    names = shelf_names(settings)
    if shelf.state == "absent" and name not in names and not some_visitors(settings, running, name, count=1):
        raise DefinitionError(f"no published version has a shelf {name!r}", f"one of {', '.join(names)}")
    items = _items(shelf, _names(settings)) if shelf.items else []
    events = _events(settings, running.kafka_bootstrap, shelf) if shelf.list_id and running.kafka_bootstrap else []
    told = (shelf.state, shelf.model, shelf.age_s, shelf.event_age_s, shelf.fallback, shelf.list_id)
    return Shown(shelf.visitor_id, *told, items, events, name, list(shelf.about), shelf.shelves)


def newest(shelves: Sequence[Shelf]) -> Shelf:
    """Return the list of the newest event, the first shelf if all are absent."""
    return max(shelves, key=lambda shelf: shelf.event_time_ms or 0)


def some_visitors(settings: Settings, running: Runtime, name: str = "", count: int = 5) -> list[str]:
    """Return the ids of up to `count` visitors who have a list, in no order."""
    name = name or settings.ranker.shelf
    prefix, suffix = shelf_key("*", name).split("*")
    ids: list[str] = []
    client = addresses.redis_client(running.redis_url)
    reader, cursor = ShelfReader(client, name), 0
    try:
        for _ in range(SCAN_ROUNDS):
            cursor, keys = client.scan(cursor, match=f"{prefix}*{suffix}", count=SCAN_KEYS)
            for key in keys:
                visitor = key.decode().removeprefix(prefix).removesuffix(suffix)
                if visitor.startswith(NOBODYS) or visitor in ids:
                    continue
                if reader.get(visitor).state != "absent":  # an erased visitor's mark is no list
                    ids.append(visitor)
                if len(ids) == count:
                    return ids
            if not cursor:
                break
    finally:
        reader.close()
    return ids


def text(shown: Shown, others: Sequence[str] = ()) -> str:
    """Return the same as lines; `others` are visitors who have a list, named where this one has none."""
    visitor = printable(shown.visitor_id)
    if shown.state == "absent":
        why = f"{visitor}: no list{_of(shown)}. No event lately, or the rankings job doesn't run (liveshelf status)"
        return why + (
            f"\nvisitors with a list: {printable(', '.join(others))}" if others else "\nno visitor has a list"
        )
    head = f"{visitor}: {shown.state}" + (f" ({shown.fallback})" if shown.fallback else "")
    ages = f"computed {_age(shown.age_s)} ago, newest event {_age(shown.event_age_s)} ago"
    lines = [f"{head}, {ages}, model {printable(shown.model)}, list {printable(shown.list_id)}"]
    if shown.shelves:
        about = f", about {printable(', '.join(shown.about))}" if shown.about else ""
        lines.append(f"shelf {printable(shown.shelf)}{about}, {printable(shown.shelves)}")
    lines.append("")
    for place, item in enumerate(shown.items, 1):
        line = f"{place:3}. {printable(item.name or item.item_id):44} {item.score:9.3f}  {_reason(item)}"
        lines.append(line.rstrip())
    lines += ["", f"from {len(shown.events)} events:"] if shown.events else []
    for event in shown.events:
        lines.append(
            f"  {_moment(event['event_time_ms'])}  {event['event_type']:16} {printable(event.get('item_id', ''))}"
        )
    return "\n".join(lines)


def _items(shelf: Shelf, names: Mapping[str, str]) -> list[Item]:
    nothing = [None] * len(shelf.items)
    reasons = zip(shelf.why or nothing, shelf.instead or nothing, shelf.because or nothing, strict=True)
    return [
        Item(item, names.get(item, ""), score, why or "", instead or 0, because, names.get(because or "", ""))
        for item, score, (why, instead, because) in zip(shelf.items, shelf.scores, reasons, strict=True)
    ]


def _reason(item: Item) -> str:
    """Return why an item is in a list, for a person: together, because of 88."""
    because = f", because of {printable(item.because_name or item.because)}" if item.because else ""
    return f"{item.why}{' instead' if item.instead else ''}{because}"


def _of(shown: Shown) -> str:
    return f" of {printable(shown.shelf)}" if shown.shelf else ""


def _names(settings: Settings) -> dict[str, str]:
    """Return the items' names from the bundle's vocabulary, without loading the model."""
    file = serving_folder(settings.model_dir) / "vocabulary.json"
    try:
        return msgspec.json.decode(file.read_bytes())["names"]
    except OSError as error:
        raise ModelError(f"{file} can't be read ({error.strerror})", "set LIVESHELF_MODEL_DIR") from error


def _events(settings: Settings, bootstrap: str, shelf: Shelf) -> list[Event]:
    """Return the session's events up to the one that the list answers, by event time."""
    partition, offset = map(int, shelf.list_id.split("-"))
    ends = end_offsets(bootstrap, settings.events_topic)
    since = ends | {partition: min(max(0, offset - LOOK_BACK), ends.get(partition, 0))}
    records = read_slice(bootstrap, settings.events_topic, since).records
    arrived = [
        parse(record.value, record.timestamp_ms)
        for record in records
        if record.offset <= offset and visitor_of(record.value) == shelf.visitor_id
    ]
    taken = [event for event in arrived if not isinstance(event, Refusal)][-HISTORY_EVENTS:]
    once = {event["event_id"]: event for event in reversed(taken)}  # of a repeated id the first stays
    return sorted(reversed(once.values()), key=lambda event: event["event_time_ms"])[-shelf.session_events :]


def _age(seconds: float | None) -> str:
    seconds = seconds or 0.0
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def _moment(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_ms / 1000))
