"""Count what the jobs refuse without stopping, so that `status` and `doctor` show it."""

import re
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import requests

from jobs.cluster import kafka
from jobs.cluster.runtime import Runtime
from jobs.connect import flink_rest, kafka_admin
from jobs.errors import ServiceError
from jobs.settings import Settings

# Shares from which a number means that something is set wrongly, and not that one event was.
MANY = 0.01
PUT_OFF = "429"
ANSWERS = re.compile(r'^collector_requests_total\{.*status="(\d+)".*\} ([0-9.eE+]+)$', re.MULTILINE)
COLLECTOR_S = 2.0
FEW = 20  # below so many, a share of events says nothing


class Quiet(msgspec.Struct, frozen=True, kw_only=True):
    """A number of things that were refused, out of how many; None where nobody could be asked.

    From `few` on it is looked at as a share.
    """

    name: str
    count: int | None
    of: int | None
    what: str
    fix: str
    few: int = FEW

    @property
    def ok(self) -> bool:
        """Return False if so many are refused that a person should look."""
        return self.count is None or self.count < self.few or self.count <= MANY * (self.of or 0)

    def __str__(self) -> str:
        return f"{self.count:,} {self.what}" if self.count is not None else "unknown"


def refused(settings: Settings, running: Runtime) -> list[Quiet]:
    """Return what was refused: letters that the topics still hold, and counts since the jobs' present start."""
    return [*_letters(settings, running), *_counters(running), _put_off(settings)]


def _letters(settings: Settings, running: Runtime) -> Iterator[Quiet]:
    topics = (
        ("refused events", settings.dead_topic, "refused by the contract", "liveshelf dead"),
        (
            "late events",
            settings.late_topic,
            "late for features",
            "liveshelf late; producers' clocks, or a longer delay",
        ),
    )
    bootstrap = running.kafka_bootstrap
    answers = bool(bootstrap) and kafka.answers(bootstrap)
    read = _held(bootstrap, settings.events_topic) if answers else None
    for name, topic, what, fix in topics:
        count = _held(bootstrap, topic) if answers else None
        yield Quiet(name=name, count=count, of=read, what=f"in {topic}, {what}", fix=fix)


def _held(bootstrap: str, topic: str) -> int | None:
    """Return how many records a topic holds, None if there is none or it can't be asked."""
    try:
        return kafka_admin.held(bootstrap, topic)
    except ServiceError:
        return None


def _counters(running: Runtime) -> Iterator[Quiet]:
    yield Quiet(
        name="visitors in two partitions",
        count=_counter(running, "lists_in_two_partitions"),
        of=_counter(running, "lists_written"),
        what="lists found one of another partition in their place",
        fix="give all producers one partitioner, see liveshelf schema; if the topic has just grown, it will pass",
        few=1,
    )


def _put_off(settings: Settings) -> Quiet:
    """Ask the collector on this machine for the requests that it put off: 429, to be sent again later."""
    count = of = None
    with suppress(requests.RequestException):
        url = f"http://127.0.0.1:{settings.collector_admin_port}/metrics"
        answers = ANSWERS.findall(requests.get(url, timeout=COLLECTOR_S).text)
        count = round(sum(float(number) for status, number in answers if status == PUT_OFF))
        of = round(sum(float(number) for _, number in answers))
    return Quiet(
        name="collector",
        count=count,
        of=of,
        what="requests were put off, too many of an address or of a key",
        fix="its metrics say which; jobs/collect/README.md names the bounds, and LIVESHELF_COLLECTOR_PROXIES",
    )


def _counter(running: Runtime, name: str) -> int | None:
    with suppress(requests.RequestException):
        return flink_rest.operator_counter(running.metrics_urls, name) if running.metrics_urls else None
    return None
