"""Waiting until the jobs have read what is verified: a look at everything costs the cores that they work with."""

import time

from jobs.connect import kafka_admin
from jobs.connect.users import GROUPS

PAUSE_S = 0.5
# Longer than the time between two checkpoints: a job that moves none in it stands still, or reads a topic whose last
# offsets are a transaction's marks, which nobody ever commits.
PATIENCE_S = 15.0


def wait_caught_up(bootstrap: str, topic: str, deadline_s: float) -> None:
    """Return when every job that has committed something of `topic` has committed its present end, or commits no more.

    At `deadline_s` (monotonic clock) at the latest. Raises ServiceError.
    """
    ends = kafka_admin.end_offsets(bootstrap, topic)
    before, moved_s = None, time.monotonic()
    while time.monotonic() < deadline_s:
        committed = [kafka_admin.committed(bootstrap, group, topic) for group in GROUPS.values()]
        behind = [each for each in committed if each and not kafka_admin.reaches(each, ends)]
        if committed != before:
            before, moved_s = committed, time.monotonic()
        if not behind or time.monotonic() - moved_s > PATIENCE_S:
            return
        time.sleep(PAUSE_S)
