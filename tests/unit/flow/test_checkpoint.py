"""How Flink writes keys, and which operator's state is whose. Bytes by hand, as a hexadecimal dump shows them."""

import struct
from pathlib import Path

import pytest

from jobs.flow import checkpoint
from jobs.flow.checkpoint import KeyedState, UnknownLayoutError, holding, key_of, read, value_of
from jobs.settings import REPOSITORY
from tests.support.small_checkpoints import inline, key_groups, made, operator, utf


def test_a_short_key_stands_in_the_field_itself() -> None:
    assert key_of("s22170") == bytes.fromhex("00000010 0000000000000000 733232313730 00 86")
    assert key_of("zoé") == bytes.fromhex("00000010 0000000000000000 7a6fc3a9 000000 84")
    assert key_of("1") == bytes.fromhex("00000010 0000000000000000 31 000000000000 81")


def test_a_long_key_stands_behind_its_place_and_length() -> None:
    """17 bytes of text after 16 of the row, filled up to 24."""
    assert key_of("visitor-0001-abcd") == (
        bytes.fromhex("00000028 0000000000000000 11000000 10000000") + b"visitor-0001-abcd" + bytes(7)
    )
    assert key_of("12345678") == bytes.fromhex("00000018 0000000000000000 08000000 10000000") + b"12345678"


@pytest.mark.parametrize(
    ("short", "long"),
    [("s2224", "s22240"), ("a", "aa"), ("1", "21"), ("12345678", "123456789"), ("abcdefgh", "xabcdefgh"), ("a", "ä")],
)
def test_no_key_is_a_part_of_another(short: str, long: str) -> None:
    assert key_of(short) not in key_of(long)
    assert key_of(long) not in key_of(short)


def test_a_value_has_its_length_before_it() -> None:
    assert value_of("a") == b"s\x02a"
    assert value_of("é" * 40) == b"s\xa0\x01" + "é".encode() * 40


def test_each_operators_state_is_found_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(key_of("s22240"))
    relative = key_groups(b"\x06" + utf("one") + struct.pack(">q", 28))
    item = operator("item_id", inline(key_of("a")))
    folder = made(tmp_path, operator("visitor_id", relative), item, operator("none", b"\0"))
    assert read(folder) == (
        {"visitor_id", "item_id", "none"},
        [KeyedState("visitor_id", tmp_path / "one"), KeyedState("item_id", key_of("a"))],
    )


def test_who_is_sought_is_found_by_whole_keys(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"..." + key_of("s22240") + key_of("bert"))
    (tmp_path / "empty").touch()
    states = [KeyedState("v", tmp_path / "empty"), KeyedState("v", tmp_path / "one")]
    states += [KeyedState("v", key_of("anna"))]
    sought = {each: key_of(each) for each in ("s2224", "s22240", "anna", "ann", "bert", "1")}
    assert holding(states, sought) == {"s22240", "anna", "bert"}


@pytest.mark.parametrize(
    "content",
    [
        operator("v", b"\x05"),  # increments, as another state backend writes them
        operator("v", key_groups(b"\x09")),
        operator("v", b"\0")[:-4],
        operator("v", b"\0") + b"\0",
    ],
)
def test_another_form_is_never_taken_for_nothing(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnknownLayoutError):
        read(made(tmp_path, content))


def test_another_version_is_never_taken_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnknownLayoutError, match="version 5"):
        read(made(tmp_path, version=5))


def test_a_real_savepoint_names_its_operators_and_hides_its_states() -> None:
    """Flink's own bytes: nobody may say that a key isn't in them, because their form is another one."""
    folder = REPOSITORY / "tests" / "fixtures" / "savepoints" / "0.1.0"
    assert "histories" in checkpoint.operators(folder / "rankings")
    assert {"visitor_id", "item_id_every_60000"} <= checkpoint.operators(folder / "features")
    with pytest.raises(UnknownLayoutError, match="keyed state of kind 7"):
        read(folder / "rankings")
