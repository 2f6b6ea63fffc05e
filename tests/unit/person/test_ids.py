"""Under which ids a visitor is looked for, whatever a command was given. Pseudonyms by Python's own hmac."""

import hashlib
import hmac
import io
import os
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.errors import SettingsError
from jobs.person.ids import Visitor, ids_of, one_of, stored_as
from jobs.person.receipt import subjects
from jobs.settings import Settings

NEW, OLD = bytes(range(32)), bytes(range(32, 64))


def pseudonym(kid: str, key: bytes, raw: str, namespace: str = "visitor_id") -> str:
    digest = hmac.new(key, namespace.encode() + b"\0" + raw.encode(), hashlib.sha256).hexdigest()
    return f"{kid}.{digest[:32]}"


@pytest.fixture
def keyed(tmp_path: Path) -> Settings:
    """Settings with two keys in rotation."""
    file = tmp_path / "pseudonym.keys"
    file.touch(0o600)
    file.write_text(f"k2 {NEW.hex()}\nk1 {OLD.hex()}\n")
    return Settings(state_dir=tmp_path, pseudonym_keys=file)


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def put(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))

    return put


def test_without_keys_an_id_is_itself(plain: Settings) -> None:
    assert ids_of(plain, ["s22240", "zoé"]) == [Visitor("s22240", ("s22240",)), Visitor("zoé", ("zoé",))]


def test_with_two_keys_an_id_has_two_pseudonyms(keyed: Settings) -> None:
    """The current key's comes first. The id itself is looked for too, and written nowhere by itself."""
    both = (pseudonym("k2", NEW, "anna@shop"), pseudonym("k1", OLD, "anna@shop"))
    (anna,) = ids_of(keyed, ["anna@shop"])
    assert anna == Visitor("anna@shop", both, older=("anna@shop",))
    assert anna.sought == (*both, "anna@shop")


def test_what_looks_like_a_pseudonym_is_what_one_says(keyed: Settings, plain: Settings) -> None:
    """Petra's pseudonym is another visitor's own id: by neither way one of them is found under the other's."""
    text = pseudonym("k2", NEW, "petra@shop")
    with pytest.raises(SettingsError, match="form of a pseudonym") as refused:
        ids_of(keyed, ["anna", text])
    assert text not in str(refused.value)
    assert ids_of(keyed, [text], are_pseudonyms=True) == [Visitor(text, (text,))]
    both = (pseudonym("k2", NEW, text), pseudonym("k1", OLD, text))
    (other,) = ids_of(keyed, [text], are_pseudonyms=False)
    assert (other, other.name) == (Visitor(text, both), both[0])
    assert not {*subjects(keyed, other)} & {*subjects(keyed, one_of(keyed, "petra@shop"))}
    with pytest.raises(SettingsError, match="hasn't the form"):
        ids_of(keyed, ["anna"], are_pseudonyms=True)
    assert ids_of(plain, [text]) == [Visitor(text, (text,))]  # without keys there are no pseudonyms
    assert len(ids_of(keyed, [text.upper()])[0].ids) == 2  # hexadecimal digits are small: this isn't one


def test_ids_come_from_standard_input_line_by_line(plain: Settings, stdin: Callable[[bytes], None]) -> None:
    stdin("\ufeffanna\r\n\n  b c \nanna\nzo\u2028é".encode())
    assert [each.given for each in ids_of(plain, ["first", "-"])] == ["first", "anna", "  b c ", "zo\u2028é"]


@pytest.mark.parametrize("content", [b"", b"\n\r\n", b"\xff\n"])
def test_standard_input_without_an_id_is_an_error(
    content: bytes, plain: Settings, stdin: Callable[[bytes], None]
) -> None:
    stdin(content)
    with pytest.raises(SettingsError, match="standard input"):
        ids_of(plain, ["-"])


def test_a_command_for_one_visitor_refuses_several(plain: Settings, stdin: Callable[[bytes], None]) -> None:
    stdin(b"anna\nbert\n")
    with pytest.raises(SettingsError, match="names 2 visitors"):
        one_of(plain, "-")


@pytest.mark.parametrize("text", ["", "x" * 129, "\U0001f600" * 65, os.fsdecode(b"j\xfcrgen"), "item/4711", "place/PL"])
def test_an_id_that_no_event_has_is_refused_unnamed(text: str, plain: Settings) -> None:
    with pytest.raises(SettingsError) as refused:
        ids_of(plain, [text])
    assert not text or text not in str(refused.value)


def test_ids_of_a_corrected_event_become_pseudonyms(keyed: Settings, plain: Settings) -> None:
    fields = {"visitor_id": "anna", "user_id": "u1", "item_id": "anna", "quantity": 2}
    assert stored_as(plain, fields) == {}
    assert stored_as(keyed, fields) == {
        "visitor_id": pseudonym("k2", NEW, "anna"),
        "user_id": pseudonym("k2", NEW, "u1", "user_id"),
    }
    kept = {"visitor_id": pseudonym("k1", OLD, "anna")}
    assert stored_as(keyed, kept, are_pseudonyms=True) == kept
    again = pseudonym("k2", NEW, kept["visitor_id"])
    assert stored_as(keyed, kept, are_pseudonyms=False) == {"visitor_id": again}
    with pytest.raises(SettingsError, match="form of a pseudonym"):
        stored_as(keyed, kept)
