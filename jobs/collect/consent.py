"""Write the compacted topic `consent`: what a visitor, named by pseudonym, last agreed to."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import msgspec

from jobs.collect.rates import TokenBuckets
from jobs.connect import addresses, consent_topic, kafka_admin, users
from jobs.contract.consent import Record
from jobs.settings import Settings

State = Literal["granted", "withdrawn"]
MAX_REMEMBERED = 100_000  # visitors: half an hour of a large shop, about 30 MB
# After so long a state is written again, because another collector may have written the opposite in between. A denial
# that goes unheard is worse than a record too many. Each time it is repeated, the next time is twice as far away.
REPEATED_S: dict[State, float] = {"granted": 86_400.0, "withdrawn": 60.0}
MOST_S = 86_400.0
# How often one visitor may take a denial back: a banner that is clicked back and forth, and no record a request.
REGRANTS_PER_S = 1 / 60
REGRANTS_AT_ONCE = 5


def create_topic(settings: Settings, bootstrap: str) -> None:
    """Create the topic if it isn't there. Raises ServiceError."""
    admin = addresses.as_user(bootstrap, users.ADMIN)
    kafka_admin.create_topics(admin, {settings.consent_topic: settings.topic_partitions}, consent_topic.TOPIC)


def value(state: State, at_ms: int, since_ms: int | None = None) -> bytes:
    """Return the record's value; its key is the pseudonym. A first grant reaches back to `since_ms`."""
    return msgspec.json.encode(Record(state, at_ms, since_ms=since_ms))


class LatelyWritten:
    """Remember which states this collector wrote lately, so that only a change writes one. Time is an argument."""

    def __init__(self) -> None:
        # visitor → (state, at second, seconds until it is repeated)
        self._written: OrderedDict[str, tuple[State, float, float]] = OrderedDict()
        self._regrants = TokenBuckets(REGRANTS_PER_S, REGRANTS_AT_ONCE)

    def due(self, states: Mapping[str, State], now_s: float) -> tuple[dict[str, State], int]:
        """Return the states that must be written, by visitor, and how many grants are held back.

        A grant is held back while its visitor takes denials back too often. The visitor stays denied until the next
        request after that.
        """
        due = {who: state for who, state in states.items() if self._is_due(who, state, now_s)}
        held = [who for who, state in due.items() if state == "granted" and not self._may_regrant(who, now_s)]
        return {who: state for who, state in due.items() if who not in held}, len(held)

    def _may_regrant(self, visitor: str, now_s: float) -> bool:
        return self._known(visitor) != "withdrawn" or self._regrants.take(visitor, 1, now_s) == 0

    def _known(self, visitor: str) -> State | None:
        return self._written[visitor][0] if visitor in self._written else None

    def _is_due(self, visitor: str, state: State, now_s: float) -> bool:
        if visitor not in self._written:
            return True
        self._written.move_to_end(visitor)
        known, at_s, repeated_s = self._written[visitor]
        return known != state or now_s - at_s >= repeated_s

    def wrote(self, visitor: str, state: State, now_s: float) -> None:
        """Remember a state that Kafka has confirmed."""
        repeated_s = REPEATED_S[state]
        if self._known(visitor) == state:
            repeated_s = min(2 * self._written[visitor][2], MOST_S)
        self._written[visitor] = state, now_s, repeated_s
        self._written.move_to_end(visitor)
        if len(self._written) > MAX_REMEMBERED:
            self._written.popitem(last=False)
