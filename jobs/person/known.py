"""Collect all data about one person.

Who a record is about is told by its field `visitor_id`, never by a key, and never by a search in its bytes: JSON may
escape an id, and other people's texts may hold it.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from jobs.cluster.runtime import Runtime
from jobs.connect import addresses, consent_topic
from jobs.connect.kafka_read import Position, stream
from jobs.contract.events import Event, Refusal, parse, visitor_of
from jobs.contract.letters import Letter
from jobs.contract.printable import printable
from jobs.contract.shelf import read_logged
from jobs.errors import DataError
from jobs.operate import show
from jobs.person import traces
from jobs.person.ids import Visitor
from jobs.settings import Settings
from liveshelf.reader import Shelf, ShelfReader
from liveshelf.shelf import shelf

PARTS = ("consent", "events", "features", "lists", "list", "offline", "dead")
HIDDEN = "hidden"  # the place of an event that was forgotten or never allowed


class Answered(msgspec.Struct):
    """The event that a logged list answers."""

    partition: int
    offset: int
    event_time_ms: int


class Timed(msgspec.Struct):
    """The one field of a refused event that says when it happened, if it has one that can be read."""

    event_time_ms: int | None = None


class Sent(Letter):
    """A letter, and when it was written."""

    refused_at_ms: int = 0


@dataclass(frozen=True)
class Known:
    """All data about one person.

    `visitor_id` is the id as it was given, `shelf` the newest list on the ranker's own shelf, `shelves` all lists that
    stand. `hidden_events` counts events
    that were forgotten or never allowed. They, or lists and letters about them, lie in Kafka until retention takes
    them.
    """

    visitor_id: str
    consent: list[dict[str, Any]]
    events: list[Event]
    hidden_events: int
    features: list[dict[str, Any]]
    shelf: Shelf
    lists: list[dict[str, Any]]
    letters: list[dict[str, Any]]
    offline: list[dict[str, Any]]
    shelves: list[Shelf] = field(default_factory=list)

    @property
    def is_nothing(self) -> bool:
        stored = (self.consent, self.events, self.features, self.lists, self.letters, self.offline, self.shelves)
        return not any(stored) and not self.hidden_events and self.shelf.state == "absent"


def find(settings: Settings, runtime: Runtime, visitor: Visitor) -> Known:
    """Look in Kafka, the online store, Redis and the offline files. Raises ServiceError if one doesn't answer."""
    found: dict[str, list[Any]] = {name: [] for name in (*PARTS, HIDDEN)}
    for name, row in rows(settings, runtime, visitor):
        found[name].append(row)
    return Known(
        visitor_id=visitor.given,
        consent=found["consent"],
        events=found["events"],
        hidden_events=len(found[HIDDEN]),
        features=found["features"],
        shelf=show.newest(
            [each for each in found["list"] if each.name == settings.ranker.shelf] or [Shelf(visitor.ids[0])]
        ),
        lists=found["lists"],
        letters=found["dead"],
        offline=found["offline"],
        shelves=found["list"],
    )


def rows(settings: Settings, runtime: Runtime, visitor: Visitor) -> Iterator[tuple[str, Any]]:
    """Yield all that is known of a person while it is read: the part that it belongs to, and the row.

    Events, lists and letters are judged as the jobs judge events, whether or not the topic still has the event that a
    list or a letter is about. Only the places of events that are out of use are held in memory.
    """
    bootstrap, ids = runtime.kafka_bootstrap, frozenset(visitor.sought)
    consents = consent_topic.read(bootstrap, settings.consent_topic, settings.consent)
    for visitor_id in visitor.sought:
        for record in consents.of(visitor_id):
            yield "consent", {"visitor_id": visitor_id, **msgspec.to_builtins(record)}
    hidden: set[Position] = set()
    for name, about, row in _stored(settings, bootstrap, ids):
        if consents.verdict(*about) == "counts":
            yield name, row
        elif (position := about[1:3]) not in hidden:
            hidden.add(position)
            yield HIDDEN, position
    yield from (("features", row) for row in _features(settings, visitor.sought))
    yield from (("list", shelf) for shelf in _shelves(settings, runtime, visitor.sought))
    for path in traces.offline_files(settings):
        yield from (("offline", {"file": path.name, **row}) for row in traces.offline_rows(path, visitor.sought))


About = tuple[str, int, int, int]  # an event's visitor, partition, offset and time


def _stored(settings: Settings, bootstrap: str, ids: frozenset[str]) -> Iterator[tuple[str, About, Any]]:
    """Yield a person's records: the part that each belongs to, the event that it is about, and the row."""
    yield from _events(settings, bootstrap, ids)
    yield from _lists(settings, bootstrap, ids)
    yield from _letters(settings, bootstrap, ids)


def _events(settings: Settings, bootstrap: str, ids: frozenset[str]) -> Iterator[tuple[str, About, Event]]:
    for record in stream(bootstrap, settings.events_topic):
        if visitor_of(record.value) in ids:
            event = parse(record.value)
            if not isinstance(event, Refusal) and "visitor_id" in event:
                yield "events", (event["visitor_id"], *record.position, event["event_time_ms"]), event


def _features(settings: Settings, visitor_ids: Iterable[str]) -> Iterator[dict[str, Any]]:
    from jobs.features.definitions import feature_store, store_yaml
    from jobs.verify import online
    from jobs.verify.views import plain_views

    if not store_yaml(settings).is_file():
        return
    store = feature_store(settings)
    views = [view for view in plain_views(store.list_stream_feature_views()) if view.keys == (traces.PERSON,)]
    stored = online.read_rows(store, views, [(visitor_id,) for visitor_id in visitor_ids]) if views else {}
    for view, row_by_entity in stored.items():
        for (visitor_id,), row in row_by_entity.items():
            for feature, value in row.values.items():
                named = {"visitor_id": visitor_id, "view": view, "feature": feature}
                yield named | {"value": value, "event_time_ms": row.event_time_ms}


def _shelves(settings: Settings, runtime: Runtime, visitor_ids: Iterable[str]) -> list[Shelf]:
    """Return the lists that stand on all shelves, a canary's behind them."""
    client = addresses.redis_client(runtime.redis_url)
    reader, now_ms = ShelfReader(client), time.time() * 1000
    names = show.shelf_names(settings)
    try:
        shelves = [reader.get(visitor_id, name) for name in names for visitor_id in visitor_ids]
        for visitor_id in visitor_ids:
            for key in traces.shadow_keys(settings, visitor_id):
                one = shelf(visitor_id, key.decode(), cast(Any, client.get(key)), settings.list_stale_s, now_ms)
                shelves.append(replace(one, name=f"{one.name} (canary)"))
    finally:
        reader.close()
    return [shelf for shelf in shelves if shelf.state != "absent"]


def _lists(settings: Settings, bootstrap: str, ids: frozenset[str]) -> Iterator[tuple[str, About, dict[str, Any]]]:
    for record in stream(bootstrap, settings.rankings_topic, must_exist=False):
        visitor_id = visitor_of(record.value)
        if visitor_id in ids:
            try:
                event = read_logged(record.value, Answered)
            except msgspec.DecodeError as error:
                what = f"{settings.rankings_topic} holds what isn't a list: {error}"
                raise DataError(what, "check rankings_topic") from error
            place = event.partition, event.offset, event.event_time_ms
            yield "lists", (visitor_id, *place), read_logged(record.value, dict)


def _letters(settings: Settings, bootstrap: str, ids: frozenset[str]) -> Iterator[tuple[str, About, dict[str, Any]]]:
    """Yield the letters about events whose field names the visitor. What isn't JSON can't be said to be anybody's."""
    for topic in (settings.dead_topic, settings.late_topic):
        for record in stream(bootstrap, topic, must_exist=False):
            with suppress(msgspec.DecodeError):  # it isn't a letter
                letter = msgspec.json.decode(record.value or b"", type=Sent)
                visitor_id = visitor_of(letter.bytes)
                if visitor_id in ids:
                    about = visitor_id, *letter.position, _time_ms(letter)
                    yield "dead", about, msgspec.json.decode(record.value or b"")


def _time_ms(letter: Sent) -> int:
    """Return when a letter's event happened; when it was refused, if its own time can't be read."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        time_ms = msgspec.json.decode(letter.bytes, type=Timed).event_time_ms
        if time_ms is not None:
            return time_ms
    return letter.refused_at_ms


def text(known: Known) -> str:
    """Return the data as text for a terminal."""
    latest = max(known.consent, key=lambda record: (record["at_ms"], record["state"] != "granted"), default=None)
    said = f"{latest['state']} since {_moment(latest['at_ms'])}" if latest else "nothing said"
    times = [event["event_time_ms"] for event in known.events]
    lines = [
        f"consent   {said}",
        f"events    {len(known.events)} in retention{f', the newest of {_moment(max(times))}' if times else ''}; "
        f"{known.hidden_events} more are out of use and wait for the topic's retention",
        *(_list_line(shelf) for shelf in known.shelves or [known.shelf]),
        f"log       {len(known.lists)} lists, {len(known.letters)} letters about refused or late events",
        f"offline   {len(known.offline)} rows",
    ]
    lines += [
        f"{value['view']}:{value['feature']} = {printable(value['value'])} ({_moment(value['event_time_ms'])})"
        for value in known.features
    ]
    return "\n".join(lines)


def _list_line(shelf: Shelf) -> str:
    name = f"{printable(shelf.name)}: " if shelf.name else ""
    items = f", {len(shelf.items)} items by {printable(shelf.model)}" if shelf.items else ""
    events = f", {shelf.session_events} events in the session" if shelf.session_events else ""
    return f"list      {name}{shelf.state}{items}{events}"


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
