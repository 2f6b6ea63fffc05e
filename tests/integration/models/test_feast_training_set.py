"""A training set that Feast itself makes: what was known at each event reaches the sessions."""

from datetime import timedelta

import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64

from models.clicks.sessions import read_sessions

START_S = 1_714_550_400  # 2024-05-01T08:00:00Z


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    """A view that has rows of visitor v, at second 10 (1 view, 500) and at second 20 (2 views, no price)."""
    rows = {
        "visitor_id": ["v", "v"],
        "time": pd.to_datetime([START_S + 10, START_S + 20], unit="s", utc=True),
        "view_count": [1, 2],
    }
    pd.DataFrame(rows | {"mean_price_minor": [500.0, None]}).to_parquet(tmp_path / "rows.parquet")
    visitor = Entity(name="visitor", join_keys=["visitor_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="visitor_session",
        entities=[visitor],
        ttl=timedelta(hours=1),
        schema=[Field(name="view_count", dtype=Int64), Field(name="mean_price_minor", dtype=Float64)],
        source=FileSource(path=str(tmp_path / "rows.parquet"), timestamp_field="time"),
    )
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(tmp_path / "registry.db"),
        online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
        entity_key_serialization_version=3,
    )
    made = FeatureStore(config=config)
    made.apply([visitor, view])
    return made


def test_each_event_has_the_values_of_its_time(store, tmp_path):
    """Each event has the values of its time and zero for what was not known."""
    times_ms = [START_S * 1000 + after_ms for after_ms in (5000, 10_000, 15_000, 20_000)]
    columns = {"visitor_id": list("wvvv"), "event_type": "view", "event_time_ms": times_ms}
    events = pd.DataFrame(columns | {"item_id": list("abcd")})
    events["event_timestamp"] = pd.to_datetime(events["event_time_ms"], unit="ms", utc=True)
    features = ["visitor_session:view_count", "visitor_session:mean_price_minor"]
    found = store.get_historical_features(events, features, full_feature_names=True).to_df()
    found.to_parquet(tmp_path / "set.parquet")
    sessions = read_sessions(tmp_path / "set.parquet", features)
    assert [(event.item, event.context) for session in sessions for event in session] == [
        ("a", (0, 0)),
        ("b", (1, 500)),
        ("c", (1, 500)),
        ("d", (2, 0)),
    ]
