"""The stock `FeatureStore` reads what we wrote: from Redis, and from a store that Feast's own interface wrote to."""

import json
import warnings
from pathlib import Path

import msgspec
import pytest
import yaml
from feast import FeatureStore, Field
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String

from jobs.contract.items import ITEM_FIELDS, OFFER_FIELDS, FactContract, own_field
from jobs.features import lint
from jobs.features.definitions import of_facts
from jobs.features.fact_views import BY_DEFAULT, compile_facts
from jobs.features.feast_writer import FeastWriter
from jobs.features.online_store import Row
from jobs.features.plan import Output
from jobs.features.redis_writer import RedisWriter, WriteCounts
from jobs.operate import facts, feast_apply
from jobs.operate.facts import contracts_of
from jobs.settings import Settings
from tests.support.clock import Clock
from tests.support.small_plans import plan, view_plan
from tests.support.small_views import ITEM, VISITOR, fact_view, kafka, session_view, view

CLOCK = Clock()
TYPES = {
    "count": Int64,
    "small": Int32,
    "mean": Float64,
    "single": Float32,
    "flag": Bool,
    "name": String,
    "names": Array(String),
    "numbers": Array(Int64),
    "reals": Array(Float64),
}
VALUES = {
    "count": -5,
    "small": 7,
    "mean": 0.1,
    "single": 1.5,
    "flag": True,
    "name": "é😀",
    "names": ["a", "", "é"],
    "numbers": [1, -2],
    "reals": [0.5],
}
KINDS = view_plan(
    *(Output(name, "max", "is_view", str(dtype)) for name, dtype in TYPES.items()), name="kinds", ttl_ms=86_400_000
)


def feast_repository(folder: Path, online_store: dict[str, str]) -> Path:
    """A repository in which `kinds` (a field of each type), `clicks` and `now` were applied; its feature_store.yaml."""
    path = folder / "feature_store.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "project": "shop",
                "provider": "local",
                "registry": str(folder / "registry.db"),
                "online_store": online_store,
                "offline_store": {"type": "file"},
                "entity_key_serialization_version": 3,
            }
        )
    )
    fields = [Field(name="visitor_id", dtype=String), *(Field(name=name, dtype=dtype) for name, dtype in TYPES.items())]
    kinds = view(name="kinds", source=kafka("kinds"), schema=fields, aggregations=[])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FeatureStore(fs_yaml_file=path).apply(
            [VISITOR, ITEM, kinds, view(), session_view(name="now", source=kafka("now")), TERMS]
        )
    return path


@pytest.fixture(scope="module")
def on_redis(tmp_path_factory, redis_url) -> FeatureStore:
    address = redis_url.removeprefix("redis://").removesuffix("/0")
    path = feast_repository(tmp_path_factory.mktemp("redis"), {"type": "redis", "connection_string": address})
    return FeatureStore(fs_yaml_file=path)


@pytest.fixture(scope="module")
def sqlite_yaml(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sqlite")
    return feast_repository(folder, {"type": "sqlite", "path": str(folder / "online.db")})


# With a field of the shop's own, which a tag marks.
TERMS = fact_view(
    schema=[
        Field(name="item_id", dtype=String),
        Field(name="stock", dtype=Int64),
        Field(name="made_of", dtype=String, tags={"own": ""}),
    ]
)


def read(store: FeatureStore, entity: str) -> dict[str, object]:
    answer = store.get_online_features([f"kinds:{name}" for name in TYPES], [{"visitor_id": entity}]).to_dict()
    return {name: answer[name][0] for name in TYPES}


def kinds_row(entity: str, values: dict[str, object], time_ms: int | None = None, seq: int = 0) -> tuple[str, Row]:
    time_ms = CLOCK.now_ms if time_ms is None else time_ms
    return "visitor_id", Row(entity, time_ms, seq, json.dumps([values.get(name) for name in TYPES]))


def test_feast_reads_every_type_from_redis(on_redis, redis_url):
    writer = RedisWriter(redis_url, plan(KINDS))
    writer.write([kinds_row("v-1", VALUES)])
    assert read(on_redis, "v-1") == VALUES
    writer.close()


def test_feast_reads_nulls_and_empty_lists_from_redis(on_redis, redis_url):
    writer = RedisWriter(redis_url, plan(KINDS))
    writer.write([kinds_row("v-2", {"numbers": [], "reals": [], "names": []})])
    found = read(on_redis, "v-2")
    assert {name: found[name] for name in ("names", "numbers", "reals")} == {"names": [], "numbers": [], "reals": []}
    assert {found[name] for name in TYPES if "Array" not in str(TYPES[name])} == {None}
    writer.close()


def test_feast_reads_the_event_time_from_redis(on_redis, redis_url):
    writer = RedisWriter(redis_url, plan(KINDS))
    writer.write([kinds_row("v-3", VALUES)])
    answer = on_redis.get_online_features(["kinds:count"], [{"visitor_id": "v-3"}])
    assert answer.to_dict(include_event_timestamps=True)["count__ts"] == [CLOCK.now_ms // 1000]
    writer.close()


def test_what_was_applied_compiles_as_what_was_written_in_files(on_redis):
    """Feast's registry gives back less than it was given: nothing that the compiler reads may be missing."""
    applied = [each for each in on_redis.list_stream_feature_views() if each.name != "kinds"]
    written = [view(), session_view(name="now", source=kafka("now"))]
    entities = [VISITOR, ITEM]
    assert lint.compile_views("shop", "events", applied, entities) == lint.compile_views(
        "shop", "events", written, entities
    )
    assert lint.compile_views("shop", "events", applied, entities)[1] == []


def test_applied_views_of_facts_compile_as_those_in_files(on_redis):
    applied = compile_facts(of_facts(on_redis.list_feature_views()), [VISITOR, ITEM], BY_DEFAULT)
    assert applied == compile_facts([TERMS], [VISITOR, ITEM], BY_DEFAULT)
    assert applied[1] == []


def test_commands_know_the_facts_of_applied_views_without_feast(sqlite_yaml, tmp_path):
    settings = Settings(state_dir=tmp_path)
    assert [contract.topic for contract in contracts_of(settings)] == ["items", "offers"]
    feast_apply.note(facts.path(settings), sqlite_yaml)
    of_items, of_offers = contracts_of(settings)
    assert of_items == FactContract("items", ITEM_FIELDS)
    assert of_offers == FactContract("offers", (*OFFER_FIELDS, own_field("made_of", "string")))


def test_feast_reads_facts_until_a_tombstone_removes_them(on_redis, sqlite_yaml, redis_url):
    """From Redis, and from another store through Feast."""
    of_terms = plan(KINDS, facts=compile_facts([TERMS], [ITEM], BY_DEFAULT)[0])
    asked = (["terms:stock", "terms:made_of"], [{"item_id": "boots"}])
    for store, writer in (
        (on_redis, RedisWriter(redis_url, of_terms)),
        (FeatureStore(fs_yaml_file=sqlite_yaml), FeastWriter(str(sqlite_yaml), of_terms)),
    ):
        assert writer.write([("facts:offers", Row("boots", CLOCK.now_ms, 7, '[3, "rubber"]'))]) == WriteCounts(1, 0)
        assert store.get_online_features(*asked).to_dict() == {
            "item_id": ["boots"],
            "stock": [3],
            "made_of": ["rubber"],
        }
        assert writer.remove([("facts:offers", "boots", CLOCK.now_ms + 1000, 8)]) == 1
        assert store.get_online_features(*asked).to_dict() == {"item_id": ["boots"], "stock": [None], "made_of": [None]}
        writer.close()


def test_another_store_is_written_and_read_through_feast(sqlite_yaml):
    writer = FeastWriter(str(sqlite_yaml), plan(KINDS))
    assert writer.write([kinds_row("v-1", VALUES), kinds_row("v-2", {})]) == WriteCounts(2, 0)
    writer.close()
    store = FeatureStore(fs_yaml_file=sqlite_yaml)
    assert read(store, "v-1") == VALUES
    assert set(read(store, "v-2").values()) == {None}


def test_another_store_keeps_the_newer_row_too(sqlite_yaml):
    """In another store an older row does not replace a newer one and an equal one does."""
    writer = FeastWriter(str(sqlite_yaml), plan(KINDS))
    writer.write([kinds_row("v-5", {"count": 5})])
    older = kinds_row("v-5", {"count": 4}, CLOCK.now_ms - 2000)  # SQLite's times are whole seconds
    assert writer.write([older, kinds_row("v-6", {"count": 1})]) == WriteCounts(1, 1)
    store = FeatureStore(fs_yaml_file=sqlite_yaml)
    assert read(store, "v-5")["count"] == 5
    assert writer.write([kinds_row("v-5", {"count": 6})]) == WriteCounts(1, 0)
    assert read(store, "v-5")["count"] == 6


def test_part_of_view_writes_its_own_features_of_another_store(sqlite_yaml):
    first = msgspec.structs.replace(KINDS, outputs=KINDS.outputs[:1])
    second = msgspec.structs.replace(KINDS, outputs=KINDS.outputs[1:2], part=1)
    writer = FeastWriter(str(sqlite_yaml), plan(first, second))
    writer.write(
        [
            ("visitor_id", Row("v-7", CLOCK.now_ms, 0, "[1]")),
            ("visitor_id_part1", Row("v-7", CLOCK.now_ms - 5000, 0, "[2]")),
        ]
    )
    found = read(FeatureStore(fs_yaml_file=sqlite_yaml), "v-7")
    assert (found["count"], found["small"]) == (1, 2)
