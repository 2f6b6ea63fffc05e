"""Send a shop's real clicks while faults happen, with the data scenarios D1 to D5 in the stream.

D1: 2 % are sent twice, and 1 % have an id that came before and another body. D2: all are out of order within 60 s, the
watermark delay. D3: 1 % are later than that. D4: clocks are at +23 h, 2099, 1970, and 5 min ahead or behind. D5:
records are damaged, and hypothesis makes strings of bytes.
"""

import random
import threading
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cache, partial
from itertools import chain
from typing import Any

import msgspec
from kafka import KafkaProducer

from jobs.connect import addresses, kafka_send
from jobs.contract.events import Event, Refusal, parse
from jobs.errors import ServiceError
from jobs.lab.repeating import repeating
from jobs.lab.replay import produce, sources

DELAY_S = 60
DAYS_AT_ONCE = 8  # of the shop's August, laid over each other: a day then has about 8,000 clicks
DAY_MS = 86_400_000
GAP_MS = 1_800_000  # between two sessions, as in feature_repo and settings
UNFINISHED_MS = 3000  # of a transaction; the broker looks every 10 s
LIST = 40  # strings that hypothesis makes at once
HARD = {"shuffle_within_s": DELAY_S, "duplicate": 0.02, "corrupt": 0.01}


@cache
def _august() -> list[list[Event]]:
    days: dict[int, list[Event]] = {}
    for event in sources.read("eshop2008", since="2008-08-01"):
        days.setdefault(event["event_time_ms"] // DAY_MS, []).append(event)
    return list(days.values())


def clicks(seed: int, block: int, count: int, start_ms: int) -> list[Event]:
    """Return `count` clicks in event-time order, the first at `start_ms`.

    Event ids hold seed and block; visitors come again.
    """
    rng = random.Random(f"{seed}/{block}/days")
    chosen = rng.sample(_august(), DAYS_AT_ONCE)
    merged = sorted(chain(*chosen), key=lambda event: event["event_time_ms"] % DAY_MS)[:count]
    first_ms = merged[0]["event_time_ms"] % DAY_MS
    return [
        event
        | {
            "event_id": f"{event['event_id']}@{seed}.{block}",
            "event_time_ms": start_ms + event["event_time_ms"] % DAY_MS - first_ms,
        }
        for event in merged
    ]


def half_by_one(seed: int, block: int, count: int, start_ms: int) -> list[Event]:
    """D6: return clicks of which every other one is by one visitor."""
    events = clicks(seed, block, count, start_ms)
    return [event | {"visitor_id": "bot"} if number % 2 else event for number, event in enumerate(events)]


def thirty_hours(seed: int, block: int, count: int, start_ms: int) -> list[Event]:
    """D9: return one visitor's session of 30 h, with a pause of exactly the gap in it.

    The last click follows 1 ms more than the gap later and starts another session.
    """
    templates = clicks(seed, block, 100, start_ms)
    step_ms, visitor = 30 * 3_600_000 // count, f"long-{seed}.{block}"
    times_ms = [start_ms + number * step_ms for number in range(count)]
    half = count // 2
    times_ms = [*times_ms[:half], *(time + GAP_MS - step_ms for time in times_ms[half:])]
    times_ms.append(times_ms[-1] + GAP_MS + 1)
    return [
        templates[number % 100] | {"event_id": f"{visitor}-{number}", "event_time_ms": time_ms, "visitor_id": visitor}
        for number, time_ms in enumerate(times_ms)
    ]


def hard(events: Iterable[Event], rng: random.Random) -> Iterator[Event]:
    """Yield the events, and among them D1's second bodies and D3's late events."""
    for event in events:
        yield event
        chance = rng.random()
        if chance < 0.01:
            yield event | {"event_type": "add_to_cart" if event["event_type"] == "view" else "view"}
        elif chance < 0.02:
            late_ms = event["event_time_ms"] - rng.randint(2 * DELAY_S * 1000, 600_000)
            yield event | {"event_id": f"{event['event_id']}~late", "event_time_ms": late_ms}


def wrong_clocks(seed: int, block: int, at_ms: int, now_ms: int) -> list[bytes]:
    """D4: return events of wrong clocks: 5 min off the stream's, 23 h ahead of the present, in 2099 and in 1970."""
    times_ms = {"behind": at_ms - 300_000, "ahead": at_ms + 300_000, "23h": now_ms + 82_800_000}
    times_ms |= {"2099": 4_070_908_800_000, "1970": 1_000}
    return [
        msgspec.json.encode(
            {
                "schema_version": 1,
                "event_id": f"clock-{name}@{seed}.{block}",
                "event_type": "view",
                "event_time_ms": time_ms,
                "visitor_id": f"clock-{name}",
                "item_id": "A1",
            }
        )
        for name, time_ms in times_ms.items()
    ]


def poison(seed: int, count: int) -> list[bytes]:
    """D5: return different byte strings from hypothesis: bytes, text, deep JSON, and events with something wrong."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st
    from hypothesis.errors import HypothesisDeprecationWarning

    # It warns when another thread draws a random number meanwhile. Threads of libraries do.
    warnings.filterwarnings("ignore", category=HypothesisDeprecationWarning)
    json = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
        max_leaves=12,
    )
    fields = st.sampled_from(["schema_version", "event_id", "event_type", "event_time_ms", "visitor_id", "item_id"])
    broken = st.builds(lambda event, name, value: event | {name: value}, st.just(_EVENT), fields, json)
    texts = st.one_of(json, broken).map(_plain_json)
    deep = st.integers(1, 2000).map(lambda depth: b"[" * depth + b"]" * depth)
    values = st.one_of(
        st.binary(max_size=200), st.text(max_size=100).map(lambda text: text.encode()), texts, texts, deep
    )
    strings: dict[bytes, None] = {}
    tries = 0
    while len(strings) < count:
        some = settings(
            max_examples=max(
                10, (count - len(strings)) // LIST
            ),  # all are made, at 2 ms a string; the first is always the least
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        lists = given(st.lists(values, min_size=LIST, max_size=LIST + 20, unique=True))
        tries += 1
        seeded(seed * 1000 + tries)(some(lists(lambda batch: strings.update(dict.fromkeys(batch)))))()
    return list(strings)[:count]


_EVENT = {
    "schema_version": 1,
    "event_id": "p",
    "event_type": "view",
    "event_time_ms": 1,
    "visitor_id": "p",
    "item_id": "p",
}


def _plain_json(value: object) -> bytes:
    """Encode as careless producers do: NaN, Infinity and lone surrogates pass."""
    import json

    return json.dumps(value).encode("utf-8", "surrogatepass")


def send_raw(bootstrap: str, topic: str, values: Iterable[bytes], time_ms: int) -> int:
    """Send values as they are and return their number.

    An event has its visitor as key. Of the other values every second one has none.
    """
    with closing(kafka_send.connect(bootstrap, topic, fast=False)) as sender:
        sent = 0
        for sent, value in enumerate(values, 1):
            event = parse(value)
            key = b"poison" if sent % 2 else None
            sender.send(key if isinstance(event, Refusal) else event.get("visitor_id", "").encode(), value, time_ms)
        sender.flush()
    return sent


def take_back(bootstrap: str, topic: str, events: Iterable[Event], abort: bool) -> None:
    """Send events in a transaction that is aborted, or that nobody ends; the broker ends that after `UNFINISHED_MS`."""
    name = f"taken-back-{uuid.uuid4()}"
    producer = KafkaProducer(
        **addresses.kafka_python(bootstrap), transactional_id=name, transaction_timeout_ms=UNFINISHED_MS
    )
    with closing(producer):
        producer.init_transactions()
        producer.begin_transaction()
        for event in events:
            producer.send(topic, key=event["visitor_id"].encode(), value=msgspec.json.encode(event))
        producer.flush()
        if abort:
            producer.abort_transaction()


def beat(bootstrap: str, topic: str, time_ms: int) -> int:
    """Send a heartbeat to each partition, as producers do all the time; return their number.

    Without them a job that goes on from a checkpoint at the end of one partition would wait for that one for ever: a
    watermark isn't kept in checkpoints, and here no partition is idle (`idle_timeout_s=0`).
    """
    with closing(kafka_send.connect(bootstrap, topic, fast=False)) as sender:
        _beat(sender, time_ms)
        return sender.partitions


@contextmanager
def beating(bootstrap: str, topic: str, time_ms: int) -> Iterator[None]:
    """Beat each second meanwhile.

    Flink's source commits what it has read when the next record comes, or after 10 s.
    """
    with closing(kafka_send.connect(bootstrap, topic, fast=False)) as sender:
        _beat(sender, time_ms)
        with repeating(lambda: _beat(sender, time_ms), 1, "heartbeats"):
            yield


def _beat(sender: kafka_send.Sender, time_ms: int) -> None:
    produce.beat(sender, time_ms)
    sender.flush()


class Traffic:
    """Clicks on their way, hardened with D1 to D3, on a thread; `knobs` are the replay's (`produce.Knobs`)."""

    def __init__(self, bootstrap: str, topic: str, events: Iterable[Event], seed: str, **knobs: Any) -> None:
        self._error: Exception | None = None
        self._report: produce.ReplayReport | None = None
        stream = hard(events, random.Random(f"{seed}/hard"))
        send = partial(produce.replay, bootstrap, topic, stream, watermark_delay_s=DELAY_S, seed=seed, **HARD, **knobs)
        self._thread = threading.Thread(target=self._run, args=[send], name="traffic", daemon=True)
        self._thread.start()

    @property
    def going(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> produce.ReplayReport:
        """Wait until all is sent and return the report; raise what went wrong."""
        self._thread.join()
        if self._report is None:
            raise self._error or ServiceError("the traffic ended without a report")
        return self._report

    def _run(self, send: Callable[[], produce.ReplayReport]) -> None:
        try:
            self._report = send()
        except Exception as error:
            self._error = error
