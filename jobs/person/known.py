"""Collect all data about one person, and write it as a folder of JSON Lines that the person can be given."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from jobs.cluster.runtime import Runtime
from jobs.connect import consent_topic
from jobs.connect.kafka_read import Position, read_slice
from jobs.contract import consent
from jobs.contract.events import Event, Refusal, parse
from jobs.contract.shelf import read_logged
from jobs.person import traces
from jobs.settings import Settings
from liveshelf.reader import Shelf, ShelfReader

README = """What liveshelf knows about one visitor, as of {made_at}. One JSON object a line.

consent.jsonl    what the visitor said: `state` (granted, withdrawn, erased) and when (`at_ms`, milliseconds since 1970)
events.jsonl     what the visitor did, as the shop sent it: see `liveshelf schema --table` for each field
features.jsonl   what is computed from it now: view, feature, value, and the time of the newest event in it
lists.jsonl      each list that was ranked for the visitor: items, scores, when, by which `model`, and from which items
list.jsonl       the list that stands now, as the shop reads it
offline.jsonl    rows of training sets, by file
dead.jsonl       events that were refused or came too late, with the reason, as far as they can be read

Records that a withdrawal or an erasure has put out of use aren't here. They are still stored until their topic's
retention takes them, and nothing reads them for the visitor any more: {hidden} events are so now.
"""


@dataclass(frozen=True)
class Known:
    """All data about one person.

    `hidden_events` counts events that were forgotten or never allowed. They lie in Kafka until retention takes them.
    """

    visitor_id: str
    consent: list[consent.Record]
    events: list[Event]
    hidden_events: int
    features: list[dict[str, Any]]
    shelf: Shelf
    lists: list[dict[str, Any]]
    letters: list[dict[str, Any]]
    offline: list[dict[str, Any]]


def find(settings: Settings, runtime: Runtime, visitor_id: str) -> Known:
    """Look in Kafka, the online store, Redis and the offline files. Raises ServiceError if one doesn't answer."""
    bootstrap = runtime.kafka_bootstrap
    consents = consent_topic.read(bootstrap, settings.consent_topic, settings.consent)
    events, hidden = _events(settings, bootstrap, consents, visitor_id)
    reader = ShelfReader(runtime.redis_url, settings.ranker.shelf)
    try:
        shelf = reader.get(visitor_id)
    finally:
        reader.close()
    files = traces.offline_files(settings)
    return Known(
        visitor_id,
        consents.of(visitor_id),
        events,
        len(hidden),
        _features(settings, visitor_id),
        shelf,
        _lists(settings, bootstrap, visitor_id, hidden),
        _letters(settings, bootstrap, visitor_id, hidden),
        [{"file": path.name, **row} for path in files for row in traces.offline_rows(path, [visitor_id])],
    )


def _events(
    settings: Settings, bootstrap: str, consents: consent.Consents, visitor_id: str
) -> tuple[list[Event], set[Position]]:
    """Return the visitor's events that count for the visitor, and the places of the others."""
    events, hidden = [], set()
    for record in read_slice(bootstrap, settings.events_topic).records:
        if visitor_id.encode() not in (record.value or b""):
            continue
        event = parse(record.value)
        if isinstance(event, Refusal) or event.get("visitor_id") != visitor_id:
            continue
        if consents.verdict(visitor_id, *record.position, event["event_time_ms"]) == "counts":
            events.append(event)
        else:
            hidden.add(record.position)
    return events, hidden


def _features(settings: Settings, visitor_id: str) -> list[dict[str, Any]]:
    from jobs.features.definitions import feature_store, store_yaml
    from jobs.verify import online
    from jobs.verify.views import plain_views

    if not store_yaml(settings).is_file():
        return []
    store = feature_store(settings)
    views = [view for view in plain_views(store.list_stream_feature_views()) if view.keys == (traces.PERSON,)]
    rows = online.read_rows(store, views, [(visitor_id,)]) if views else {}
    return [
        {"view": view, "feature": feature, "value": value, "event_time_ms": row.event_time_ms}
        for view, row_by_entity in rows.items()
        for row in row_by_entity.values()
        for feature, value in row.values.items()
    ]


def _lists(settings: Settings, bootstrap: str, visitor_id: str, hidden: set[Position]) -> list[dict[str, Any]]:
    records = read_slice(bootstrap, settings.rankings_topic, must_exist=False).records
    own = [record for record in records if record.key == visitor_id.encode() and record.value]
    logged = [read_logged(record.value, dict) for record in own]
    return [entry for entry in logged if (entry["partition"], entry["offset"]) not in hidden]


def _letters(settings: Settings, bootstrap: str, visitor_id: str, hidden: set[Position]) -> list[dict[str, Any]]:
    """Return the letters about events that name the visitor; events that aren't text can't be found."""
    letters, name = [], msgspec.json.encode(visitor_id).decode()
    for topic in (settings.dead_topic, settings.late_topic):
        for record in read_slice(bootstrap, topic, must_exist=False).records:
            letter = msgspec.json.decode(record.value or b"{}")
            if name in (letter.get("original") or "") and (letter["partition"], letter["offset"]) not in hidden:
                letters.append(letter)
    return letters


def export(known: Known, folder: Path) -> dict[str, int]:
    """Write the folder, which only its owner can read; return the number of lines by file.

    Raises FileExistsError if the folder exists.
    """
    folder.mkdir(mode=0o700, parents=True)
    parts: dict[str, list] = {
        "consent": known.consent,
        "events": known.events,
        "features": known.features,
        "lists": known.lists,
        "list": [] if known.shelf.state == "absent" else [known.shelf],
        "offline": known.offline,
        "dead": known.letters,
    }
    for name, rows in parts.items():
        lines = b"".join(msgspec.json.encode(row, enc_hook=str) + b"\n" for row in rows)
        (folder / f"{name}.jsonl").write_bytes(lines)
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    (folder / "README.md").write_text(README.format(made_at=made_at, hidden=known.hidden_events))
    return {name: len(rows) for name, rows in parts.items()}


def text(known: Known) -> str:
    """Return the data as text for a terminal."""
    latest = known.consent[-1] if known.consent else None
    shelf, times = known.shelf, [event["event_time_ms"] for event in known.events]
    lines = [
        f"consent   {f'{latest.state} since {_moment(latest.at_ms)}' if latest else 'nothing said'}",
        f"events    {len(known.events)} in retention{f', the newest of {_moment(max(times))}' if times else ''}; "
        f"{known.hidden_events} more are out of use and wait for the topic's retention",
        f"list      {shelf.state}{f', {len(shelf.items)} items by {shelf.model}' if shelf.items else ''}"
        f"{f', {shelf.session_events} events in the session' if shelf.session_events else ''}",
        f"log       {len(known.lists)} lists, {len(known.letters)} letters about refused or late events",
        f"offline   {len(known.offline)} rows",
    ]
    lines += [
        f"{value['view']}:{value['feature']} = {value['value']} ({_moment(value['event_time_ms'])})"
        for value in known.features
    ]
    return "\n".join(lines)


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
