"""`explain` shows, for each view that is shipped, its SQL, its state and its place in Redis."""

import pytest

from jobs.errors import DefinitionError
from jobs.features.explain import columns_table, explain_service, explain_view
from jobs.features.online_store import feature_field
from jobs.settings import Settings

SETTINGS = Settings()


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    names = ("visitor_session", "visitor_activity", "item_activity", "category_activity")
    return {name: explain_view(SETTINGS, name) for name in names}


def test_page_has_the_steps_from_the_topic_to_the_rows(pages):
    for page in pages.values():
        steps = [line for line in page.splitlines() if line.startswith("-- ")]
        assert steps[:3] == ["-- sequenced", "-- counted", "-- facts"]
        assert steps[4].startswith("-- feature rows of ")
        assert "PARTITION BY (entity_key, entity)" in page


def test_a_page_says_what_the_view_is_per_and_over(pages):
    assert pages["visitor_session"].startswith("visitor_session: per visitor_id, the session, gap 1800 s")
    assert pages["visitor_activity"].startswith(
        "visitor_activity: per visitor_id, 300 s, 3600 s, 86400 s up to each event"
    )
    assert pages["item_activity"].startswith("item_activity: per item_id, 300 s, 3600 s, 86400 s sliding by 60 s")
    assert "count_distinct visitor_id every_60000 86400000" in pages["category_activity"]


def test_a_page_says_which_views_are_computed_together(pages):
    assert "-- feature rows of visitor_activity, visitor_session" in pages["visitor_session"]
    assert "-- feature rows of item_activity\n" in pages["item_activity"]


def test_a_page_says_what_is_kept_for_each_key(pages):
    assert "18 running aggregates of the session\n  the last 20 values of item_id" in pages["visitor_session"]
    assert "gone 1800 s after the last event" in pages["visitor_session"]
    assert "each item_id of the session, up to 5,000, which is where its count stops" in pages["visitor_session"]
    newest = "the newest 5,000 events of the last 86400 s, once for all windows; none holds more"
    assert newest in pages["visitor_activity"]
    assert (
        "up to 1440 slides in which something happened\n  each visitor_id of the last 86400 s" in pages["item_activity"]
    )


def test_page_shows_cap_that_is_set_where_there_is_one():
    settings = Settings(max_window_events=70)
    page = explain_view(settings, "visitor_activity")
    assert "\ncap => 70," in page
    assert "the newest 70 events" in page
    assert "cap" not in explain_view(settings, "item_activity")


def test_a_page_names_each_feature_with_its_field_in_redis(pages):
    page = pages["visitor_session"]
    for name, dtype in (("view_count", "Int64"), ("duration_s", "Float64"), ("last_20_items", "Array(String)")):
        assert f"{feature_field('visitor_session', name).hex()}  {dtype:14} {name}" in page
    assert "_ts:visitor_session" in page
    assert "expires 30 days after its event" in page


def test_a_service_lists_the_models_inputs_in_order():
    lines = explain_service(SETTINGS, "ranker_context").splitlines()
    assert lines[0] == "ranker_context: the model's `context` input, float32 [batch, 4]"
    assert [line.split()[1:] for line in lines[1:]] == [
        ["visitor_session:view_count", "Int64"],
        ["visitor_session:duration_s", "Float64"],
        ["visitor_session:mean_price_minor", "Float64"],
        ["visitor_activity:views_1h", "Int64"],
    ]


def test_an_unknown_view_is_told_with_the_known_ones():
    """An unknown view or service is told with those that are known."""
    with pytest.raises(
        DefinitionError, match="no view 'sessions'\n  fix: defined are category_activity, item_activity"
    ):
        explain_view(SETTINGS, "sessions")
    with pytest.raises(DefinitionError, match="no feature service 'ranker'\n  fix: defined are ranker_context"):
        explain_service(SETTINGS, "ranker")


def test_columns_table_has_the_contracts_fields_and_the_derived_ones():
    table = columns_table()
    assert "item_id                  STRING   the item" in table
    assert "is_view                  BIGINT   1 for view events, else 0" in table
