"""Waiting until the jobs have read what is verified: a look at everything costs the cores that they work with."""

import time

from jobs.cluster import topics
from jobs.cluster.rights import GROUPS

PAUSE_S = 0.5
# Longer than the time between two checkpoints: a job that moves none in it stands still, or reads a topic whose last
# offsets are a transaction's marks, which nobody ever commits.
PATIENCE_S = 15.0


def wait_caught_up(bootstrap: str, topic: str, deadline_s: float) -> None:
    """Return when every job that has committed something of `topic` has committed its present end, or commits no more.

    At `deadline_s` (monotonic clock) at the latest. Raises ServiceError.
    """
    ends = topics.end_offsets(bootstrap, topic)
    before, moved_s = None, time.monotonic()
    while time.monotonic() < deadline_s:
        committed = [topics.committed(bootstrap, group, topic) for group in GROUPS.values()]
        behind = [each for each in committed if each and not topics.reaches(each, ends)]
        if committed != before:
            before, moved_s = committed, time.monotonic()
        if not behind or time.monotonic() - moved_s > PATIENCE_S:
            return
        time.sleep(PAUSE_S)
