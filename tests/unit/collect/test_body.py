"""Bodies within their limits; what needs a connection is in tests/integration/collect."""

import gzip
import json
import tracemalloc
import zlib

import pytest

from jobs.collect import body
from jobs.collect.refusal import RequestRefusedError

MIB = 1024 * 1024


def refusal(function, *arguments) -> tuple[int, str]:
    with pytest.raises(RequestRefusedError) as refused:
        function(*arguments)
    return refused.value.status, refused.value.code


def test_a_body_is_one_event_or_an_array_of_events():
    assert body.split(b' {"a": 1} ') == [b'{"a": 1}']
    assert body.split(b' [ {"a": 1} , 2,"x" ] ') == [b'{"a": 1}', b"2", b'"x"']
    assert body.split(b"[]") == []


def test_what_is_not_json_as_whole_is_refused_as_whole():
    for broken in (b"", b"[1,]", b"[1] x", b'{"a":', b"\xef\xbb\xbf[]", b"NaN", b"[" * 100_000, b'{"a":' * 100_000):
        assert refusal(body.split, broken) == (400, "not_json"), broken[:20]


def test_what_is_wrong_inside_an_event_leaves_the_others_alone():
    assert body.split(b'[{"a": "\xff"}, {"b": 1e999}, {"c": 1}]') == [b'{"a": "\xff"}', b'{"b": 1e999}', b'{"c": 1}']


def test_five_hundred_events_are_taken_and_one_more_is_not():
    assert len(body.split(json.dumps([{}] * 500).encode())) == 500
    assert refusal(body.split, json.dumps([{}] * 501).encode()) == (413, "too_many_events")


def test_a_huge_array_is_refused_before_it_takes_memory():
    """An array of two million numbers is refused before it takes memory."""
    assert refusal(body.split, b"[" + b"1," * (2 * MIB - 2) + b"1]") == (413, "too_many_values")


def test_gzip_is_unpacked_up_to_four_mebibytes():
    full = b"x" * (4 * MIB)
    assert body._unpacked(gzip.compress(full)) == full
    assert refusal(body._unpacked, gzip.compress(full + b"x")) == (413, "body_too_large")


def test_a_bomb_of_256_mebibytes_stops_at_the_limit():
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(256)) + packer.flush()
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        assert refusal(body._unpacked, bomb) == (413, "body_too_large")
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"plain",
        gzip.compress(b"cut off")[:-9],
        gzip.compress(b"a") + gzip.compress(b"b"),
        zlib.compress(b"no gzip"),
    ],
)
def test_what_is_no_gzip_is_refused(packed: bytes):
    assert refusal(body._unpacked, packed) == (400, "not_gzip")
