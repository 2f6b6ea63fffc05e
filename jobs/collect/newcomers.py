"""Bound the visitors, items and categories that a source brings in: each is state in the jobs and a key in Redis."""

import hashlib
import math
import secrets
from collections.abc import Iterator, Mapping
from typing import Literal

from jobs.collect.admit import Rejected
from jobs.collect.items import Items
from jobs.collect.rates import Bound
from jobs.collect.refusal import RequestRefusedError
from jobs.collect.source import Source
from jobs.contract.events import Event

Kind = Literal["visitors", "things"]
# What features are about. Every new one is kept for a day: in the features job some 3,500 bytes. Visitors
# have a bound of their own, so that who makes up items keeps no visitor out.
KINDS: dict[str, Kind] = {"visitor_id": "visitors", "item_id": "things", "category": "things"}
MAX_NEW_OF_EVENT = 2  # of one kind: an item and its category


class Familiar:
    """Remember which entities came within a day, approximately: two Bloom filters, of which the older one is dropped.

    10 bits a name and 4 probes take 1 % of the new ones for known. Names hash with a secret of this process, so nobody
    can choose names that are taken for known.
    """

    BITS = 1 << 23  # a filter has 1 MiB
    MOST = 800_000  # names in a filter
    LIFETIME_S = 86_400.0

    def __init__(self, now_s: float) -> None:
        self._key = secrets.token_bytes(32)
        self._young, self._old = bytearray(self.BITS // 8), bytearray(self.BITS // 8)
        self._names, self._since_s = 0, now_s

    def knows(self, name: str, now_s: float) -> bool:
        """Return True if the name was added lately. A known one stays known."""
        self._turn(now_s)
        places = list(self._places(name))
        if _holds(self._young, places):
            return True
        known = _holds(self._old, places)
        if known:
            self._set(places)
        return known

    def add(self, name: str, now_s: float) -> None:
        self._turn(now_s)
        self._set(list(self._places(name)))

    def _set(self, places: list[int]) -> None:
        for place in places:
            self._young[place >> 3] |= 1 << (place & 7)
        self._names += 1

    def _turn(self, now_s: float) -> None:
        if self._names >= self.MOST or now_s - self._since_s >= self.LIFETIME_S:
            self._young, self._old = bytearray(self.BITS // 8), self._young
            self._names, self._since_s = 0, now_s

    def _places(self, name: str) -> Iterator[int]:
        digest = hashlib.blake2b(name.encode(), key=self._key, digest_size=16).digest()
        return (int.from_bytes(digest[start : start + 4]) % self.BITS for start in range(0, 16, 4))


def _holds(bits: bytearray, places: list[int]) -> bool:
    return all(bits[place >> 3] >> (place & 7) & 1 for place in places)


class Newcomers:
    """Bound the new entities of each kind. Time is an argument."""

    def __init__(self, bounds: Mapping[Kind, Bound], items: Items, now_s: float) -> None:
        self._bounds, self._items = bounds, items
        self._familiar = Familiar(now_s)

    def arrivals(self, source: Source, now_s: float) -> "Arrivals":
        return Arrivals(self._bounds, self._items, self._familiar, source, now_s)


class Arrivals:
    """The new entities of one request, which is taken as a whole or not at all.

    What was refused alone would be lost: a page sends again what wasn't answered with 200.
    """

    def __init__(
        self, bounds: Mapping[Kind, Bound], items: Items, familiar: Familiar, source: Source, now_s: float
    ) -> None:
        self._bounds, self._items, self._familiar = bounds, items, familiar
        self._source, self._now_s = source, now_s
        self._new: dict[Kind, set[str]] = {kind: set() for kind in bounds}

    def refuse(self, event: Event) -> Rejected | None:
        """Return why an event isn't stored; None if it may be, and then its entities are among the arrivals."""
        if "item_id" in event and not self._items.know(event["item_id"], self._now_s):
            return Rejected("unknown_item", "item_id")
        for field, kind in KINDS.items():
            name = f"{field}\0{event.get(field)}"
            if event.get(field) and not self._familiar.knows(name, self._now_s):
                self._new[kind].add(name)
        return None

    def settle(self, now_s: float) -> None:
        """Let the arrivals in: from now on they are known. A shop's server may bring any number.

        Raises RequestRefusedError: 429 if there are too many now, 413 if there are more than may ever come at once.
        """
        if not self._source.is_server:
            self._spend(now_s)
        for name in set().union(*self._new.values()):
            self._familiar.add(name, now_s)

    def _spend(self, now_s: float) -> None:
        """Take nothing of one kind where another one is refused."""
        who = (self._source.key, self._source.networks)
        new = {self._bounds[kind]: len(names) for kind, names in self._new.items() if names}
        wait_s = max((bound.wait_s(*who, count, now_s) for bound, count in new.items()), default=0.0)
        if wait_s == math.inf:
            raise RequestRefusedError(413, "too_many_new")
        if wait_s > 0:
            raise RequestRefusedError(429, "too_many_new", wait_s)
        for bound, count in new.items():
            bound.take(*who, count, now_s)
