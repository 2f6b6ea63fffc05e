"""Bound what one source may do: requests, events, new entities and denials of a network and of a key."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.collect.body import MAX_EVENTS
from jobs.collect.networks import Network
from jobs.collect.newcomers import Newcomers
from jobs.collect.rates import Bound, TokenBuckets
from jobs.collect.refusal import RequestRefusedError
from jobs.collect.source import Source

# A body costs as much as an event for each so many bytes, whatever is in it: 4 MiB of broken JSON take 36 ms of CPU.
BYTES_OF_EVENT = 4096
MAX_DENIALS = 100  # in one request with a page's key; a shop's server may send more


@dataclass(frozen=True)
class Limits:
    """The bounds of all sources. Each raises RequestRefusedError (429) where a source has come to one.

    A server's events are bounded by its key alone: its address is that of all its visitors.
    """

    requests_of_network: TokenBuckets
    events: Bound
    newcomers: Newcomers
    denials: Bound

    def spend_denials(self, source: Source, denials: int) -> None:
        """Take the denials that are written. Each is remembered for good, whether its visitor exists or not."""
        if not source.is_server and denials:
            if denials > MAX_DENIALS:
                raise RequestRefusedError(400, "visitors")
            wait_s = self.denials.take(source.key, source.networks, denials, time.monotonic())
            _refuse(wait_s, "too_many_denials")

    def spend_request(self, networks: Sequence[Network]) -> None:
        now_s = time.monotonic()
        _refuse(max(self.requests_of_network.wait_s(name, now_s, 1 / shares) for name, shares in networks), "rate")
        for name, shares in networks:
            self.requests_of_network.take(name, 1 / shares, now_s)

    def check_events(self, source: Source) -> None:
        """Refuse before the body is read where not even one event would be taken."""
        _refuse(self.events.wait_s(source.key, source.networks, 1, time.monotonic()), "rate")

    def spend_body(self, source: Source, size: int) -> int:
        """Take what a body costs by its size, and return it."""
        return self._spend(source, min(MAX_EVENTS, math.ceil(size / BYTES_OF_EVENT)))

    def spend_events(self, source: Source, events: int, paid: int) -> None:
        """Take what events cost beyond what was `paid` for their body."""
        if events > paid:
            self._spend(source, events - paid)

    def _spend(self, source: Source, tokens: int) -> int:
        _refuse(self.events.take(source.key, source.networks, tokens, time.monotonic()), "rate")
        return tokens


def _refuse(wait_s: float, code: str) -> None:
    if wait_s > 0:
        raise RequestRefusedError(429, code, wait_s)
