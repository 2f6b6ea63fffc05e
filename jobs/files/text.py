"""Open a person's text file: the one place that knows gzip, byte order marks, line ends and damaged bytes.

| what a file may be                                   | what becomes of it                                    |
|------------------------------------------------------|-------------------------------------------------------|
| gzipped, whatever its name says                      | unpacked, all members; damage is named with its line  |
| begins with a byte order mark, in any of its lines   | the mark is dropped; a mark inside a line is refused  |
| lines that end in LF, CRLF or CR                     | the same lines                                        |
| UTF-16, Latin-1, null bytes                          | refused with the line and what to save it as          |
| zip, bzip2, xz, zstd, tar, Parquet, a page in HTML   | refused with what it is                               |
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import closing
from io import BufferedReader
from pathlib import Path

from jobs.errors import DataError

MARK = "\ufeff"
GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
# First bytes of what isn't text, what it is called, and what to do about it.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xfe", "UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16", "save it as UTF-8"),
    (GZIP, "gzipped twice", "unpack it once with gunzip"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet (.xlsx)", "unpack it, or export the table as CSV"),
    (b"BZh", "packed with bzip2", "unpack it with bunzip2, or pack it with gzip"),
    (b"\xfd7zXZ\x00", "packed with xz", "unpack it with unxz, or pack it with gzip"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it with unzstd, or pack it with gzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (.xls)", "export the table as CSV"),
    (PARQUET, "a Parquet table", "name it .parquet"),
    (b"Obj\x01", "an Avro file", "write its rows as JSON, one a line"),
    (b"ORC", "an ORC file", "write it as Parquet"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (b"%PDF", "a PDF", "give the table that it was made from"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml")
_TAR, _TAR_AT = b"ustar", 257


def kind(path: Path) -> str:
    """Return a file's kind by its name, such as ".csv": in small letters, and without the ".gz" that may follow."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def stem(path: Path) -> str:
    """Return a file's name without ".gz" and without its kind: "clicks.2024-06-01" of "clicks.2024-06-01.csv.gz"."""
    name = path.name[: len(path.name) - 3 * path.name.lower().endswith(".gz")]
    return name[: len(name) - len(kind(path))] or name


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its number from 1 and with its line end. Byte order marks at its begin are left out.

    Raises DataError for a file that can't be opened, is damaged or isn't text, with the line where that shows.
    """
    number = 0
    try:
        with path.open("rb") as packed, closing(_unpacked(path, packed)) as file:
            _refuse_others(path, file)
            for piece in file:
                for line in piece.splitlines(keepends=True):  # a piece ends in LF; lone CRs end lines, too
                    number += 1
                    yield number, _text(path, number, line)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} can't be read after line {number:,} ({reason})", "give a readable file; a damaged one, get again"
        ) from error


def whole(path: Path) -> str:
    """Return a whole small file, such as a mapping, with LF as its line ends; raise DataError as `lines` does."""
    return "".join(line.rstrip("\r\n") + "\n" for _, line in lines(path))


def short(line: str) -> str:
    """Return the begin of a line, quoted, for an error."""
    text = line.rstrip("\r\n")
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _unpacked(path: Path, packed: BufferedReader) -> BufferedReader | gzip.GzipFile:
    """Return the file's content; gzip is known by its first bytes, so a name without .gz does no harm."""
    head = packed.peek(2)[:2]
    if head == GZIP:
        return gzip.GzipFile(fileobj=packed)
    if head and path.name.lower().endswith(".gz"):
        raise gzip.BadGzipFile(f"Not a gzipped file ({head!r}): name it without .gz, or get it again")
    return packed


def _refuse_others(path: Path, file: BufferedReader | gzip.GzipFile) -> None:
    """Raise DataError for a file whose first bytes are those of another format."""
    head = file.peek(512)
    for first, name, fix in _OTHERS:
        if head.startswith(first):
            raise DataError(f"{path} is {name}, not text", fix)
    if head.lstrip()[:9].lower().startswith(_PAGES):
        raise DataError(f"{path} is a page or XML, not lines of text: it begins with {head[:40]!r}", "get it again")
    if head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        raise DataError(f"{path} is a tar archive, not text", "unpack it with tar, and give one file of it")


def _text(path: Path, number: int, line: bytes) -> str:
    try:
        text = line.decode().lstrip(MARK)  # marks stand in the middle, too, where files were joined
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number:,}: {error.reason} at byte {error.start}: {line[:80]!r} isn't UTF-8",
            "save the file as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8, where it comes from an older Windows)",
        ) from error
    if "\0" in text:
        raise DataError(f"{path}, line {number:,} holds a null byte", "give a text file, saved as UTF-8")
    if MARK in text:
        raise DataError(
            f"{path}, line {number:,}: {short(text)} holds a byte order mark (U+FEFF) at character {text.index(MARK)}",
            "take it out: it can't be seen, and would make another id",
        )
    return text
