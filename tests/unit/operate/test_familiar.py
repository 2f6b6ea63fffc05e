"""A model of another shop is told from one of this shop by the items of the newest events."""

import msgspec

from jobs.connect.kafka_read import Record
from jobs.operate.familiar import Familiarity, familiarity

SENT_MS = 1_700_000_000_000


def record(item: str | None, number: int) -> Record:
    event = {
        "schema_version": 1,
        "event_id": f"e-{number}",
        "event_type": "view" if item else "search",
        "event_time_ms": SENT_MS,
        "visitor_id": "v",
        "session_id": "s",
    }
    event |= {"item_id": item} if item else {"query": "shirt"}
    return Record(0, number, SENT_MS, b"v", msgspec.json.encode(event))


def test_events_are_counted_whose_item_the_model_knows() -> None:
    items = ["a", "b", "c", None, "d"]
    broken = Record(0, 9, SENT_MS, None, b"{")
    counts = familiarity("m-1", {"a", "x"}, [*(record(item, i) for i, item in enumerate(items)), broken], "events")
    assert counts == Familiarity("m-1", events=4, known_events=1, topic="events")


def test_a_model_that_knows_none_or_few_is_warned_of() -> None:
    assert Familiarity("m-1", 1000, 0, "events").warning() == (
        "m-1 knows the item of 0 (0%) of the newest 1,000 events with an item in topic events: "
        "is it a model of another shop?"
    )
    assert "199 (20%)" in Familiarity("m-1", 1000, 199, "events").warning()


def test_enough_items_known_or_few_events_is_not_another_shop() -> None:
    """A model that knows enough or a topic of few events is not."""
    assert Familiarity("m-1", 1000, 200, "events").warning() == ""
    assert Familiarity("m-1", 19, 0, "events").warning() == ""
