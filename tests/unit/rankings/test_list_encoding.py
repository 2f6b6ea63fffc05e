"""What Redis and the log hold, against the documented contract."""

import json

from jobs.rankings.publish import Encoder, Publication
from jobs.rankings.ranked_list import RankedList
from jobs.rankings.session import Session

SESSION = Session([1000, 2000, 3000], ["view", "search", "view"], ["a", "", "zzz"], frozenset())
PUBLICATION = Publication(
    "v1", "home", 2, 41, RankedList(["b", "c"], [1.5, 0.25], None, ["a"]), SESSION, [3.0, 0.5], computed_at_ms=3456
)
ENCODER = Encoder("eshop-0123", ["visitor_session:view_count", "visitor_session:duration_s"])


def test_the_value_begins_with_the_version_that_the_script_compares() -> None:
    assert ENCODER.value(PUBLICATION).startswith(b'{"version":"00020000000000000041","items":')


def test_the_value_has_the_fields_of_the_contract() -> None:
    assert json.loads(ENCODER.value(PUBLICATION)) == {
        "version": "00020000000000000041",
        "items": ["b", "c"],
        "scores": [1.5, 0.25],
        "model": "eshop-0123",
        "event_time_ms": 3000,
        "computed_at_ms": 3456,
        "session_events": 3,
        "fallback": None,
        "list_id": "2-41",
    }


def test_log_record_is_the_value_with_where_it_comes_from() -> None:
    value = ENCODER.value(PUBLICATION)

    assert json.loads(ENCODER.log_record(PUBLICATION, value)) == json.loads(value) | {
        "visitor_id": "v1",
        "shelf": "home",
        "partition": 2,
        "offset": 41,
        "context": [3.0, 0.5],
        "context_features": ["visitor_session:view_count", "visitor_session:duration_s"],
        "session_items": ["a"],
    }


def test_ids_that_need_escaping_survive() -> None:
    odd = PUBLICATION._replace(visitor_id='v"1}\\é', ranked=RankedList(['ä"\n'], [0.0], "popular", ['"']))

    record = json.loads(ENCODER.log_record(odd, ENCODER.value(odd)))

    assert (record["visitor_id"], record["items"], record["session_items"]) == ('v"1}\\é', ['ä"\n'], ['"'])
    assert record["fallback"] == "popular"
