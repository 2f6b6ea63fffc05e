"""Limit how much each name may do, with token buckets. Time is an argument."""

from collections import OrderedDict

MAX_NAMES = 100_000  # about 20 MB; a name that is forgotten starts with a full bucket, as it does after a pause


class TokenBuckets:
    """A bucket for each name. `rate_per_s` tokens flow in; at most `burst` lie in it."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name → (tokens, at second)

    def take(self, name: str, tokens: float, now_s: float) -> float:
        """Take tokens and return 0.0, or take none and return the seconds until there are enough.

        `tokens` must be at most the burst.
        """
        there = self._there(name, now_s)
        enough = there >= tokens
        self._buckets[name] = (there - tokens if enough else there, now_s)
        self._buckets.move_to_end(name)  # a refused name, too: who insists isn't forgotten
        if len(self._buckets) > MAX_NAMES:
            self._buckets.popitem(last=False)
        return 0.0 if enough else (tokens - there) / self._rate_per_s

    def wait_s(self, name: str, now_s: float, tokens: float = 1) -> float:
        """Return the seconds until there are so many tokens; take none."""
        return max(0.0, tokens - self._there(name, now_s)) / self._rate_per_s

    def _there(self, name: str, now_s: float) -> float:
        tokens, at_s = self._buckets.get(name, (self._burst, now_s))
        return min(self._burst, tokens + (now_s - at_s) * self._rate_per_s)
