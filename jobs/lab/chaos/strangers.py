"""A1 to A6: what anybody can do who looked up a page's write key, at the limits of one address.

Each attack runs against a collector and both jobs while ten visitors click from other addresses. All connections are
on the loopback address. The collector takes it for a proxy, so a request may say whose it is.
"""

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests

from jobs.collect.body import MAX_EVENTS
from jobs.collect.serve import BURST_S, MAX_CONNECTIONS_OF_ADDRESS, NEW_BURST_S
from jobs.lab.bench.collector_system import KEY, RunningCollector
from jobs.lab.chaos.collisions import colliding_ids
from jobs.settings import Settings

Bound = Callable[[Settings, float], float]

ATTACKERS = "198.51.100."  # each attack has an address of its own, so that none lives on what another one has spent
IDLE_ADDRESS = "127.0.0.2"  # no proxy, so its connections count as its own
DENIALS = 100
MOST_HELD = 900  # connections; a process may have 1,024 files
IDLE_PER_S = 90
COLLIDING = 2000  # ids, in turn; each takes a millisecond to find
ORDERS = 200
HONEST_EVENTS_PER_S = 60  # ten visitors who click five times a second
HONEST = 10  # visitors who click meanwhile
GRAIN_S = 5.0  # the last request, and a clock's grain


@dataclass
class Ground:
    """Where an attack happens: the collector, until when, and what came of it. `counts` is by attack and outcome."""

    collector: RunningCollector
    until_s: float
    address: str
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until_s

    def add(self, what: str, count: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + count

    def post(self, body: Any, consent: str = "granted", address: str = "") -> requests.Response:
        """Send as one address; wait a little where it is told to, so that the attack goes on at the limit."""
        answer = self.collector.post(body, consent, KEY, x_forwarded_for=address or self.address)
        self.add(f"answered {answer.status_code}")
        if answer.status_code == 429:
            time.sleep(0.05)
        return answer


def event(event_id: str, visitor_id: str, **fields: Any) -> dict[str, Any]:
    base = {"schema_version": 1, "event_id": event_id, "event_type": "view", "visitor_id": visitor_id}
    return base | {"item_id": "A1", "category": "lamps", "price_minor": 1000} | fields


def denials(ground: Ground) -> None:
    """A1: deny for made-up visitors, as many in a request as are taken."""
    numbers, batch = itertools.count(), DENIALS
    while not ground.over:
        answer = ground.post([{"visitor_id": f"nobody-{next(numbers)}"} for _ in range(batch)], "denied")
        batch = DENIALS if answer.status_code == 200 else max(1, batch // 2)


def flips(ground: Ground) -> None:
    """A2: one visitor grants and denies by turns."""
    for number in itertools.count():
        if ground.over:
            return
        ground.post([event(f"flip-{number}", "flipper")], ("granted", "denied")[number % 2])


def new_items(ground: Ground) -> None:
    """A3: each event brings a new visitor, item and category."""
    numbers = itertools.count()
    while not ground.over:
        batch = [
            event(f"new-{number}", f"new-{number}", item_id=f"item-{number}", category=f"category-{number}")
            for number in itertools.islice(numbers, 100)
        ]
        answer = ground.post(batch)
        if answer.status_code == 200:
            ground.add("new entities taken", 3 * answer.json()["accepted"])


def colliding(ground: Ground) -> None:
    """A4: items whose ids have one hash in Flink."""
    ids = itertools.cycle(itertools.islice(colliding_ids(), COLLIDING))
    for batch_number in itertools.count():
        if ground.over:
            return
        batch = [
            event(f"hash-{batch_number}-{number}", "collider", item_id=item)
            for number, item in enumerate(itertools.islice(ids, 100))
        ]
        ground.post(batch)


def guessed(ground: Ground) -> None:
    """A5: send the ids of orders before the shop does, then let the customers buy."""
    ground.post([event(f"order-{number}", "guesser", event_type="purchase") for number in range(ORDERS)])
    bought = 0
    for number in range(ORDERS):
        order = event(f"order-{number}", f"customer-{number}", event_type="purchase", price_minor=5000)
        bought += ground.post([order], address=f"203.0.113.{number % 200}").json().get("accepted", 0)
    ground.add("purchases", bought)
    while not ground.over:
        time.sleep(0.1)


def idle_connections(ground: Ground) -> None:
    """A6: open connections and say nothing."""
    held: list[socket.socket] = []
    while not ground.over:
        for _ in range(IDLE_PER_S // 10):
            with suppress(OSError):
                held.append(
                    socket.create_connection(ground.collector.place, timeout=2, source_address=(IDLE_ADDRESS, 0))
                )
        ground.add("connections", IDLE_PER_S // 10)
        time.sleep(0.1)
        while len(held) > MOST_HELD:
            held.pop(0).close()
    for connection in held:
        connection.close()


@dataclass(frozen=True)
class Attack:
    """A named attack, and the most that it may leave behind: `bounds` are on the counts of `attacks.run`.

    A bound is of the collector's settings and of the seconds that the attack took.
    """

    name: str
    what: str
    act: Callable[[Ground], None]
    bounds: dict[str, Bound] = field(default_factory=dict)  # by count

    @property
    def address(self) -> str:
        return ATTACKERS + self.name.removeprefix("A")


def events_of_address(settings: Settings, seconds: float) -> float:
    per_s = settings.collector_address_events_per_s
    return max(MAX_EVENTS, BURST_S * per_s) + per_s * (seconds + GRAIN_S) + HONEST_EVENTS_PER_S * (seconds + GRAIN_S)


def kept_of_address(settings: Settings, seconds: float) -> float:
    """Return how much of one kind an address may bring that is kept: visitors, things, or denials."""
    return settings.collector_address_new_per_s * (NEW_BURST_S["address"] + seconds + GRAIN_S)


def connections_of_address(*_: object) -> float:
    """Return the address's share, and those of one step that are being refused."""
    return MAX_CONNECTIONS_OF_ADDRESS + IDLE_PER_S // 10


def visitors_and_things(settings: Settings, seconds: float) -> float:
    return 2 * kept_of_address(settings, seconds)


def records_of_flips(_: Settings, seconds: float) -> float:
    """Return at most: some changes of mind at once, and then one a second."""
    return 100 + seconds


def records_of_orders(*_: object) -> float:
    """Return a grant of each customer, and of who guesses."""
    return ORDERS + 1


ATTACKS = (
    Attack("A1", "made-up visitors deny", denials, {"consent records": kept_of_address}),
    Attack("A2", "one visitor grants and denies by turns", flips, {"consent records": records_of_flips}),
    Attack(
        "A3",
        "new visitors, items and categories",
        new_items,
        {"new entities taken": visitors_and_things, "consent records": kept_of_address},
    ),
    Attack("A4", "item ids of one hash", colliding, {"events": events_of_address}),
    Attack(
        "A5",
        "ids of orders, sent before the shop does",
        guessed,
        {"duplicates": lambda *_: 0, "consent records": records_of_orders},
    ),
    Attack("A6", "90 idle connections a second", idle_connections, {"connections held": connections_of_address}),
)


def honest_batches(name: int, number: int) -> Iterator[list[dict[str, Any]]]:
    """Yield what one honest visitor's page sends, one click at a time. `name` makes event ids that were never sent."""
    for click in itertools.count():
        yield [event(f"honest-{name}-{number}-{click}", f"honest-{number}", item_id=f"A{1 + click % 9}")]
