"""Hold a reader's copy of the gate: the items that may not be shown now, whatever a list holds. Pure.

The set `shelf:gate` changes when the shop's stock does. Its version changes with it: `SUM-COUNT`. A reader asks for the
version beside each list. So it knows at once when its copy is old, and fetches the set again at most every `COPY_S`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from liveshelf.shelf import ShelfError

GATE = "shelf:gate"
GATE_VERSION = "shelf:gate:version:{shelf:gate}"  # for its braces a Redis Cluster keeps it beside the set
FETCH = (("GET", GATE_VERSION), ("SMEMBERS", GATE), ("GET", GATE_VERSION))
COPY_S = 0.2  # so long a copy serves though the set has changed
MOST_ITEMS = 20_000  # of a copy; in a larger set a reader asks for its lists' items instead


@dataclass(frozen=True, slots=True)
class Copy:
    """The set as it stood. `fetched_s` is a monotonic time."""

    version: str = ""
    held: Collection[str] = frozenset()
    fetched_s: float = float("-inf")

    @classmethod
    def of(cls, replies: Sequence[Any], fetched_s: float) -> "Copy":
        """Return the copy that Redis' replies to `FETCH` are. A set that has changed between them has no version."""
        before, members, after = map(checked, replies)
        return cls(text(before) if before == after else "", frozenset(map(text, members)), fetched_s)

    def serves(self, version: str, now_s: float) -> bool:
        """Return True if this copy may be used while the set has that version."""
        return self.version == version or now_s - self.fetched_s < COPY_S


NO_COPY = Copy()


def checked(reply: Any) -> Any:
    """Return a reply about the gate. Raises ShelfError for an error: without the gate nobody knows what to show."""
    if isinstance(reply, Exception):
        raise ShelfError(
            f"{GATE} can't be read ({type(reply).__name__}: {reply}); "
            "let the user of this reader GET, SMEMBERS and SMISMEMBER keys of shelf:*",
            GATE,
        ) from reply
    return reply


def text(reply: bytes | str | None) -> str:
    """Return a reply of Redis as text, whether the client decodes or not; "" for none."""
    return reply.decode() if isinstance(reply, bytes) else reply or ""


def is_large(version: str) -> bool:
    """Return True for a set that isn't worth a copy."""
    count = version.rpartition("-")[2]
    return count.isdecimal() and int(count) > MOST_ITEMS


def marked(items: Sequence[str], marks: Sequence[int]) -> set[str]:
    """Return the items that SMISMEMBER has marked as members."""
    return {item for item, mark in zip(items, marks, strict=True) if mark}
