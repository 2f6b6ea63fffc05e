"""Bound the visitors, items and categories that a source brings in: each is state in the jobs and a key in Redis."""

import hashlib
import secrets
from collections.abc import Iterator

from jobs.collect.admit import Rejected
from jobs.collect.items import Items
from jobs.collect.rates import TokenBuckets
from jobs.contract.events import Event

# What features are about. Every new one is kept for a day: in the features job some 1,400 bytes for an item.
ENTITIES = ("visitor_id", "item_id", "category")


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
    """Say of an event whether its new entities are within its source's bounds. Time is an argument."""

    def __init__(self, by_address: TokenBuckets, by_key: TokenBuckets, items: Items, now_s: float) -> None:
        self._by_address, self._by_key, self._items = by_address, by_key, items
        self._familiar = Familiar(now_s)

    def refuse(self, event: Event, key: str, address: str | None, now_s: float) -> Rejected | None:
        """Return why an event isn't stored; None if it is, and then its entities are known.

        `address` is None for a shop's server, whose new entities have no bound.
        """
        if "item_id" in event and not self._items.know(event["item_id"], now_s):
            return Rejected("unknown_item", "item_id")
        new = [each for each in ENTITIES if event.get(each) and not self._familiar.knows(_name(event, each), now_s)]
        if not new:
            return None
        if address is not None:
            buckets = ((self._by_address, address), (self._by_key, key))
            if any(bucket.wait_s(name, now_s, len(new)) > 0 for bucket, name in buckets):
                return Rejected("too_many_new", new[0])
            for bucket, name in buckets:
                bucket.take(name, len(new), now_s)
        for each in new:
            self._familiar.add(_name(event, each), now_s)
        return None


def _name(event: Event, field: str) -> str:
    return f"{field}\0{event[field]}"
