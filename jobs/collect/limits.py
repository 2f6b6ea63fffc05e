"""Bound what one source may do: requests, events and new entities of an address and of a key."""

import math
import time
from dataclasses import dataclass

from jobs.collect.body import MAX_EVENTS
from jobs.collect.newcomers import Newcomers
from jobs.collect.rates import TokenBuckets
from jobs.collect.refusal import RequestRefusedError

# A body costs as much as an event for each so many bytes, whatever is in it: 4 MiB of broken JSON take 36 ms of CPU.
BYTES_OF_EVENT = 4096
MAX_DENIALS = 100  # in one request with a page's key; a shop's server may send more


@dataclass(frozen=True)
class Source:
    """Who sent a request: the name of the key, and that of the address, which is None for a shop's server."""

    key: str
    address: str | None


@dataclass(frozen=True)
class Limits:
    """The buckets of all sources. Each raises RequestRefusedError (429) where there isn't enough in one.

    A server's events are bounded by its key alone: its address is that of all its visitors.
    """

    requests_of_address: TokenBuckets
    events_of_address: TokenBuckets
    events_of_key: TokenBuckets
    newcomers: Newcomers
    denials_of_address: TokenBuckets

    def spend_denials(self, source: Source, denials: int) -> None:
        """Take the denials that are written. Each is remembered for good, whether its visitor exists or not."""
        if source.address is not None and denials:
            if denials > MAX_DENIALS:
                raise RequestRefusedError(400, "visitors")
            _refuse(self.denials_of_address.take(source.address, denials, time.monotonic()))

    def spend_request(self, address: str) -> None:
        _refuse(self.requests_of_address.take(address, 1, time.monotonic()))

    def check_events(self, source: Source) -> None:
        """Refuse before the body is read where not even one event would be taken."""
        self._check(source, 1, time.monotonic())

    def spend_body(self, source: Source, size: int) -> int:
        """Take what a body costs by its size, and return it."""
        return self._spend(source, min(MAX_EVENTS, math.ceil(size / BYTES_OF_EVENT)))

    def spend_events(self, source: Source, events: int, paid: int) -> None:
        """Take what events cost beyond what was `paid` for their body."""
        self._spend(source, max(0, events - paid))

    def _spend(self, source: Source, tokens: int) -> int:
        now_s = time.monotonic()
        self._check(source, tokens, now_s)
        for buckets, name in self._buckets(source):
            buckets.take(name, tokens, now_s)
        return tokens

    def _check(self, source: Source, tokens: int, now_s: float) -> None:
        """Refuse before anything is taken: what one bucket refuses costs nothing in the other."""
        _refuse(max(buckets.wait_s(name, now_s, tokens) for buckets, name in self._buckets(source)))

    def _buckets(self, source: Source) -> list[tuple[TokenBuckets, str]]:
        of_key = (self.events_of_key, source.key)
        return [of_key] if source.address is None else [of_key, (self.events_of_address, source.address)]


def _refuse(wait_s: float) -> None:
    if wait_s > 0:
        raise RequestRefusedError(429, "rate", wait_s)
