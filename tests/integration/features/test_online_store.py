"""Our encoding of rows is Feast's own, byte for byte."""

import json
import random
import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, from_feast_to_pyarrow_type
from google.protobuf.timestamp_pb2 import Timestamp

from jobs.features.online_store import ENCODERS, Row, RowEncoder, entity_key, feature_field, timestamp, version
from tests.support.small_plans import output, plan, view_plan

FEAST_TYPES = {
    str(each): each
    for each in (
        Int64,
        Int32,
        Float64,
        Float32,
        Bool,
        String,
        Array(String),
        Array(Int64),
        Array(Float64),
    )
}
VALUES: dict[str, list[Any]] = {
    "Int64": [0, 1, -1, 127, 128, 2**63 - 1, -(2**63)],
    "Int32": [0, 5, -5, 2**31 - 1, -(2**31)],
    "Float64": [0.0, -0.0, 1.5, -1e300, 5e-324],
    "Float32": [0.0, 1.5, -2.25],
    "Bool": [True, False],
    "String": ["", "shoes", "é€😀", "x" * 300],
    "Array(String)": [["a", "bb"], [""], [], ["é"] * 20],
    "Array(Int64)": [[0], [1, -1, 300], []],
    "Array(Float64)": [[0.5, -1.25], []],
}


def feast_key(project: str, keys: dict[str, str]) -> bytes:
    key = EntityKey(join_keys=list(keys), entity_values=[Value(string_val=value) for value in keys.values()])
    assert _redis_key(project, key) == serialize_entity_key(key, entity_key_serialization_version=3) + project.encode()
    return _redis_key(project, key)


@pytest.mark.parametrize(
    "keys",
    [
        {"visitor_id": "v-1"},
        {"visitor_id": ""},
        {"item_id": "é😀"},
        {"b": "2", "a": "1"},
        {"visitor_id": "x" * 128},
        {},
    ],
)
def test_an_entity_key_is_feasts(keys: dict[str, str]):
    assert entity_key("shop", keys) == feast_key("shop", keys)


def test_entity_key_has_bytes_that_were_noted_from_feast_once():
    """Golden: the bytes that Feast 0.67 itself wrote for these keys."""
    noted = "01000000020000000a00000073657373696f6e5f69640200000003000000732d3173686f70"
    assert entity_key("shop", {"session_id": "s-1"}).hex() == noted


def test_a_features_field_is_feasts():
    assert feature_field("session_features", "clicks_30m").hex() == "e5c756ef"  # golden, as above
    for name in ("views", "mean_price_minor", "é"):
        assert feature_field("clicks", name) == _mmh3(f"clicks:{name}")


@pytest.mark.parametrize("ms", [0, 1, 999, 1000, 1_700_000_000_123, 4_102_444_800_000])
def test_a_timestamp_is_protobufs(ms: int):
    wanted = Timestamp()
    wanted.FromMilliseconds(ms)
    assert timestamp(ms) == wanted.SerializeToString()


def test_a_timestamp_has_the_bytes_that_were_noted_once():
    assert timestamp(1_700_000_000_123).hex() == "0880e2cfaa0610c0a9d33a"


def test_each_type_under_test_has_an_encoder():
    """There is an encoder for each type under test and no other."""
    assert set(ENCODERS) == set(VALUES) == set(FEAST_TYPES)


@pytest.mark.parametrize("dtype", VALUES)
def test_a_value_is_what_feast_stores(dtype: str):
    kind = FEAST_TYPES[dtype].to_value_type()
    for value in VALUES[dtype]:
        (wanted,) = python_values_to_proto_values([value], kind)
        assert ENCODERS[dtype](value) == wanted.SerializeToString(), value


def test_values_have_the_bytes_that_were_noted_once():
    assert ENCODERS["Int64"](0).hex() == "2000"
    assert ENCODERS["Array(String)"](["a", "bb"]).hex() == "62070a01610a026262"


def test_a_thousand_random_values_are_what_feast_stores():
    chooser = random.Random(3)
    for _ in range(1000):
        number, real = chooser.randrange(-(2**63), 2**63), struct.unpack("<d", chooser.randbytes(8))[0]
        assert ENCODERS["Int64"](number) == Value(int64_val=number).SerializeToString()
        if real == real:  # a NaN's bytes may change on the way through protobuf
            assert ENCODERS["Float64"](real) == Value(double_val=real).SerializeToString()


def test_list_leaves_its_nulls_out_because_feasts_lists_hold_none():
    assert ENCODERS["Array(String)"](["a", None]) == ENCODERS["Array(String)"](["a"])
    assert ENCODERS["Array(Int64)"]([None]) == ENCODERS["Array(Int64)"]([])
    assert ENCODERS["Array(Float64)"]([1.5, None]) == ENCODERS["Array(Float64)"]([1.5])


def test_a_types_name_is_the_one_that_feast_prints():
    for name, each in FEAST_TYPES.items():
        assert from_feast_to_pyarrow_type(each) is not None
        assert ENCODERS[name] is not None


def test_versions_are_ordered_as_text_as_rows_are_in_time():
    rows = [
        (0, 0),
        (0, 1),
        (9, 0),
        (9, 9),
        (9, 10),
        (10, 0),
        (1_785_000_000_000, 0),
        (1_785_000_000_000, 9_999_999_999),
        (1_785_000_000_001, 0),
        (4_102_444_800_000, 5),
    ]
    assert [version(*row) for row in rows] == sorted(version(*row) for row in rows)
    assert len({len(version(*row)) for row in rows}) == 1


def arguments(view, row: Row) -> list[bytes]:
    """A row's arguments, with the fields and values unpacked as Redis unpacks them."""
    *head, fields = RowEncoder("shop", plan(view).operators()[0]).arguments(row)
    return [*head, *msgpack.unpackb(fields, raw=True)]


def test_a_rows_arguments_are_key_version_expiry_time_and_fields():
    view = view_plan(output("views"), output("gone"), output("share", dtype="Float64"), ttl_ms=5000)
    view.outputs[1] = type(view.outputs[1])("gone", "sum", "is_view", "Int64", dropped=True)
    assert arguments(view, Row("v-1", 7000, 3, json.dumps([2, 9, None]))) == [
        entity_key("shop", {"visitor_id": "v-1"}),
        b"_v:visitor_id",
        b"00000000000070000000000003",
        b"12000",
        b"_ts:clicks",
        b"\x08\x07",
        feature_field("clicks", "views"),
        b"\x20\x02",
        feature_field("clicks", "share"),
        b"",
    ]


def test_part_has_version_of_its_own_and_its_views_names():
    made = arguments(view_plan(output("views"), part=1), Row("v-1", 1000, 0, "[1]"))
    assert made[1] == b"_v:visitor_id_part1"
    assert made[4:7] == [b"_ts:clicks", b"\x08\x01", feature_field("clicks", "views")]


def test_views_of_one_operator_share_a_row():
    both = plan(view_plan(output("views")), view_plan(output("carts"), name="other")).operators()
    assert [operator.key for operator in both] == ["visitor_id"]
    *_, fields = RowEncoder("shop", both[0]).arguments(Row("v-1", 1000, 0, "[1, 2]"))
    found = msgpack.unpackb(fields, raw=True)
    assert dict(zip(found[::2], found[1::2], strict=True)) == {
        b"_ts:clicks": b"\x08\x01",
        b"_ts:other": b"\x08\x01",
        feature_field("clicks", "views"): b"\x20\x01",
        feature_field("other", "carts"): b"\x20\x02",
    }


@pytest.mark.parametrize("size", [0, 1, 31, 32, 255, 256, 40_000])
def test_a_text_of_any_length_comes_through(size: int):
    made = arguments(view_plan(output("words", dtype="String")), Row("v-1", 1000, 0, json.dumps(["x" * size])))
    assert made[-1] == ENCODERS["String"]("x" * size)


@pytest.mark.parametrize(
    ("dtype", "values"), [("Int64", range(5_000)), ("String", [f"word {n}" for n in range(5_000)])]
)
def test_remembered_value_is_same_and_what_is_remembered_has_bound(dtype: str, values: Sequence[object]):
    encoder = RowEncoder("shop", plan(view_plan(output("seen", dtype=dtype))).operators()[0])
    remembered = len(encoder._cells[0]._known)
    for value in [*values, values[1], values[-1]]:
        payload = json.dumps([value])
        fields = msgpack.unpackb(encoder.arguments(Row("v-1", 1000, 0, payload))[-1], raw=True)
        assert fields[-1] == ENCODERS[dtype](value)
    assert len(encoder._cells[0]._known) - remembered == (0 if dtype == "Int64" else 1_024)


def test_a_view_without_ttl_does_not_expire():
    assert arguments(view_plan(output("views"), ttl_ms=0), Row("v-1", 1000, 0, "[1]"))[3] == b"0"
