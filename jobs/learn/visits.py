"""Turn the topic's events into the sessions that a model learns from."""

from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from jobs.connect import addresses
from jobs.connect.kafka_patience import patiently
from jobs.contract.consent import Consents
from jobs.contract.events import HEARTBEAT, Refusal, parse
from jobs.errors import ServiceError
from models.clicks.dataset import Event, Session
from models.clicks.sessions import click_of, cut

POLL_MS = 1000
# A refused version leaves its sessions to the next training. This many take about 1 GB; the oldest are dropped.
KEPT_SESSIONS = 500_000


class _Click(NamedTuple):
    """What a model learns of an event, and the event's place in the topic."""

    event: Event
    partition: int
    offset: int


class _Held(NamedTuple):
    """A session that is over: whose it is, and the partition and the offset of each event, one after the other."""

    visitor: str
    session: Session
    places: array

    def allowed(self, consents: Consents) -> "_Held | None":
        """Return what may still be learned from of a session, None if nothing may."""
        kept = [
            place
            for place, event in enumerate(self.session)
            if _counts(consents, self.visitor, self.places[2 * place], self.places[2 * place + 1], event)
        ]
        if len(kept) == len(self.session):
            return self
        places = array("q", (each for place in kept for each in self.places[2 * place : 2 * place + 2]))
        return _Held(self.visitor, [self.session[place] for place in kept], places) if kept else None


class _Visit(msgspec.Struct):
    """Whose event it is, and when it happened. Heartbeats are nobody's."""

    visitor_id: str | None = None
    event_time_ms: int = 0


_decode = msgspec.json.Decoder(_Visit).decode


def counts(consents: Consents, record: ConsumerRecord) -> bool:
    """Return whether a record's event may be learned from. Its own fields say so, and not the record's key or time.

    What can't be read counts for nobody; `Visits` refuses it.
    """
    try:
        visit = _decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if visit.visitor_id is None:
        return True
    place = record.partition, record.offset
    return consents.verdict(visit.visitor_id, *place, visit.event_time_ms) == "counts"


def _counts(consents: Consents, visitor: str, partition: int, offset: int, event: Event) -> bool:
    return consents.verdict(visitor, partition, offset, round(event.time_s * 1000)) == "counts"


class Visits:
    """Hold the sessions that no version has learned from, in event time, cut as the rankings job cuts them.

    Whose they are and where their events lie is held too, so that consent can be asked again before each training.
    """

    def __init__(self, gap_s: float, learned_until_s: float = 0.0) -> None:
        self._gap_s, self._learned_until_s = gap_s, learned_until_s
        self._open: dict[str, dict[str, _Click]] = {}  # visitor → event id → click
        self._over: list[_Held] = []
        self.newest_s = 0.0

    def obey(self, consents: Consents) -> None:
        """Drop what may no longer be learned from, since its visitor has withdrawn or was erased."""
        for visitor, clicks in list(self._open.items()):
            self._open[visitor] = {
                name: click
                for name, click in clicks.items()
                if _counts(consents, visitor, click.partition, click.offset, click.event)
            }
            if not self._open[visitor]:
                del self._open[visitor]
        self._over = [held for each in self._over if (held := each.allowed(consents))]

    def add(self, records: Iterable[ConsumerRecord]) -> None:
        """Add records of the events topic. Refused events, heartbeats and events without an item are left out."""
        for record in records:
            event = parse(record.value)
            if isinstance(event, Refusal):
                continue
            time_s = event["event_time_ms"] / 1000
            self.newest_s = max(self.newest_s, time_s)
            click = click_of(event) if event["event_type"] != HEARTBEAT else None
            if click:
                placed = _Click(click, record.partition, record.offset)
                self._open.setdefault(event["visitor_id"], {}).setdefault(event["event_id"], placed)
        self._close()

    def over(self) -> list[Session]:
        """Return the sessions that are over and not yet learned from, oldest first."""
        return sorted((held.session for held in self._over), key=lambda session: session[-1].time_s)

    def since(self, time_s: float) -> list[Session]:
        """Return the sessions with an event after `time_s`, also those that are going on."""
        over = [held.session for held in self._over]
        going_on = [part for clicks in self._open.values() for part in cut(_events(clicks), self._gap_s)]
        return [session for session in over + going_on if session[-1].time_s > time_s]

    def learned(self, until_s: float) -> None:
        """Forget the sessions that ended at `until_s` or before."""
        self._learned_until_s = until_s
        self._over = [held for held in self._over if held.session[-1].time_s > until_s]

    def _close(self) -> None:
        for visitor, clicks in list(self._open.items()):
            *ended, last = cut(_events(clicks), self._gap_s)
            if last[-1].time_s + self._gap_s < self.newest_s:
                ended.append(last)
                del self._open[visitor]
            elif ended:
                begin_s = last[0].time_s
                self._open[visitor] = {name: click for name, click in clicks.items() if click.event.time_s >= begin_s}
            new = [session for session in ended if session[-1].time_s > self._learned_until_s]
            places = {id(click.event): click[1:] for click in clicks.values()} if new else {}
            for session in new:
                listed = array("q", (each for event in session for each in places[id(event)]))
                self._over.append(_Held(visitor, session, listed))
        self._over = self._over[-KEPT_SESSIONS:]


def _events(clicks: Mapping[str, _Click]) -> list[Event]:
    return [click.event for click in clicks.values()]


class Tail:
    """Read a topic from a moment on. It commits no offsets: the active version says up to when it has learned."""

    def __init__(self, bootstrap: str, topic: str, since_ms: int, consents: Callable[[], Consents]) -> None:
        """Open the topic at `since_ms`.

        `consents` returns consent as it stands when it is called; events of visitors without consent aren't read.
        `Visits.obey` asks again before each training, because a visitor may have withdrawn since.
        Raises ServiceError if the broker doesn't answer or there is no such topic.
        """
        self._consents = consents
        try:
            self._consumer = KafkaConsumer(
                **addresses.kafka_python(bootstrap),
                group_id=None,
                enable_auto_commit=False,
                allow_auto_create_topics=False,
            )
            partitions = [
                TopicPartition(topic, number) for number in patiently(self._consumer.partitions_for_topic, topic) or ()
            ]
            if not partitions:
                raise ServiceError(f"there is no topic {topic!r} on {bootstrap}", "liveshelf up, or name another topic")
            self._consumer.assign(partitions)
            for partition, first in patiently(
                self._consumer.offsets_for_times, dict.fromkeys(partitions, since_ms)
            ).items():
                self._consumer.seek(partition, first.offset) if first else self._consumer.seek_to_end(partition)
        except (KafkaError, ValueError) as error:
            raise ServiceError(f"Kafka at {bootstrap} doesn't answer: {error}", "liveshelf up") from error

    def read(self) -> list[ConsumerRecord]:
        """Return up to 10,000 new records that count; none after a second without a record."""
        batches = self._consumer.poll(timeout_ms=POLL_MS, max_records=10_000)
        if not batches:
            return []
        consents = self._consents()
        records = [record for batch in batches.values() for record in batch]
        return [record for record in records if counts(consents, record)]

    def close(self) -> None:
        self._consumer.close()
