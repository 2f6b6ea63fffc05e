"""Wait for what another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.1


def eventually(check: Callable[[], T], within_s: float = 30) -> T:
    """Call `check` again and again until it returns something true, and return that.

    A check may also assert: an AssertionError counts as "not yet". After `within_s` seconds the last AssertionError, or
    one that shows the last value, fails the test. Any other error fails it at once.
    """
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            value, failure = check(), None
        except AssertionError as error:
            value, failure = None, error
        if failure is None and value:
            return value
        if time.monotonic() > deadline_s:
            raise failure or AssertionError(f"still {value!r} after {within_s:g} s")
        time.sleep(PAUSE_S)
