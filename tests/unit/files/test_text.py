"""A person's text file: how it may be packed, marked and broken into lines, and what is refused."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.errors import DataError
from jobs.files import text
from jobs.files.mapping import load
from models.clicks.sessions import read_lists, read_prefixes, read_sessions

MARK = b"\xef\xbb\xbf"


def given(tmp_path: Path, content: bytes, name: str = "file.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def items(path: Path) -> list[list[str]]:
    return [[event.item for event in session] for session in read_sessions(path)]


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", content)
    return packed.getvalue()


def tarred(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.TXT.GZ", "a.Gz", "a"])
def test_gzip_is_known_by_its_bytes_whatever_the_name(name: str, tmp_path: Path) -> None:
    assert items(given(tmp_path, gzip.compress(b"7 8\n9\n"), name)) == [["7", "8"], ["9"]]


def test_members_and_zeros_behind_them_are_one_file(tmp_path: Path) -> None:
    content = gzip.compress(b"7 8 9\n") + gzip.compress(b"9 7\n") + b"\0" * 512
    assert items(given(tmp_path, content, "a.txt.gz")) == [["7", "8", "9"], ["9", "7"]]


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_line_ends_of_every_system_are_line_ends(ends: bytes, tmp_path: Path) -> None:
    assert items(given(tmp_path, ends.join([b"7 8", b"", b"9 7", b""]))) == [["7", "8"], ["9", "7"]]


def test_line_ends_within_unicode_are_no_line_ends(tmp_path: Path) -> None:
    path = given(tmp_path, "a\u2028b\x0bc\n".encode())
    assert [number for number, _ in text.lines(path)] == [1]


def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path) -> None:
    assert items(given(tmp_path, MARK + b"7 8 9\n9 7\n")) == [["7", "8", "9"], ["9", "7"]]
    assert items(given(tmp_path, MARK + b"SessionId\tItemId\tTime\r\n1\t7\t10\r\n1\t8\t20\r\n", "a.tsv")) == [
        ["7", "8"]
    ]
    (question, _) = read_prefixes(given(tmp_path, MARK + b"7 8\t9\n9\t7\n", "q.tsv"))
    assert ([event.item for event in question.prefix], question.target) == (["7", "8"], "9")
    assert read_lists(given(tmp_path, MARK + b"9 8\n7\n", "l.tsv")) == [["9", "8"], ["7"]]


def test_a_mapping_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    toml = b'[fields]\r\nvisitor_id = "v"\r\nevent_type = "t"\r\n[time]\r\ncolumn = "when"\r\nunit = "iso"\r\n'
    assert load(given(tmp_path, MARK + toml, "m.toml")).fields["visitor_id"].name == "v"


def test_marks_of_joined_files_are_dropped_at_line_begins(tmp_path: Path) -> None:
    assert items(given(tmp_path, MARK + b"7 8\n" + MARK + b"9 7\n")) == [["7", "8"], ["9", "7"]]


def test_a_mark_inside_a_line_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: .* byte order mark \(U\+FEFF\) at character 2"):
        items(given(tmp_path, b"7 8\n9 " + MARK + b"7\n"))


@pytest.mark.parametrize("change", range(9))
def test_gzip_damaged_in_the_middle_names_a_line(change: int, tmp_path: Path) -> None:
    """Python raises zlib.error for most of these bytes, which is neither OSError nor EOFError."""
    lines = "".join(f"{number * 7919 % 100_003} {number * 104_729 % 99_991}\n" for number in range(3000))
    content = bytearray(gzip.compress(lines.encode()))
    content[len(content) // 2 + change] ^= 0x55
    with pytest.raises(DataError, match=r"a\.txt\.gz can't be read after line [\d,]+ \(.*\)\n  fix: "):
        list(text.lines(given(tmp_path, bytes(content), "a.txt.gz")))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(b"7 8\n" * 99)[:-9], r"after line 0 \(Compressed file ended|after line 99 \(Compressed file"),
        (gzip.compress(b"7 8\n")[:-8] + b"\1\2\3\4" + gzip.compress(b"7 8\n")[-4:], r"after line 1 \(CRC check failed"),
        (gzip.compress(b"7 8\n") + b"more", r"after line 1 \(Not a gzipped file"),
        (b"7 8\n", r"after line 0 \(Not a gzipped file .*: name it without \.gz"),
        (gzip.compress(gzip.compress(b"7 8\n")), r"is gzipped twice, not text"),
    ],
    ids=["cut", "checksum", "something behind it", "not packed", "twice"],
)
def test_what_is_no_whole_gzip_says_so(content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        list(text.lines(given(tmp_path, content, "a.txt.gz")))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("7 8\n".encode("utf-16"), r"is UTF-16, not text\n  fix: save it as UTF-8"),
        ("7 8\n".encode("utf-16-be"), r"line 1 holds a null byte\n  fix: .*UTF-8"),
        ("blusé 7\n".encode("latin-1"), r"line 1: .* at byte 4: b'blus\\xe9 7\\n' isn't UTF-8\n  fix: .*WINDOWS-1252"),
        (b"7 8\n9 \0\n", r"line 2 holds a null byte"),
        (zipped(b"7 8\n"), r"is a zip archive or a spreadsheet \(\.xlsx\), not text\n  fix: unpack it"),
        (bz2.compress(b"7 8\n"), r"is packed with bzip2, .*\n  fix: unpack it with bunzip2"),
        (lzma.compress(b"7 8\n"), r"is packed with xz, .*\n  fix: unpack it with unxz"),
        (b"\x28\xb5\x2f\xfd\x20\x04", r"is packed with zstd"),
        (tarred(b"7 8\n"), r"is a tar archive, not text\n  fix: unpack it with tar"),
        (gzip.compress(tarred(b"7 8\n")), r"is a tar archive"),
        (b"PAR1\x15\x04", r"is a Parquet table, not text\n  fix: name it \.parquet"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", r"is a page or XML, .*\n  fix: get it again"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_text_says_what_it_is(content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        list(text.lines(given(tmp_path, content)))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    reads: list[Callable[[Path], object]] = [read_sessions, read_prefixes, read_lists, load]
    for read in reads:
        with pytest.raises(DataError, match=r"gone\.tsv can't be read after line 0 \(No such file"):
            read(tmp_path / "gone.tsv")
        with pytest.raises(DataError, match=r"can't be read after line 0 \(Is a directory\)"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "stem"),
    [
        ("clicks.2024-06-01.csv", ".csv", "clicks.2024-06-01"),
        ("clicks.CSV.Gz", ".csv", "clicks"),
        ("part-0.jsonl", ".jsonl", "part-0"),
        ("clicks", "", "clicks"),
    ],
)
def test_a_name_tells_kind_and_stem(name: str, kind: str, stem: str) -> None:
    assert (text.kind(Path(name)), text.stem(Path(name))) == (kind, stem)
