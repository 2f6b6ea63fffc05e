"""Read the consent topic, and write to it. What its records mean stands in `jobs/contract/consent.py`."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from jobs.connect import addresses, kafka_admin
from jobs.connect.kafka_read import read_slice
from jobs.contract.consent import Consents, Mode, Record, State
from jobs.contract.consent_record import visitor_of
from jobs.errors import ServiceError
from jobs.settings import Settings

LAG = "min.compaction.lag.ms"
FOR_EVER_MS = 10 * 365 * 86_400_000  # ten years
# The broker dates records: by its clock it is judged whether a record's own time lies ahead.
CLOCK = {"message.timestamp.type": "LogAppendTime"}
TOPIC = {"cleanup.policy": "compact", LAG: str(FOR_EVER_MS), **CLOCK}
# Asked for the broker's time. No visitor is called so, and a record without a value says nothing about anybody.
NOBODY = b"liveshelf asks for the time"
EPOCH_MS = 1  # what a broker answers that keeps the producer's time
# A record that lies five minutes ahead can't be read, and clocks drift on.
MAX_WRONG_MS = 60_000
TRIES = 3


def judged(settings: Settings) -> tuple[str, ...]:
    """Return the topics whose records are about visitors, and are judged by what these visitors have said."""
    return settings.events_topic, settings.dead_topic, settings.late_topic, settings.rankings_topic


def wanted(topics: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the topic's settings, by those of the topics that are judged by it.

    A consent must stay readable as long as any record that it is about. Otherwise a last grant would be found, and not
    the withdrawal before it. Kafka deletes by whole segments.
    """
    lags_ms = [
        int(each["retention.ms"]) + int(each["segment.ms"]) if int(each["retention.ms"]) >= 0 else FOR_EVER_MS
        for each in topics
    ]
    return TOPIC | {LAG: str(min(FOR_EVER_MS, max(lags_ms, default=FOR_EVER_MS)))}


def missing(bootstrap: str, topic: str, topics: Sequence[str]) -> dict[str, str]:
    """Return the settings that the topic should have and hasn't, by those of `topics`, which are judged by it.

    Raises `ServiceError` if the broker doesn't tell.
    """
    found, *others = kafka_admin.configs(bootstrap, (topic, *topics))
    return {name: value for name, value in wanted(others).items() if found[name] != value}


def mend(bootstrap: str, topic: str, topics: Sequence[str]) -> None:
    """Set what is missing: compaction lags behind the retention of `topics` as it is now. Raise `ServiceError`."""
    if settings := missing(bootstrap, topic, topics):
        kafka_admin.set_configs(bootstrap, topic, settings)


def read(bootstrap: str, topic: str, mode: Mode) -> Consents:
    """Return all consents as they stand; raise `ServiceError` if Kafka doesn't answer.

    A topic that doesn't exist holds none.
    """
    return Follower(bootstrap, topic, mode).now()


class Follower:
    """Reads the topic once, and from then on what is new."""

    def __init__(self, bootstrap: str, topic: str, mode: Mode) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self._consents = Consents(mode)
        self._next: dict[int, int] = {}  # partition → first offset that wasn't read

    def now(self) -> Consents:
        """Return all consents as they stand now; raise as `read` does. It is the same object each time."""
        self.news()
        return self._consents

    def news(self) -> set[str]:
        """Read what is new, and return the visitors whom it is about."""
        new = read_slice(self._bootstrap, self._topic, self._next, must_exist=False)
        self._next |= new.end
        heard: set[str] = set()
        for record in new.taken():
            self._consents.take(record.position, record.key, record.value, record.timestamp_ms)
            if isinstance(visitor := visitor_of(record.key), str):
                heard.add(visitor)
        return heard


def now_ms(bootstrap: str, topic: str) -> int:
    """Return the broker's time, by which it will date a consent.

    This machine's clock may be wrong. Then a consent would be older than what it should replace, or lie ahead and
    couldn't be read. Kafka tells its time only to who writes, so a record is written that says nothing.
    Raises `ServiceError` if Kafka doesn't take it, or if the topic keeps the times of who writes.
    """
    found_ms = _told_ms(bootstrap, topic)
    if found_ms is None:
        setting = ",".join(f"{name}={value}" for name, value in CLOCK.items())
        raise ServiceError(
            f"the broker doesn't date the topic {topic!r}, so nobody knows whether a clock is right",
            f"liveshelf up; in a broker of your own: kafka-configs.sh --alter --add-config {setting}",
        )
    return found_ms


def check_clock(bootstrap: str, topic: str) -> None:
    """Raise `ServiceError` if this machine's clock isn't the broker's, as far as the broker dates the topic."""
    found_ms, here_ms = _told_ms(bootstrap, topic), time.time_ns() // 1_000_000
    if found_ms is not None and abs(here_ms - found_ms) > MAX_WRONG_MS:
        wrong = f"{abs(here_ms - found_ms) / 1000:,.0f} s {'ahead of' if here_ms > found_ms else 'behind'} the broker's"
        raise ServiceError(
            f"this machine's clock is {wrong}: consents would be dated wrong", "set both clocks, by NTP for example"
        )


def _told_ms(bootstrap: str, topic: str) -> int | None:
    """Return the broker's time, None if the topic keeps the times of who writes."""
    (found_ms,) = _written(bootstrap, topic, [(NOBODY, None, EPOCH_MS)])
    return None if found_ms == EPOCH_MS else found_ms


def say(bootstrap: str, topic: str, mode: Mode, visitors: Collection[str], state: State) -> None:
    """Say for visitors that they grant or withdraw from now on, and return when it is what holds.

    Another record of the same moment may outlive this one: of equal times the denial counts. Then it is said again.
    Raises `ServiceError` if it doesn't hold after that, and as `now_ms` does.
    """
    follower, left = Follower(bootstrap, topic, mode), list(visitors)
    for _ in range(TRIES):
        record = Record(state, now_ms(bootstrap, topic))
        send(bootstrap, topic, dict.fromkeys(left, record))
        consents = follower.now()
        left = [visitor for visitor in left if not consents.holds(visitor, state)]
        if not left:
            return
    raise ServiceError(
        f"of {len(visitors)} ids {len(left)} are still not {state!r}: others write about them at the same time",
        "say it again; liveshelf person show ID tells what holds",
    )


def send(bootstrap: str, topic: str, records: Mapping[str, Record]) -> None:
    """Write consents by visitor, and return when Kafka has them; raise `ServiceError` if it doesn't take them."""
    encode = msgspec.json.encode
    _written(bootstrap, topic, [(who.encode(), encode(record), record.at_ms) for who, record in records.items()])


def _written(bootstrap: str, topic: str, records: Sequence[tuple[bytes, bytes | None, int]]) -> list[int]:
    """Write records of key, value and time; return the timestamps that Kafka gave them."""
    try:
        with closing(KafkaProducer(**addresses.kafka_python(bootstrap), acks="all")) as producer:
            acks = [producer.send(topic, key=key, value=value, timestamp_ms=at_ms) for key, value, at_ms in records]
            return [ack.get(timeout=30).timestamp for ack in acks]
    except (KafkaError, ValueError) as error:
        raise ServiceError(f"Kafka at {bootstrap} didn't take the consent: {error}", "liveshelf up") from error
