"""Compare a model's items with those that visitors look at: a model of another shop serves without an error."""

from collections.abc import Iterable
from contextlib import suppress

import msgspec

from jobs.connect.kafka_admin import end_offsets
from jobs.connect.kafka_read import Record, read_slice
from jobs.contract.events import Refusal, parse
from jobs.errors import ModelError, ServiceError
from jobs.settings import Settings
from models.serving.bundle import read_manifest, version_of
from models.serving.registry import serving_folder

NEWEST_RECORDS = 2_000  # of the topic; about 0.3 s to read
FEWEST_EVENTS = 20  # fewer say nothing about a shop
FEW = 0.2  # of the events; a model that is a season old still knows most


class Familiarity(msgspec.Struct, frozen=True):
    """How many of the newest `events` that name an item name one that the model knows."""

    version: str
    events: int
    known_events: int
    topic: str

    def warning(self) -> str:
        """Return a sentence if the model knows few of the items, "" if it knows enough or too few events were seen."""
        if self.events < FEWEST_EVENTS or self.known_events >= FEW * self.events:
            return ""
        share = self.known_events / self.events
        return (
            f"{self.version} knows the item of {self.known_events:,} ({share:.0%}) of the newest {self.events:,} "
            f"events with an item in topic {self.topic}: is it a model of another shop?"
        )


class _Items(msgspec.Struct):
    """The part of a bundle's vocabulary that is needed here."""

    items: list[str]


def familiarity(version: str, items: set[str], records: Iterable[Record], topic: str) -> Familiarity:
    """Count the records whose event names an item, and those whose item is one of `items`."""
    events = [parse(record.value, record.timestamp_ms) for record in records]
    clicked = [event["item_id"] for event in events if not isinstance(event, Refusal) and event.get("item_id")]
    return Familiarity(version, len(clicked), sum(item in items for item in clicked), topic)


def warning(settings: Settings, bootstrap: str) -> str:
    """Return a sentence if the model that `settings` name knows few of the newest events' items, else "".

    Where no Kafka answers, no topic is there or no model can be read, there is nothing to compare: "".
    """
    if not bootstrap:
        return ""
    with suppress(ServiceError, ModelError, OSError):
        folder = serving_folder(settings.model_dir)
        vocabulary = msgspec.json.decode((folder / "vocabulary.json").read_bytes(), type=_Items)
        ends = end_offsets(bootstrap, settings.events_topic)
        since = {partition: max(0, end - NEWEST_RECORDS // len(ends)) for partition, end in ends.items()}
        records = read_slice(bootstrap, settings.events_topic, since).records
        version = version_of(read_manifest(folder))
        return familiarity(version, set(vocabulary.items), records, settings.events_topic).warning()
    return ""
