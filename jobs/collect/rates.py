"""Limit how much each name may do, and share what a key may do among the networks that use it. Time is an argument."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.collect.networks import Network

MAX_NAMES = 100_000  # about 20 MB; a name that is forgotten starts with a full bucket, as it does after a pause
LEAST = 0.5  # of a token, which counts as nothing: a level that fades never comes to nothing


class TokenBuckets:
    """A bucket for each name. `rate_per_s` tokens flow in; at most `burst` lie in it."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name → (tokens, at second)

    def take(self, name: str, tokens: float, now_s: float) -> float:
        """Take tokens and return 0.0, or take none and return the seconds until there are enough.

        They are `math.inf` for more tokens than the burst.
        """
        wait_s = self.wait_s(name, now_s, tokens)
        if not wait_s:
            self._buckets[name] = (self._there(name, now_s) - tokens, now_s)
            self._buckets.move_to_end(name)
            if len(self._buckets) > MAX_NAMES:
                self._buckets.popitem(last=False)
        return wait_s

    def wait_s(self, name: str, now_s: float, tokens: float = 1) -> float:
        """Return the seconds until there are so many tokens; take none."""
        if name in self._buckets:
            self._buckets.move_to_end(name)  # a refused name, too: who insists isn't forgotten
        if tokens > self._burst:
            return math.inf
        return max(0.0, tokens - self._there(name, now_s)) / self._rate_per_s

    def _there(self, name: str, now_s: float) -> float:
        tokens, at_s = self._buckets.get(name, (self._burst, now_s))
        return min(self._burst, tokens + (now_s - at_s) * self._rate_per_s)


class FairShares:
    """Share what a key may bring among its networks. Those that bring much leave room for those that bring little.

    At most `most` is there at a time, and it fades: after `fades_s` a third is left, so `most / fades_s` a second stay
    possible. A network may have as much there as is left of `most`, times a factor. So the more networks bring as much
    as they may, the less each of them may. With n of them about the n-th part is left for one more. `alone` is what a
    network may have there if there is no other; if that is all, networks don't count. Choudhury and Hahne, "Dynamic
    Queue Length Thresholds for Shared-Memory Packet Switches", 1998.
    """

    def __init__(self, most: float, fades_s: float, alone: float) -> None:
        self._most, self._fades_s = most, fades_s
        self._factor = alone / (most - alone) if alone < most else math.inf
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name → (what is there, at second)

    def take(self, key: str, networks: Sequence[Network], tokens: float, now_s: float) -> None:
        """Add what is brought, whether there is room or not. Without a network it counts for the key alone."""
        self._add(key, tokens, now_s)
        if self._factor < math.inf:
            for name, shares in networks:
                self._add(f"{key} {name}", tokens / shares, now_s)

    def wait_s(self, key: str, networks: Sequence[Network], tokens: float, now_s: float) -> float:
        """Return the seconds until there is room, if nobody else brings anything; `math.inf` if there never is."""
        there = self._level(key, now_s)
        waits = [self._until(there, self._most - tokens)]
        if self._factor < math.inf:
            for name, shares in networks:
                own = self._level(f"{key} {name}", now_s)
                waits.append(self._until(own + self._factor * there, self._factor * self._most - tokens / shares))
        return max(waits)

    def _until(self, level: float, most: float) -> float:
        if most < 0:
            return math.inf
        return self._fades_s * math.log(level / (most + LEAST)) if level > most + LEAST else 0.0

    def _level(self, name: str, now_s: float) -> float:
        if name not in self._levels:
            return 0.0
        self._levels.move_to_end(name)
        level, at_s = self._levels[name]
        return level * math.exp((at_s - now_s) / self._fades_s)

    def _add(self, name: str, tokens: float, now_s: float) -> None:
        self._levels[name] = (self._level(name, now_s) + tokens, now_s)
        if len(self._levels) > MAX_NAMES:
            self._levels.popitem(last=False)


@dataclass(frozen=True)
class Bound:
    """What may be brought of one kind: by a network, and by all networks of a key together."""

    of_network: TokenBuckets
    of_key: FairShares

    def wait_s(self, key: str, networks: Sequence[Network], tokens: float, now_s: float) -> float:
        """Return the seconds until that may be brought, 0.0 for now; take nothing."""
        waits = [self.of_network.wait_s(name, now_s, tokens / shares) for name, shares in networks]
        return max(self.of_key.wait_s(key, networks, tokens, now_s), *waits, 0.0)

    def take(self, key: str, networks: Sequence[Network], tokens: float, now_s: float) -> float:
        """Take that and return 0.0; or take nothing and return the seconds until it may be brought."""
        wait_s = self.wait_s(key, networks, tokens, now_s)
        if not wait_s:
            self.of_key.take(key, networks, tokens, now_s)
            for name, shares in networks:
                self.of_network.take(name, tokens / shares, now_s)
        return wait_s
