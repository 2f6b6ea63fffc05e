"""A sample of the entities: the same rows as without it, of fewer entities."""

import pytest

from jobs.errors import SettingsError
from jobs.verify.classify import classify
from jobs.verify.features import newest_rows
from jobs.verify.sample import Sample
from jobs.verify.views import Aggregate, View
from tests.support.verify_slices import at, event, records

COUNT = (Aggregate("count", "event_id", "count", 60_000),)
VIEWS = [View("visits", ("visitor_id",), COUNT, delay_ms=1000), View("items", ("item_id",), COUNT, delay_ms=1000)]
EVENTS = records(
    *(
        event(
            f"12:{number // 60:02d}:{number % 60:02d}",
            f"e{number}",
            visitor_id=f"v{number % 300}",
            item_id=f"i{number % 70}",
        )
        for number in range(1200)
    )
)
LATER = at("13:00:00")


def rows(view: View, sample: Sample) -> dict:
    entries = classify(EVENTS, 10**12, reduced=lambda each: sample.reduced(each, VIEWS)).of_kind("counted")
    assert len(entries) == 1200
    return newest_rows(view, entries, LATER, sample=sample)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_sampled_entity_has_its_row_and_others_have_none(view):
    """A sampled entity has the row that it has among all and others have none."""
    every, some = rows(view, Sample()), rows(view, Sample(7))
    assert 0 < len(some) < len(every) / 3
    assert some == {key: row for key, row in every.items() if Sample(7).holds(*key)}


def test_a_sample_of_seven_holds_one_entity_in_seven():
    """One entity in seven of many is in a sample of seven."""
    assert sum(Sample(7).holds(f"visitor-{number}") for number in range(70_000)) == pytest.approx(10_000, rel=0.03)


def test_an_event_of_nobody_in_the_sample_still_counts_items():
    """An event of nobody in the sample keeps what counts visitors and sessions."""
    outside = next(f"v{number}" for number in range(99) if not Sample(50).holds(f"v{number}"))
    made = event("12:00:00", "e", visitor_id=outside)
    assert Sample(50).reduced(made, VIEWS) == {
        "event_type": "view",
        "event_time_ms": at("12:00:00"),
        "visitor_id": outside,
    }
    beat = {"event_type": "heartbeat", "event_time_ms": 1}
    assert Sample(50).reduced(beat, VIEWS) == beat


def test_a_sample_of_one_in_none_is_refused():
    with pytest.raises(SettingsError, match="one entity in 0"):
        Sample(0)
