"""Wait for what another process does."""

import time
from collections.abc import Callable

from jobs.errors import ServiceError

LOOK_EVERY_S = 0.1


def wait(done: Callable[[], object], what: str, fix: str = "see the logs", limit_s: float = 120) -> float:
    """Wait until `done()` is true and return the seconds it took; raise `ServiceError` after `limit_s`."""
    started_s = time.monotonic()
    while not done():
        if time.monotonic() - started_s > limit_s:
            raise ServiceError(f"{what} isn't there after {limit_s:g} s", fix)
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - started_s
