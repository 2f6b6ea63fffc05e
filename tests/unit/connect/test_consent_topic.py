"""How long consents must be kept, by the settings of the events topic."""

import pytest

from jobs.connect import consent_topic

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("retention_ms", "lag_ms"),
    [(30 * DAY_MS, 37 * DAY_MS), (-1, 3650 * DAY_MS), (9000 * DAY_MS, 3650 * DAY_MS)],
)
def test_compaction_lags_behind_the_retention_of_events(retention_ms: int, lag_ms: int):
    """By a segment, because Kafka deletes events by whole segments. Ten years stand for ever."""
    events = {"retention.ms": str(retention_ms), "segment.ms": str(7 * DAY_MS), "cleanup.policy": "delete"}
    wanted = consent_topic.wanted(events)
    assert wanted == {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(lag_ms),
        "message.timestamp.type": "LogAppendTime",
    }
