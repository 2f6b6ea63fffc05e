"""Every command that takes a file or folder: one that can't be used is one clear error, never a traceback."""

import gzip
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.commands.files import output_file, output_folder
from jobs.errors import DataError, SettingsError
from jobs.lab.replay.sources import read
from jobs.settings import REPOSITORY

BUNDLE = str(REPOSITORY / "models" / "artifacts" / "eshop")
FILE = ("missing", "folder", "empty", "unreadable", "binary")  # where a file is wanted
FOLDER = ("missing", "folder", "empty", "unreadable", "binary")  # where a bundle or a repository is wanted
NO_FOLDER = ("empty", "unreadable", "binary")  # where a folder is wanted, which may be missing or empty

# Arguments ({} stands for the path), the path's suffix, what can be wrong with it, the exit code.
COMMANDS: list[tuple[str, str, tuple[str, ...], int]] = [
    ("replay {}", ".jsonl", ("missing", "folder", "unreadable"), 6),
    ("replay {}", ".csv.gz", ("missing", "folder", "unreadable"), 6),
    ("replay clicks.csv --mapping {}", ".toml", FILE, 6),
    ("replay retailrocket --data-dir {}", "", FOLDER, 6),
    ("history {}", ".jsonl", FILE, 6),
    ("history {}", ".jsonl.gz", FILE, 6),
    ("history {}", ".parquet", FILE, 6),
    ("train --sessions {} --out bundle", ".txt", FILE, 6),
    ("train --sessions {} --out bundle", ".txt.gz", FILE, 6),
    ("train --sessions {} --out bundle", ".tsv", FILE, 6),
    ("train --sessions {} --out bundle", ".jsonl", FILE, 6),
    ("train --sessions {} --out bundle", ".parquet", FILE, 6),
    ("train --sessions clicks.txt --out {}", "", NO_FOLDER, 2),
    ("train --sessions clicks.txt --out bundle --from {}", "", FOLDER, 5),
    ("train --sessions clicks.txt --out bundle --from version --publish --key {}", ".pem", FILE, 2),
    ("learn --once --key {}", ".pem", FILE, 2),
    ("evaluate --model " + BUNDLE + " --prefixes {}", ".tsv", FILE, 6),
    ("evaluate --prefixes questions.tsv --model {}", "", FOLDER, 5),
    ("evaluate --prefixes questions.tsv --lists {}", ".tsv", FILE, 6),
    ("evaluate --prefixes questions.tsv --baselines --sessions {}", ".txt", FILE, 6),
    ("models publish {}", "", FOLDER, 5),
    ("models sign {} --key any.pem", "", FOLDER, 5),
    ("models sign " + BUNDLE + " --key {}", ".pem", FILE, 2),
    ("models key {}", ".pem", ("folder", "empty", "binary", "unreadable"), 2),
    ("models key {}/key.pem", "", ("missing", "empty", "binary", "unreadable"), 2),
    ("person export anna --to {}", "", ("folder", "empty", "binary", "unreadable"), 2),
    ("person export anna --to {}/anna", "", NO_FOLDER, 2),
    ("init {}", "", NO_FOLDER, 2),
    ("bench --quick --json {}", ".json", ("folder", "unreadable"), 2),
    ("bench --quick --json {}/bench.json", "", ("missing", "empty", "unreadable", "binary"), 2),
    ("bench compare {} {}", ".json", FILE, 6),
    ("chaos --json {}", ".json", ("folder", "unreadable"), 2),
    ("chaos --json {}/chaos.json", "", ("missing", "empty", "unreadable", "binary"), 2),
]
SETTINGS: list[tuple[str, str, tuple[str, ...], int]] = [
    ("LIVESHELF_STATE_DIR", "status", NO_FOLDER, 2),
    ("LIVESHELF_STATE_DIR", "audit show", NO_FOLDER, 2),
    ("LIVESHELF_STATE_DIR", "up", NO_FOLDER, 2),
    ("LIVESHELF_MODEL_DIR", "models list", NO_FOLDER, 2),
    ("LIVESHELF_TRACKING_DIR", "train --sessions clicks.txt --out bundle", NO_FOLDER, 2),
    ("LIVESHELF_FEATURE_REPO", "lint", NO_FOLDER, 2),
    ("LIVESHELF_FEATURE_REPO", "lint", ("missing", "folder"), 3),
    ("LIVESHELF_MODEL_PUBLIC_KEY", "models list", FILE, 2),
    ("LIVESHELF_PSEUDONYM_KEYS", "replay clicks.csv", FILE, 2),
    ("LIVESHELF_PSEUDONYM_KEYS", "keys retire", ("folder", "empty", "binary"), 2),
    ("LIVESHELF_PSEUDONYM_KEYS", "collect", FILE, 2),
]


def cases(table: list[tuple[str, str, tuple[str, ...], int]]) -> list:
    return [
        pytest.param(first, second, kind, code, id=f"{first} {second} {kind}".replace(BUNDLE, "BUNDLE"))
        for first, second, kinds, code in table
        for kind in kinds
    ]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("LIVESHELF_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", "versions")
    (tmp_path / "clicks.csv").write_text("visitor_id,event_type,item_id,event_time_ms\nanna,view,a,1714550400000\n")
    (tmp_path / "clicks.txt").write_text("a b c\n")
    (tmp_path / "questions.tsv").write_text("a b\tc\n")
    return tmp_path


def path_of(kind: str, suffix: str, folder: Path) -> Path:
    """Return the path of something that can't be used; nobody, not even root, can read a link to itself."""
    path = folder / f"{kind}{suffix}"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "unreadable":
        path.symlink_to(path.name)
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00\x93\n" * 9)
    return path


def assert_clear(result: Result, code: int) -> None:
    assert result.exit_code == code, result.output + repr(result.exception)
    assert isinstance(result.exception, SystemExit)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "  fix: " in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 3
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("arguments", "suffix", "kind", "code"), cases(COMMANDS))
def test_a_path_that_cannot_be_used_is_one_clear_error(
    arguments: str, suffix: str, kind: str, code: int, folder: Path
) -> None:
    path = path_of(kind, suffix, folder)
    before = sorted(folder.iterdir())
    assert_clear(CliRunner().invoke(app, arguments.replace("{}", str(path)).split()), code)
    left = {entry.name for entry in folder.iterdir()} - {entry.name for entry in before}
    assert left <= {".liveshelf", "state"}, "something was written"


@pytest.mark.parametrize(("variable", "command", "kind", "code"), cases(SETTINGS))
def test_setting_that_names_a_wrong_path_is_one_clear_error(
    variable: str, command: str, kind: str, code: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(path_of(kind, "", folder)))
    assert_clear(CliRunner().invoke(app, command.split()), code)


def test_a_settings_file_of_other_bytes_is_one_clear_error(folder: Path) -> None:
    (folder / "liveshelf.toml").write_bytes(b"\xff\xfe")
    assert_clear(CliRunner().invoke(app, ["status"]), 2)


@pytest.mark.parametrize("text", ["", "project: [\n", "project: shop\n", "- a\n", "\x00"])
def test_a_store_file_that_is_none_is_one_clear_error(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "repo").mkdir()
    (folder / "repo" / "feature_store.yaml").write_text(text)
    monkeypatch.setenv("LIVESHELF_FEATURE_REPO", "repo")
    assert_clear(CliRunner().invoke(app, ["lint"]), 3)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("kind", ["empty", "binary", "cut"])
def test_an_own_file_without_events_is_refused(name: str, kind: str, folder: Path) -> None:
    content = gzip.compress(b'{"visitor_id": "anna"}\n' * 99)[:60]
    (folder / name).write_bytes({"empty": b"", "binary": b"\xff\xfe\x00\n", "cut": content}[kind])
    with pytest.raises(DataError):
        list(read(name))


@pytest.mark.parametrize(
    "content",
    [b"nonsense", gzip.compress(b""), gzip.compress(b"a,b\n1,2\n"), gzip.compress(b"\xff\xfe,\n1,2\n"),
     gzip.compress(b"Type,Time,UserId,ItemId,CatId\nview,soon,1,2,3\n"), gzip.compress(b"a,b\n1,2\n" * 9)[:30]],
    ids=["no gzip", "empty", "other columns", "other bytes", "no time", "cut"],
)  # fmt: skip
def test_a_damaged_file_of_a_set_is_refused(content: bytes, folder: Path) -> None:
    (folder / "retailrocket").mkdir()
    (folder / "retailrocket" / "events.csv.gz").write_bytes(content)
    with pytest.raises(DataError):
        list(read("retailrocket", data_dir=folder))


def test_file_that_can_be_written_is_left_as_it_was(folder: Path) -> None:
    (folder / "old.json").write_text("{}")
    output_file(folder / "old.json", "--json")
    output_file(folder / "new.json", "--json")
    output_file(None, "--json")
    assert (folder / "old.json").read_text() == "{}"
    assert not (folder / "new.json").exists()


def test_folder_in_folders_that_are_not_there_can_be_written(folder: Path) -> None:
    output_folder(Path("a/b/c"), "--out")
    with pytest.raises(SettingsError, match=r"clicks\.csv is no folder"):
        output_folder(Path("clicks.csv/b"), "--out")
