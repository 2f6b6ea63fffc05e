"""The entities that `verify` compares where a topic is too large to compare all."""

import sys
import zlib
from dataclasses import dataclass

from jobs.contract.events import Event
from jobs.errors import SettingsError
from jobs.verify.views import View

KEPT = ("event_type", "event_time_ms", "visitor_id")  # fields of an event of which no entity is in the sample


@dataclass(frozen=True)
class Sample:
    """One entity in `one_in`, chosen by the CRC-32 of its values, so the same ones every time.

    Raises SettingsError below 1.
    """

    one_in: int = 1

    def __post_init__(self) -> None:
        if self.one_in < 1:
            raise SettingsError(f"a sample of one entity in {self.one_in}", "a number from 1 (all)")

    def holds(self, *values: str | int | float) -> bool:
        """Return True if the entity of these values is compared."""
        return self.one_in == 1 or zlib.crc32("\0".join(map(str, values)).encode()) % self.one_in == 0

    def reduced(self, event: Event, views: list[View]) -> Event:
        """Return the event, or only the fields that the balance needs if none of its entities is in the sample."""
        if self.one_in == 1 or "visitor_id" not in event or self.holds(event["visitor_id"]):
            return event
        for view in views:
            if all(key in event for key in view.keys) and self.holds(*(event[key] for key in view.keys)):
                return event
        event_type, time_ms, visitor_id = (event[name] for name in KEPT)
        return dict(zip(KEPT, (sys.intern(event_type), time_ms, sys.intern(visitor_id)), strict=True))
