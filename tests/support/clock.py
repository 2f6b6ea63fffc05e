"""The time that a file of tests counts from."""

import time
from functools import cached_property


class Clock:
    """Give one time to all tests of a file: that of the first question.

    A constant of the file would be the time of collection. On a slow machine that is more than an hour before the test,
    and what a test writes with the time to live of an hour is gone at once.
    """

    def __init__(self, behind_ms: int = 0) -> None:
        self._behind_ms = behind_ms

    @cached_property
    def now_ms(self) -> int:
        """Milliseconds since 1970, `behind_ms` before the first question."""
        return time.time_ns() // 1_000_000 - self._behind_ms
