"""Wait until the jobs have read the topic: a comparison takes processor time that they need."""

import time

from jobs.connect import kafka_admin
from jobs.connect.users import GROUPS

PAUSE_S = 0.5
# Longer than the time between two checkpoints. A job that commits nothing for so long stands still, or it has read a
# topic whose last offsets are the marks of a transaction, which nobody ever commits.
PATIENCE_S = 15.0


def wait_caught_up(bootstrap: str, topic: str, deadline_s: float) -> dict[str, int | None]:
    """Wait until every job that has committed something of `topic` has read it to its present end.

    Return by job how many records were left when the wait ended; None for a job that has never committed anything. It
    ends at `deadline_s` (monotonic clock) at the latest, and when no job commits anything more. Raises ServiceError.
    """
    ends = kafka_admin.end_offsets(bootstrap, topic)
    before, moved_s = None, time.monotonic()
    while True:
        committed = {job: kafka_admin.committed(bootstrap, group, topic) for job, group in GROUPS.items()}
        left = {job: _left(offsets, ends) for job, offsets in committed.items()}
        if committed != before:
            before, moved_s = committed, time.monotonic()
        now_s = time.monotonic()
        if not any(left.values()) or now_s - moved_s > PATIENCE_S or now_s >= deadline_s:
            return left
        time.sleep(PAUSE_S)


def _left(committed: dict[int, int], ends: dict[int, int]) -> int | None:
    if not committed and any(ends.values()):
        return None
    return sum(max(0, end - committed.get(partition, 0)) for partition, end in ends.items())
