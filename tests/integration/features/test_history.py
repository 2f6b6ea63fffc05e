"""Where history goes: Feast reads back what was written, and what it couldn't read is refused before anything runs."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import BigQuerySource, FeatureStore, FileSource
from feast.data_format import DeltaFormat

from jobs.connect import consent_topic, kafka_admin
from jobs.contract.consent import Record
from jobs.features import offline
from jobs.person import receipt, traces
from jobs.settings import Settings
from tests.support.small_views import ITEM, VISITOR, kafka, view

REPOSITORY = Path(__file__).resolve().parents[3]
START_MS = 1_714_550_400_000  # 2024-05-01T08:00:00Z
STORE = """project: shop
provider: local
registry: registry.db
online_store: {type: sqlite, path: online.db}
offline_store: {type: file}
entity_key_serialization_version: 3
"""
DEFINITIONS = """
from feast import FileSource
from feast.types import Int64, String
from feast import Field
from tests.support.small_views import HOUR, ITEM, VISITOR, kafka, view, views_sum

def of(name, entity, history):
    source = kafka(name)
    source.batch_source = history
    schema = [Field(name=entity.join_key, dtype=String), Field(name="views", dtype=Int64)]
    return view(name=name, entities=[entity], source=source, schema=schema)

visitor, item = VISITOR, ITEM
"""
NAMED = """
named = of("named", VISITOR, FileSource(
    name="named_history", path="data/named.parquet", timestamp_field="ts", created_timestamp_column="ingested_at"))
bare = of("bare", ITEM, FileSource(name="bare_history", path="data/bare.parquet"))
"""
WRONG = """
first = of("first", VISITOR, FileSource(name="first_history", path="data/all.parquet", timestamp_field="ts"))
second = of("second", ITEM, FileSource(name="second_history", path="./data/all.parquet", timestamp_field="ts"))
remote = of("remote", ITEM, FileSource(name="remote_history", path="s3://shop/remote.parquet", timestamp_field="ts"))
"""


def with_history(history: object, name: str = "clicks", **changes: Any) -> Any:
    """A view whose past events' features go to `history`."""
    source = kafka(name)
    source.batch_source = history
    return view(name=name, source=source, **changes)


def file_source(path: str = "data/clicks.parquet", **changes: Any) -> FileSource:
    return FileSource(**({"name": path, "path": path, "timestamp_field": "ts"} | changes))


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (BigQuerySource(name="b", table="shop.clicks", timestamp_field="ts"), "is 'BigQuerySource'"),
        (file_source("s3://shop/clicks.parquet"), "is 's3://shop/clicks.parquet'"),
        (file_source("file:///tmp/clicks.parquet"), "is 'file:///tmp/clicks.parquet'"),
        (file_source(file_format=DeltaFormat()), "has a DeltaFormat"),
        (file_source(field_mapping={"n": "other"}), "renames n"),
        (file_source(timestamp_field="views"), "names two columns 'views'"),
        (file_source(created_timestamp_column="visitor_id"), "names two columns 'visitor_id'"),
        (file_source("."), "is the folder"),
    ],
)
def test_source_that_feast_couldnt_read_back_is_one_fault(source: object, what: str, tmp_path: Path):
    (fault,) = offline.faults(tmp_path, [with_history(source)])
    assert (fault.view, fault.field) == ("clicks", "batch_source")
    assert fault.what.startswith(what)
    assert fault.fix


def test_views_that_share_a_file_are_a_fault_of_one(tmp_path: Path):
    views = [with_history(file_source(path), name) for name, path in (("a", "x.parquet"), ("b", "d/../x.parquet"))]
    assert [(fault.view, fault.what.split(": ")[0]) for fault in offline.faults(tmp_path, views)] == [
        ("b", "has the path 'd/../x.parquet' of a too")
    ]


def test_a_receipt_names_the_sources_that_nobody_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A table and an object store aren't on this machine: a person's rows there remain."""
    sources = [BigQuerySource(name="b", table="shop.clicks", timestamp_field="ts"), file_source("s3://shop/x.parquet")]
    views = [with_history(source, f"view-{number}") for number, source in enumerate([*sources, file_source()])]
    monkeypatch.setattr(traces, "views_of_visitors", lambda _: views)
    found = receipt._elsewhere(Settings(state_dir=tmp_path))
    assert [each.where for each in found] == [
        "batch source of view-0: BigQuerySource",
        "batch source of view-1: s3://shop/x.parquet",
    ]
    assert all("not looked at" in each.what and each.until_ms is None for each in found)


def test_a_file_takes_the_names_of_its_source(tmp_path: Path):
    sources = [file_source(created_timestamp_column="made"), file_source("/x/y.parquet", timestamp_field="")]
    files = [offline.history_file(tmp_path, with_history(source)) for source in sources]
    assert files == [(tmp_path / "data/clicks.parquet", "ts", "made"), (Path("/x/y.parquet"), "event_timestamp", "")]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "feature_store.yaml").write_text(STORE)
    events = [
        {"schema_version": 1, "event_id": f"e{number}", "event_type": "view", "visitor_id": visitor, "item_id": "lamp",
         "event_time_ms": START_MS + number * 60_000}
        for number, visitor in enumerate("vvwx")
    ]  # fmt: skip
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return tmp_path


def liveshelf(repository: Path, *command: str) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "LIVESHELF_FEATURE_REPO": str(repository),
        "LIVESHELF_STATE_DIR": str(repository / "state"),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "jobs" / "sdk")]),
    }
    argv = [str(Path(sys.executable).with_name("liveshelf")), *command]
    return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=300, cwd=repository)


def test_feast_reads_what_history_wrote(repository: Path, bootstrap: str, monkeypatch: pytest.MonkeyPatch):
    """Feast reads what history wrote, under the names that each source gives.

    W withdrew after the last event, and counts for the item only. X had withdrawn before, and counts nowhere.
    """
    said = {"w": Record("withdrawn", START_MS + 3_600_000), "x": Record("withdrawn", START_MS)}
    kafka_admin.create_topics(bootstrap, {"consent": 1}, {"cleanup.policy": "compact"})  # dated by what is sent
    consent_topic.send(bootstrap, "consent", said)
    (repository / "definitions.py").write_text(DEFINITIONS + NAMED)
    done = liveshelf(repository, "history", "events.jsonl", "--consent", bootstrap)
    assert done.returncode == 0, done.stderr
    assert "left out for it: 2 events of 2 of 3 visitors" in done.stderr
    assert (repository / "data/.gitignore").read_text() == "*\n"
    assert pd.read_parquet(repository / "data/named.parquet")["visitor_id"].tolist() == ["v", "v"]
    assert pd.read_parquet(repository / "data/bare.parquet")["views"].tolist() == [1, 2, 3]
    assert list(pd.read_parquet(repository / "data/named.parquet").columns) == [
        "visitor_id",
        "ts",
        "ingested_at",
        "views",
    ]
    from jobs.features.definitions import from_files

    defined = from_files(Settings(feature_repo=repository, state_dir=repository / "state"))
    monkeypatch.chdir(repository)
    store = FeatureStore(repo_path=str(repository))
    store.apply([VISITOR, ITEM, *defined.views])
    asked = {"visitor_id": ["v"], "item_id": ["lamp"], "event_timestamp": [datetime(2024, 5, 1, 8, 0, 30, tzinfo=UTC)]}
    for feature, entity in (("named:views", "visitor_id"), ("bare:views", "item_id")):
        rows = pd.DataFrame({name: asked[name] for name in (entity, "event_timestamp")})
        assert store.get_historical_features(rows, [feature]).to_df()["views"].tolist() == [1]


def test_lint_and_history_refuse_what_feast_couldnt_read(repository: Path):
    (repository / "definitions.py").write_text(DEFINITIONS + WRONG)
    for command in (["lint"], ["history", "events.jsonl"]):
        done = liveshelf(repository, *command)
        assert done.returncode == 3, done.stderr
        assert "second.batch_source: has the path './data/all.parquet' of first too" in done.stderr
        assert "remote.batch_source: is 's3://shop/remote.parquet'" in done.stderr
    assert not (repository / "data").exists()
    assert not (repository / "s3:").exists()
