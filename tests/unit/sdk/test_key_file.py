"""A file of random bytes appears whole or not at all, and once."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from liveshelf import SettingsError, key_file


def test_a_key_is_made_once_and_stays_its_owners(tmp_path: Path) -> None:
    key = key_file.made_once(tmp_path / "folder" / "key")
    assert len(key) == 32
    assert key_file.made_once(tmp_path / "folder" / "key") == key
    assert (tmp_path / "folder" / "key").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["key"]


def test_all_who_make_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    for number in range(50):
        with ThreadPoolExecutor(8) as makers:
            made = set(makers.map(key_file.made_once, [tmp_path / f"key-{number}"] * 8))
        assert len(made) == 1


def test_nobody_sees_a_key_before_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment when the file gets its name, its bytes are there."""
    seen = []
    link = os.link

    def linked(source: Path, target: Path) -> None:
        assert not target.exists()
        link(source, target)
        seen.append(target.read_bytes())

    monkeypatch.setattr(os, "link", linked)
    key = key_file.made_once(tmp_path / "key")
    assert seen == [key]


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_file_that_holds_no_key_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match=f"holds {len(content)} bytes and not a key"):
        key_file.made_once(tmp_path / "key")
