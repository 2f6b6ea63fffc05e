"""A visitor's list for a person's eyes: names, ages, and the events that it came from."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from jobs.cluster.runtime import Runtime
from jobs.connect import addresses
from jobs.connect.kafka_admin import end_offsets
from jobs.connect.kafka_read import read_slice
from jobs.contract.events import Event, Refusal, parse, visitor_of
from jobs.contract.printable import printable
from jobs.errors import ModelError
from jobs.settings import Settings
from liveshelf.reader import Shelf, ShelfReader, shelf_key
from models.serving.registry import serving_folder

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


def look(settings: Settings, running: Runtime, visitor_ids: Sequence[str]) -> Shown:
    """Return the visitor's newest list from Redis, with names, ages and the events that it came from.

    While keys are rotated, a visitor has two ids, and may have a list under each.
    """
    reader = ShelfReader(addresses.redis_client(running.redis_url), settings.ranker.shelf, settings.list_stale_s)
    try:
        shelf = newest([reader.get(visitor_id) for visitor_id in visitor_ids])
    finally:
        reader.close()
    names = _names(settings) if shelf.items else {}
    items = [Item(item, names.get(item, ""), score) for item, score in zip(shelf.items, shelf.scores, strict=True)]
    events = _events(settings, running.kafka_bootstrap, shelf) if shelf.list_id and running.kafka_bootstrap else []
    told = (shelf.state, shelf.model, shelf.age_s, shelf.event_age_s, shelf.fallback, shelf.list_id)
    return Shown(shelf.visitor_id, *told, items, events)


def newest(shelves: Sequence[Shelf]) -> Shelf:
    """Return the list of the newest event, the first shelf if all are absent."""
    return max(shelves, key=lambda shelf: shelf.event_time_ms or 0)


def some_visitors(settings: Settings, running: Runtime, count: int = 5) -> list[str]:
    """Return the ids of up to `count` visitors who have a list, in no order."""
    prefix, suffix = shelf_key("*", settings.ranker.shelf).split("*")
    ids: list[str] = []
    client = addresses.redis_client(running.redis_url)
    reader, cursor = ShelfReader(client, settings.ranker.shelf), 0
    try:
        for _ in range(SCAN_ROUNDS):
            cursor, keys = client.scan(cursor, match=f"{prefix}*{suffix}", count=SCAN_KEYS)
            for key in keys:
                visitor = key.decode().removeprefix(prefix).removesuffix(suffix)
                if visitor not in ids and reader.get(visitor).state != "absent":  # an erased visitor's mark is no list
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
        why = f"{visitor}: no list. No event lately, or the rankings job doesn't run (liveshelf status)"
        return why + (
            f"\nvisitors with a list: {printable(', '.join(others))}" if others else "\nno visitor has a list"
        )
    head = f"{visitor}: {shown.state}" + (f" ({shown.fallback})" if shown.fallback else "")
    ages = f"computed {_age(shown.age_s)} ago, newest event {_age(shown.event_age_s)} ago"
    lines = [f"{head}, {ages}, model {printable(shown.model)}, list {printable(shown.list_id)}", ""]
    for place, item in enumerate(shown.items, 1):
        lines.append(f"{place:3}. {printable(item.name or item.item_id):44} {item.score:9.3f}")
    lines += ["", f"from {len(shown.events)} events:"] if shown.events else []
    for event in shown.events:
        lines.append(
            f"  {_moment(event['event_time_ms'])}  {event['event_type']:16} {printable(event.get('item_id', ''))}"
        )
    return "\n".join(lines)


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
