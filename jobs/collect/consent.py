"""Write the compacted topic `consent`: what a visitor, named by pseudonym, last agreed to."""

from collections import OrderedDict
from typing import Literal

import msgspec

from jobs.connect import addresses, consent_topic, kafka_admin, users
from jobs.settings import Settings

State = Literal["granted", "withdrawn"]
MAX_REMEMBERED = 50_000  # visitors: a few minutes of a large shop, about 10 MB
# Another collector may have written the opposite in between: after so long the state is written again.
REMEMBERED_S = 60.0


def create_topic(settings: Settings, bootstrap: str) -> None:
    """Create the topic if it isn't there. Raises ServiceError."""
    admin = addresses.as_user(bootstrap, users.ADMIN)
    kafka_admin.create_topics(admin, {settings.consent_topic: settings.topic_partitions}, consent_topic.TOPIC)


def value(state: State, at_ms: int) -> bytes:
    """Return the record's value; its key is the pseudonym."""
    return msgspec.json.encode({"state": state, "at_ms": at_ms})


class LatelyWritten:
    """Remember which states this collector wrote lately, so that not every event writes one. Time is an argument."""

    def __init__(self) -> None:
        self._written: OrderedDict[str, tuple[State, float]] = OrderedDict()  # visitor → (state, at second)

    def is_due(self, visitor: str, state: State, now_s: float) -> bool:
        """Return True if the visitor's state must be written."""
        known, at_s = self._written.get(visitor, (None, now_s))
        return known != state or now_s - at_s >= REMEMBERED_S

    def wrote(self, visitor: str, state: State, now_s: float) -> None:
        """Remember a state that Kafka has confirmed."""
        self._written[visitor] = state, now_s
        self._written.move_to_end(visitor)
        if len(self._written) > MAX_REMEMBERED:
            self._written.popitem(last=False)
