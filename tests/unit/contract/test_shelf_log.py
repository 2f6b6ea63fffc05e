"""The log of lists names a shelf; release 0.1.0 called that field `channel`."""

import json

import msgspec
import pytest

from jobs.contract.shelf import read_logged


class Line(msgspec.Struct):
    visitor_id: str
    shelf: str


@pytest.mark.parametrize("name", ["shelf", "channel"])
def test_a_record_is_read_under_its_old_name_too(name: str) -> None:
    value = json.dumps({"visitor_id": "v", name: "basket", "offset": 7}).encode()
    assert read_logged(value, Line) == Line("v", "basket")
    assert read_logged(value, dict) == {"visitor_id": "v", "shelf": "basket", "offset": 7}


@pytest.mark.parametrize("value", [None, b"", b"[]", b'{"visitor_id": "v"}', b'{"visitor_id": "v", "channel": 1}'])
def test_what_is_no_record_is_refused(value: bytes | None) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_logged(value, Line)
