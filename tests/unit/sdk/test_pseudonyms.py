"""Pseudonyms against OpenSSL's HMAC, their key file, and its rotation.

The expected digits are the first 32 of, for example:
    printf 'visitor_id\\0anna@example.com' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1e1f
"""

import os
import stat
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.contract.events import parse
from jobs.errors import SettingsError
from liveshelf.pseudonyms import USER, Pseudonyms, add_key, retire_key

COUNTING = bytes(range(32))
ONES = b"\xff" * 32
ANNA = "anna@example.com"
ANNA_VISITS = "8483899d7cd6c47469295924c0c157d2"
ANNA_USES = "7aa9f0d03264eb9a906f1968747551ba"
ZOE_VISITS = "3e2978ccfc2e12571ae8623d75c1af13"
EVENT = {
    "schema_version": 1,
    "event_id": "e",
    "event_type": "view",
    "event_time_ms": 5,
    "visitor_id": ANNA,
    "item_id": "i",
}


def key_file(path: Path, *lines: str, mode: int = 0o600) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(mode)
    return path


def test_a_pseudonym_is_its_keys_id_and_half_an_hmac():
    """A pseudonym is the key's id and the half of an HMAC that openssl computes."""
    assert Pseudonyms([("k1", COUNTING)]).of(ANNA) == f"k1.{ANNA_VISITS}"
    assert Pseudonyms([("k7", ONES)]).of("Zoë") == f"k7.{ZOE_VISITS}"


def test_user_and_visitor_of_one_id_have_nothing_in_common():
    assert Pseudonyms([("k1", COUNTING)]).of(ANNA, USER) == f"k1.{ANNA_USES}"


def test_rotating_keys_make_current_pseudonyms_and_find_both():
    """While keys rotate the current one makes pseudonyms and both find them."""
    rotating = Pseudonyms([("k2", ONES), ("k1", COUNTING)])
    assert rotating.of("Zoë") == f"k2.{ZOE_VISITS}"
    assert rotating.all_of(ANNA)[1] == f"k1.{ANNA_VISITS}"
    assert rotating.all_of("Zoë")[0] == f"k2.{ZOE_VISITS}"


def test_an_event_loses_only_its_visitor_and_user():
    """An event keeps all but its visitor and its user and passes the contract."""
    made = Pseudonyms([("k1", COUNTING)]).event(EVENT | {"user_id": ANNA})
    assert made == EVENT | {"visitor_id": f"k1.{ANNA_VISITS}", "user_id": f"k1.{ANNA_USES}"}
    assert parse(msgspec.json.encode(made), now_ms=5) == made
    assert "user_id" not in Pseudonyms([("k1", COUNTING)]).event(EVENT)


def test_what_looks_like_a_pseudonym_is_none_yet():
    """Whoever knows another visitor's pseudonym could else speak for them."""
    pseudonyms = Pseudonyms([("k1", COUNTING)])
    assert pseudonyms.of(pseudonyms.of(ANNA)) != pseudonyms.of(ANNA)


def test_a_file_holds_the_current_key_and_the_one_before(tmp_path: Path):
    path = key_file(tmp_path / "keys", "# rotated in May", f"k2 {ONES.hex()}", "", f"k1 {COUNTING.hex()}", mode=0o640)
    assert Pseudonyms.read(path).all_of("Zoë")[0] == f"k2.{ZOE_VISITS}"
    assert Pseudonyms.read(path).all_of(ANNA)[1] == f"k1.{ANNA_VISITS}"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620])
def test_a_file_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int):
    """A file that others may read or change is refused with the command that mends it."""
    path = key_file(tmp_path / "keys", f"k1 {COUNTING.hex()}", mode=mode)
    with pytest.raises(SettingsError, match=rf"(?s)mode is {mode:o}.*fix: chmod 600 {path}"):
        Pseudonyms.read(path)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("# nothing",),
        (COUNTING.hex(),),
        (f"k1 {COUNTING.hex()[:-2]}",),
        (f"k1 {COUNTING.hex()[:-1]}g",),
        (f"k.1 {COUNTING.hex()}",),
        (f"{{k}} {COUNTING.hex()}",),
        (f"k1 {COUNTING.hex()} more",),
        (f"k1 {COUNTING.hex()}", f"k1 {ONES.hex()}"),
        (f"k1 {COUNTING.hex()}", f"k2 {COUNTING.hex()}"),
        (f"k1 {COUNTING.hex()}", f"k2 {ONES.hex()}", f"k3 {'ab' * 32}"),
    ],
)
def test_a_file_with_anything_else_is_refused_without_its_keys(tmp_path: Path, lines: tuple[str, ...]):
    """A file with anything else is refused and no key is shown."""
    path = key_file(tmp_path / "keys", *lines)
    with pytest.raises(SettingsError) as refusal:
        Pseudonyms.read(path)
    assert str(path) in str(refusal.value)
    assert COUNTING.hex()[:20] not in str(refusal.value)


def test_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"(?s)absent.*fix: liveshelf keys new"):
        Pseudonyms.read(tmp_path / "absent")


def test_keys_are_made_rotated_and_retired(tmp_path: Path):
    """Keys are made rotated and retired in a file of its owner's own."""
    path = tmp_path / "deep" / "keys"
    old_umask = os.umask(0)
    try:
        assert add_key(path) == "k1"
    finally:
        os.umask(old_umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = Pseudonyms.read(path).of(ANNA)
    assert add_key(path) == "k2"
    assert Pseudonyms.read(path).of(ANNA).startswith("k2.")
    assert Pseudonyms.read(path).all_of(ANNA)[1] == before
    with pytest.raises(SettingsError, match=r"k1 would no longer be found"):
        add_key(path)
    assert retire_key(path) == "k1"
    assert len(Pseudonyms.read(path).all_of(ANNA)) == 1
    with pytest.raises(SettingsError, match="in use"):
        retire_key(path)
    assert add_key(path) == "k3"  # k1 is never used again: its pseudonyms may still lie somewhere
    assert [each.name for each in path.parent.iterdir()] == ["keys"]


def test_command_makes_a_file_and_says_how_to_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("LIVESHELF_PSEUDONYM_KEYS", raising=False)
    said = CliRunner().invoke(app, ["keys", "new"])
    assert said.exit_code == 0, said.output
    assert f"export LIVESHELF_PSEUDONYM_KEYS={tmp_path}/pseudonym.keys" in said.stderr
    assert Pseudonyms.read(tmp_path / "pseudonym.keys").of(ANNA).startswith("k1.")
    assert CliRunner().invoke(app, ["keys", "retire"]).exit_code == 2
