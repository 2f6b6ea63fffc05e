"""Events that the topic's retention has taken: features and lists still hold them, and nobody can count them again.

Something is known of them. An event that the job took as on time is newer than the newest one before it minus the
watermark delay. So all lost events are older than the first events that are left, plus that delay. What reaches back
into that time isn't compared.
"""

import math
from collections.abc import Collection, Iterable

from jobs.connect.kafka_read import Position
from jobs.verify.classify import Entry

NOT_WHOLE = "may hold events that the topic's retention has taken"


def certain_from_ms(
    entries: Iterable[Entry], lost: Collection[int], late: Collection[Position], delay_ms: int, horizon_ms: int
) -> float:
    """Return the event time from which on everything is known; -inf if nothing is lost.

    `lost` are the partitions that have lost records, `late` the places of events that the job called late. An event
    may be the duplicate of a lost one for another `horizon_ms`.
    """
    oldest_ms = dict.fromkeys(lost, math.inf)
    for entry in entries:
        partition = entry.record.partition
        if partition in oldest_ms and entry.kind in ("counted", "duplicate") and entry.record.position not in late:
            oldest_ms[partition] = min(oldest_ms[partition], entry.event["event_time_ms"])
    return max(oldest_ms.values(), default=-math.inf) + delay_ms + horizon_ms
