"""Say which states of consent are written to the compacted topic `consent`, and when. Visitors go by pseudonym."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import msgspec

from jobs.collect.rates import TokenBuckets
from jobs.contract.consent import Record

State = Literal["granted", "withdrawn"]
MAX_REMEMBERED = 100_000  # visitors: half an hour of a large shop, about 30 MB
REPEATED_S = 86_400.0  # after so long a state is written again, whether it changed or not
UNSURE_S = 60.0  # and a denial after so long, while nobody can tell what others wrote
# How often one visitor may take a denial back: a banner that is clicked back and forth, and no record a request.
REGRANTS_PER_S = 1 / 60
REGRANTS_AT_ONCE = 5


def value(state: State, at_ms: int, since_ms: int | None = None) -> bytes:
    """Return the record's value; its key is the pseudonym. A first grant reaches back to `since_ms`."""
    return msgspec.json.encode(Record(state, at_ms, since_ms=since_ms))


class LatelyWritten:
    """Remember which states this collector wrote lately, so that only a change writes one. Time is an argument."""

    def __init__(self) -> None:
        self._written: OrderedDict[str, tuple[State, float]] = OrderedDict()  # visitor → (state, at second)
        self._regrants = TokenBuckets(REGRANTS_PER_S, REGRANTS_AT_ONCE)

    def repeats_denial(self, states: Mapping[str, State], now_s: float) -> bool:
        """Return True if a denial would be left out, because this collector wrote the same one last."""
        return any(
            state == "withdrawn" and not self._is_due(who, state, now_s, REPEATED_S) for who, state in states.items()
        )

    def due(self, states: Mapping[str, State], now_s: float, is_sure: bool = True) -> tuple[dict[str, State], int]:
        """Return the states that must be written, by visitor, and how many grants are held back.

        A grant is held back while its visitor takes denials back too often. The visitor stays denied until the next
        request after that. A denial isn't left out for long unless it `is_sure` that nobody else wrote a grant.
        """
        repeated_s = {"granted": REPEATED_S, "withdrawn": REPEATED_S if is_sure else UNSURE_S}
        due = {who: state for who, state in states.items() if self._is_due(who, state, now_s, repeated_s[state])}
        held = [who for who, state in due.items() if state == "granted" and not self._may_regrant(who, now_s)]
        return {who: state for who, state in due.items() if who not in held}, len(held)

    def _may_regrant(self, visitor: str, now_s: float) -> bool:
        return self._known(visitor) != "withdrawn" or self._regrants.take(visitor, 1, now_s) == 0

    def _known(self, visitor: str) -> State | None:
        return self._written[visitor][0] if visitor in self._written else None

    def _is_due(self, visitor: str, state: State, now_s: float, repeated_s: float) -> bool:
        if visitor not in self._written:
            return True
        self._written.move_to_end(visitor)
        known, at_s = self._written[visitor]
        return known != state or now_s - at_s >= repeated_s

    def wrote(self, visitor: str, state: State, now_s: float) -> None:
        """Remember a state that Kafka has confirmed."""
        self._written[visitor] = state, now_s
        self._written.move_to_end(visitor)
        if len(self._written) > MAX_REMEMBERED:
            self._written.popitem(last=False)

    def heard(self, visitor: str, state: str) -> None:
        """Take what the topic says of a visitor. Whom somebody else has let in again may deny again."""
        if state == "granted" and self._known(visitor) == "withdrawn":
            del self._written[visitor]

    def doubt(self, visitors: Collection[str]) -> None:
        """Forget visitors of whom a record may lie in the topic, or may not: what they say next is written."""
        for visitor in visitors:
            self._written.pop(visitor, None)


class Turns:
    """Let one request at a time write a visitor's consent: those that come with it find it written."""

    def __init__(self) -> None:
        self._taken: dict[str, asyncio.Event] = {}

    async def wait(self, visitors: Collection[str]) -> None:
        """Return when nobody writes a consent of these visitors."""
        while before := next((self._taken[who] for who in visitors if who in self._taken), None):
            await before.wait()

    @contextmanager
    def take(self, visitors: Collection[str]) -> Iterator[None]:
        """Take the turn of visitors who have none: after `wait`, without a pause between."""
        over = asyncio.Event()
        self._taken |= dict.fromkeys(visitors, over)
        try:
            yield
        finally:
            for who in visitors:
                del self._taken[who]
            over.set()
