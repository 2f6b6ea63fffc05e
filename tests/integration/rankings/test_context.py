"""Values of Feast's online store, decoded without Feast, held against Feast's own encoding."""

import math

import pytest

from jobs.errors import SettingsError
from jobs.rankings.context import ContextReader, decode_number


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("int64_val", 0), ("int64_val", 7), ("int64_val", 300), ("int64_val", -5), ("int64_val", 2**63 - 1),
        ("int64_val", -(2**63)), ("int32_val", 1), ("int32_val", -1), ("double_val", 0.0), ("double_val", 2.5),
        ("double_val", -1e300), ("float_val", 1.5), ("bool_val", True), ("bool_val", False),
        ("unix_timestamp_val", 1_700_000_000),
    ],
)  # fmt: skip
def test_numbers_are_read_as_feast_wrote_them(field: str, number: float) -> None:
    value_pb2 = pytest.importorskip("feast.protos.feast.types.Value_pb2")

    assert decode_number(value_pb2.Value(**{field: number}).SerializeToString()) == float(number)


def test_not_a_number_stays_not_a_number() -> None:
    value_pb2 = pytest.importorskip("feast.protos.feast.types.Value_pb2")

    assert math.isnan(decode_number(value_pb2.Value(double_val=math.nan).SerializeToString()))


def test_missing_and_null_values_are_zero() -> None:
    value_pb2 = pytest.importorskip("feast.protos.feast.types.Value_pb2")

    assert decode_number(None) == 0.0
    assert decode_number(b"") == 0.0
    assert decode_number(value_pb2.Value(null_val=value_pb2.NULL).SerializeToString()) == 0.0


def test_a_string_is_refused() -> None:
    value_pb2 = pytest.importorskip("feast.protos.feast.types.Value_pb2")

    with pytest.raises(ValueError, match="isn't a number"):
        decode_number(value_pb2.Value(string_val="7").SerializeToString())


@pytest.mark.parametrize("name", ["view_count", "visitor_session:", ":view_count", ""])
def test_a_feature_without_its_view_is_refused_by_name(name: str) -> None:
    with pytest.raises(SettingsError, match="write view:feature"):
        ContextReader("redis://127.0.0.1:1/0", "liveshelf", [name])


def test_a_bundle_without_context_features_reads_nothing() -> None:
    assert ContextReader("redis://127.0.0.1:1/0", "liveshelf", []).read(["v1", "v2"]).shape == (2, 0)
