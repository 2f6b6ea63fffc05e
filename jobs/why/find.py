"""Find a visitor's list and all that it was made from: its log record, its session, its model, its shelves, facts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from jobs.cluster.runtime import Runtime
from jobs.connect import addresses, kafka_admin
from jobs.connect.kafka_read import stream
from jobs.contract.events import HEARTBEAT, Event, Refusal, parse, visitor_of
from jobs.contract.items import FactContract
from jobs.contract.shelf import ShelfValue, read_logged, shelf_key
from jobs.contract.shelf_plan import Shelf
from jobs.errors import DataError, DefinitionError
from jobs.settings import Settings
from jobs.verify import shelf_check
from jobs.verify.classify import Entry
from jobs.verify.fact_history import FactHistory
from jobs.verify.lists import current_session, known_events
from jobs.verify.plans import Plans
from jobs.verify.shelf_check import NO_CONSENT, question_of
from jobs.verify.shelf_log import LogRecord
from jobs.verify.shelf_sources import Question, Sources
from jobs.verify.versions import Versions
from models.serving.signature import read_public_key

if TYPE_CHECKING:
    from models.serving.bundle import Bundle

# A list is logged when a checkpoint is complete, but dated when it was made.
EARLIER_MS = 5_000
LOOK_BACK = (5_000, 100_000)  # records before the list's event in which the visitor's others are looked for
ERASED = "erased"
HOW_TO_SHOW = "liveshelf show, without an id, names visitors who have a list; liveshelf status"


@dataclass(frozen=True)
class Found:
    """A list, and the question that it answers."""

    visitor: str
    value: ShelfValue
    question: Question
    sources: Sources
    history: FactHistory

    @property
    def shelf(self) -> Shelf:
        return self.question.shelf


def find(
    settings: Settings, running: Runtime, visitor_ids: Sequence[str], name: str, contracts: list[FactContract]
) -> Found:
    """Return the newest of a visitor's lists on a shelf, and what it was made from.

    Raises DataError where there is no such list or not enough is left to explain it, DefinitionError for an unknown
    shelf.
    """
    plans, bootstrap = Plans.of(settings), running.kafka_bootstrap
    visitor, value = _list_of(running, visitor_ids, name, plans)
    shop = plans.by_version.get(value.shelves)
    if shop is None:
        what = f"the list was made by {value.shelves}, which isn't in {plans.folder}"
        raise DataError(what, "put that version's folder back: shelves publish writes it again from the same file")
    bundle = Versions(settings.model_dir, read_public_key(settings.model_public_key)).named(value.model)
    if bundle.version != value.model:
        raise DataError(f"the list was made by the model {value.model}, which is gone", "liveshelf models list")
    logged = _logged(settings, bootstrap, visitor, name, value)
    events = _events(settings, bootstrap, visitor, value, logged, bundle)
    history = fact_history(bootstrap, contracts)
    if not history.is_whole(value.facts, logged.now_ms):
        raise DataError("facts of the list's time may have been compacted away", "ask of a newer list")
    sources = Sources(shop, bundle, history)
    question = question_of(sources, shop.shelf(name), events, logged)
    return Found(visitor, value, question, sources, history)


def fact_history(bootstrap: str, contracts: Sequence[FactContract]) -> FactHistory:
    """Return what was known of each item at any moment. Raises ServiceError."""
    return FactHistory(
        {contract: stream(bootstrap, contract.topic, must_exist=False) for contract in contracts},
        time.time_ns() // 1_000_000,
    )


def _list_of(running: Runtime, visitor_ids: Sequence[str], name: str, plans: Plans) -> tuple[str, ShelfValue]:
    if plans.by_version and name not in plans.names():
        raise DefinitionError(
            f"no published version has a shelf {name!r}", f"one of {', '.join(sorted(plans.names()))}"
        )
    keys = [shelf_key(visitor, name) for visitor in visitor_ids]
    with addresses.redis_client(running.redis_url) as client:
        stored = dict(zip(visitor_ids, client.mget(keys), strict=True))
    found = {visitor: shelf_check.decode_value(value) for visitor, value in stored.items() if value}
    lists = {visitor: value for visitor, value in found.items() if value is not None and value.fallback != ERASED}
    if not lists:
        raise DataError(f"this visitor has no list on the shelf {name!r}", HOW_TO_SHOW)
    visitor = max(lists, key=lambda each: lists[each].event_time_ms)
    value = lists[visitor]
    if not value.shelves:
        raise DataError("the list was made without shelves: it has no rules", "liveshelf shelves publish --activate")
    if value.fallback == NO_CONSENT:
        what = "the visitor mayn't be personalized: the list says nothing of them, and isn't logged"
        raise DataError(what, "ask of a visitor who agreed; liveshelf person show says what this one said")
    return visitor, value


def _logged(settings: Settings, bootstrap: str, visitor: str, name: str, value: ShelfValue) -> LogRecord:
    """Return the list's log record."""
    topic, key = settings.rankings_topic, visitor.encode()
    since = kafka_admin.offsets_at(bootstrap, topic, value.computed_at_ms - EARLIER_MS)
    found = None
    for record in stream(bootstrap, topic, since, wanted=lambda each: each == key):
        try:
            logged = read_logged(record.value, LogRecord)
        except msgspec.DecodeError:
            continue
        if (logged.shelf, logged.list_id, logged.facts) == (name, value.list_id, value.facts):
            found = logged
    if found is None:
        what = f"{topic} holds no record of the list {value.list_id} of {name}"
        raise DataError(what, "it is there when the next checkpoint is complete, unless retention has taken it")
    return found


def _events(
    settings: Settings, bootstrap: str, visitor: str, value: ShelfValue, logged: LogRecord, bundle: "Bundle"
) -> list[Event]:
    """Return the session that the list answers, from the topic of events: the record of the log names items only."""
    partition, offset = logged.place
    topic, gap_ms = settings.events_topic, settings.ranker.session_gap_s * 1000
    ends = kafka_admin.end_offsets(bootstrap, topic)
    for back in LOOK_BACK:
        since = ends | {partition: max(0, offset - back)}
        arrivals = []
        for record in stream(bootstrap, topic, since):
            if record.offset > offset:
                break
            if visitor_of(record.value) == visitor:
                event = parse(record.value, record.timestamp_ms)
                if not isinstance(event, Refusal) and event["event_type"] != HEARTBEAT:
                    arrivals.append(Entry(record, "counted", event))
        session = current_session(arrivals, gap_ms) if arrivals else None
        if session is None or len(session.events) != value.session_events:
            continue
        if [event["item_id"] for event in known_events(session, bundle)] == logged.session_items:
            return session.events
    raise DataError(
        f"{topic} doesn't hold the {value.session_events} events any more that the list answers", "ask of a newer list"
    )
