"""Settings are read from variables and from liveshelf.toml."""

import ast
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta
from pydantic import ValidationError, create_model

from jobs.commands.shared import OTHER_VARIABLES, PREFIX, unknown_variables
from jobs.contract.ranker_settings import RankerSettings
from jobs.errors import SettingsError
from jobs.settings import REPOSITORY, Settings, fields_of

DERIVED = ("model_dir", "shelves_dir", "model_public_key")  # settings name folders and a file
# Of each setting of the ranker a value that is none, or "" where every text is one.
WRONG = {"shelf": "", "list_size": "101", "list_ttl_s": "0", "session_gap_s": "0", "model_threads": "0"}


@pytest.mark.parametrize("name", [name for name in RankerSettings.__struct_fields__ if name not in DERIVED])
def test_field_of_the_ranker_is_a_setting_with_its_limits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LIVESHELF_{name.upper()}", "7")
    assert str(getattr(Settings().ranker, name)) == "7"
    assert Settings.model_fields[name].description
    if WRONG[name]:
        monkeypatch.setenv(f"LIVESHELF_{name.upper()}", WRONG[name])
        with pytest.raises(ValidationError, match=name):
            Settings()


def test_new_field_of_the_struct_becomes_a_field_of_settings() -> None:
    class More(RankerSettings, kw_only=True):
        rules: Annotated[int, Meta(ge=1, le=9, description="rules at most")] = 3
        derived: str = ""

    model: Any = create_model("Model", **fields_of(More))
    assert model(rules=9).model_dump()["rules"] == 9
    assert "derived" not in model.model_fields
    with pytest.raises(ValidationError):
        model(rules=10)


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


def test_mistyped_variable_is_named_with_the_setting_that_was_meant() -> None:
    assert unknown_variables(["LIVESHELF_KAFKA_PRT", "HOME"]) == [
        "LIVESHELF_KAFKA_PRT is no setting, and is ignored: is LIVESHELF_KAFKA_PORT meant?"
    ]
    assert unknown_variables(["liveshelf_state_dri"]) == [
        "liveshelf_state_dri is no setting, and is ignored: is LIVESHELF_STATE_DIR meant?"
    ]


def test_a_variable_like_no_setting_is_named_without_a_guess() -> None:
    assert unknown_variables(["LIVESHELF_XYZ"]) == ["LIVESHELF_XYZ is no setting, and is ignored"]


def test_every_setting_and_every_variable_that_code_reads_is_known() -> None:
    """The oracle is the code: each string in it that is the whole name of a variable."""
    texts = [file.read_text() for room in ("jobs", "models") for file in (REPOSITORY / room).rglob("*.py")]
    strings = {node.value for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    read = {name for name in strings if isinstance(name, str) and name.removeprefix(PREFIX).isidentifier()}
    read = {name for name in read if name.startswith(PREFIX)}
    assert read >= OTHER_VARIABLES
    assert unknown_variables([*read, *(PREFIX + name.upper() for name in Settings.model_fields)]) == []


def test_a_mistyped_name_is_told_with_the_setting_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mistyped name in the file is named with the setting that was meant."""
    from jobs.commands.shared import load_settings

    monkeypatch.chdir(tmp_path)
    Path("liveshelf.toml").write_text("kafka_prt = 1")
    with pytest.raises(SettingsError, match=r"kafka_prt in liveshelf.toml is no setting: is kafka_port meant\?"):
        load_settings()


def test_a_settings_file_may_begin_with_a_byte_order_mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("liveshelf.toml").write_bytes(b"\xef\xbb\xbfkafka_port = 5\r\n")
    assert Settings().kafka_port == 5
