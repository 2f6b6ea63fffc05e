"""Settings are read from variables and from liveshelf.toml."""

from pathlib import Path

import pytest

from jobs.errors import SettingsError
from jobs.settings import Settings


def test_the_shelf_is_set_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVESHELF_SHELF", "basket")
    assert Settings().shelf == "basket"


@pytest.mark.parametrize("place", ["LIVESHELF_CHANNEL", "liveshelf_channel", "liveshelf.toml"])
def test_a_renamed_setting_is_refused_with_its_new_name(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    if place == "liveshelf.toml":
        Path(place).write_text('channel = "basket"')
    else:
        monkeypatch.setenv(place, "basket")
    with pytest.raises(SettingsError, match="now called shelf\n  fix: set shelf or LIVESHELF_SHELF instead"):
        Settings()
