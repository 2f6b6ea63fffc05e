"""How long consents must be kept, by the settings of the events topic."""

import pytest

from jobs.connect import consent_topic

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("retentions_ms", "lag_ms"),
    [
        ([30 * DAY_MS], 37 * DAY_MS),
        ([-1], 3650 * DAY_MS),
        ([9000 * DAY_MS], 3650 * DAY_MS),
        ([30 * DAY_MS, 90 * DAY_MS, 10 * DAY_MS], 97 * DAY_MS),
        ([30 * DAY_MS, -1], 3650 * DAY_MS),
    ],
)
def test_compaction_lags_behind_the_longest_retention(retentions_ms: list[int], lag_ms: int):
    """By a segment, because Kafka deletes by whole segments. Ten years stand for ever."""
    topics = [{"retention.ms": str(each), "segment.ms": str(7 * DAY_MS)} for each in retentions_ms]
    wanted = consent_topic.wanted(topics)
    assert wanted == {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(lag_ms),
        "message.timestamp.type": "LogAppendTime",
    }
