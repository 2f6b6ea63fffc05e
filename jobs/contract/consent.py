"""Consent: the records of topic `consent`, and what they mean for an event (pure, but for reading and sending).

Topic: compacted, key = visitor_id, value {"state": "granted" | "withdrawn" | "erased", "at_ms": …}; a record that erases
also says where the events topic ended (`before`: partition → offset) and whether consent was withdrawn, which an erasure
doesn't lift (`withdrawn`). Compaction must lag behind the retention of events,
because a replay needs what was said in between: `jobs/operate/submit.py` makes the topic so.

The jobs decide in the JVM (`jobs/jvm/Person.java`); this is the same rule for everything else: the oracle, the commands,
and training. Two questions are apart. Was an event allowed when it happened? The newest record up to its time decides; one
that wasn't counts nowhere (`suppressed`). Was its visitor forgotten since? Then it counts in aggregates that hold no
person, and in nothing of the visitor's own (`forgotten`).
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

Mode = Literal["assumed", "required"]
State = Literal["granted", "withdrawn", "erased"]
Verdict = Literal["counts", "forgotten", "suppressed"]


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One record's value; raises msgspec.DecodeError when it is decoded from anything else."""

    state: State
    at_ms: int
    before: dict[str, int] = {}
    withdrawn: bool = False

    @property
    def after(self) -> State:
        """What holds from then on."""
        return "withdrawn" if self.withdrawn else self.state

    def covers(self, partition: int, offset: int, event_time_ms: int) -> bool:
        """Whether it forgets an event: by time, and by place, as a producer's clock may be ahead."""
        return self.state != "granted" and (event_time_ms < self.at_ms or offset < self.before.get(str(partition), -1))


class Consents:
    """What every visitor has said, in order of arrival."""

    def __init__(self, mode: Mode) -> None:
        self._default: State = "granted" if mode == "assumed" else "withdrawn"
        self._records: dict[str, list[Record]] = {}

    def add(self, visitor_id: str, record: Record | None) -> None:
        """The next record about a visitor; None forgets what was known."""
        if record is None:
            self._records.pop(visitor_id, None)
        else:
            self._records.setdefault(visitor_id, []).append(record)

    def of(self, visitor_id: str) -> list[Record]:
        return self._records.get(visitor_id, [])

    def visitors(self) -> list[str]:
        """Of whom something is known."""
        return list(self._records)

    def latest(self, visitor_id: str) -> Record | None:
        return self.of(visitor_id)[-1] if self.of(visitor_id) else None

    def verdict(self, visitor_id: str, partition: int, offset: int, event_time_ms: int) -> Verdict:
        """What becomes of an event of a visitor that lies at a place of the events topic."""
        records = self.of(visitor_id)
        said = [record.after for record in records if record.at_ms <= event_time_ms]
        state = said[-1] if said else "erased"
        if (self._default if state == "erased" else state) != "granted":
            return "suppressed"
        return "forgotten" if any(each.covers(partition, offset, event_time_ms) for each in records) else "counts"


def gathered(records: Iterable[tuple[bytes | None, bytes | None]], mode: Mode) -> Consents:
    """Consents from keys and values in order; what isn't a record is left out, as the jobs do."""
    consents = Consents(mode)
    for key, value in records:
        if key is None:
            continue
        try:
            consents.add(key.decode(), msgspec.json.decode(value, type=Record) if value else None)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return consents
