"""Hold a reader's copy of the gate: the items that may not be shown now, whatever a list holds. Pure.

The set `shelf:gate` changes when the shop's stock does. Its version changes with it: `SUM-COUNT`. A reader asks for the
version beside each list. So it knows at once when its copy is old, and fetches the set again at most every `COPY_S`.
"""

from collections.abc import Collection
from dataclasses import dataclass

GATE = "shelf:gate"
GATE_VERSION = "shelf:gate:version:{shelf:gate}"
COPY_S = 0.2  # so long a copy serves though the set has changed
MOST_ITEMS = 20_000  # of a copy; in a larger set a reader asks for its lists' items instead


@dataclass(frozen=True, slots=True)
class Copy:
    """The set as it stood. `fetched_s` is a monotonic time."""

    version: str = ""
    held: Collection[str] = frozenset()
    fetched_s: float = float("-inf")

    def serves(self, version: str, now_s: float) -> bool:
        """Return True if this copy may be used while the set has that version."""
        return self.version == version or now_s - self.fetched_s < COPY_S


NO_COPY = Copy()


def text(reply: bytes | str | None) -> str:
    """Return a reply of Redis as text, whether the client decodes or not; "" for none."""
    return reply.decode() if isinstance(reply, bytes) else reply or ""


def is_large(version: str) -> bool:
    """Return True for a set that isn't worth a copy."""
    return int(version.rpartition("-")[2]) > MOST_ITEMS
