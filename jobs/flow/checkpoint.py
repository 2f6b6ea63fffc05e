"""Read from a checkpoint's `_metadata` which operator keeps which keyed state, and look for keys in it.

The layout is Flink's own (`MetadataV6Serializer` of 2.3 and the classes that it extends). Only handles that the heap
backend writes are known. Anything else raises `UnknownLayoutError`: then nobody may say that a key wasn't found.
"""

import mmap
import os
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

MAGIC, VERSION = 0x4960672D, 6
NOTHING, BYTES, FILE, KEY_GROUPS, PARTITIONED, RELATIVE, OF_SAVEPOINT, KEY_GROUPS_V2 = 0, 1, 2, 3, 4, 6, 7, 12
FINISHED = -1
JAVA = b"\xac\xed"  # how an object in Java's serialization begins: the checkpoint's properties
INLINE = 7  # a string of so many bytes lies in the field itself
WORD = 8


class UnknownLayoutError(Exception):
    """Say that a checkpoint isn't in the form that this file reads."""


@dataclass(frozen=True)
class KeyedState:
    """A part of the keyed state of the operator `uid`: a file, or the bytes where they are few."""

    uid: str
    content: Path | bytes


def key_of(text: str, hashed: int | None = None) -> bytes:
    """Return the key of an id as Flink writes it: the row's length, then the row (`BinaryRowData`).

    `hashed` is the number that stands before the text where ids are hashed under a secret (`id_secret.key_of`).

    The row begins with 8 bytes of null flags, then the number. Up to 7 bytes of text stand in the next 8, with their
    length in the last one. More stand behind, filled up with zeros, and the 8 bytes say where. So no key is a part of
    another one.
    """
    value = text.encode()
    head = bytes(WORD) + (b"" if hashed is None else struct.pack("<q", hashed))
    if len(value) <= INLINE:
        row = head + value.ljust(INLINE, b"\0") + bytes([0x80 | len(value)])
    else:
        place = len(head) + WORD
        row = head + struct.pack("<q", place << 32 | len(value)) + value + bytes(-len(value) % WORD)
    return struct.pack(">i", len(row)) + row


def value_of(text: str) -> bytes:
    """Return a text among the values of a state, as `Values.java` writes it: `s`, the length, the text."""
    value, length = text.encode(), bytearray()
    left = len(value) << 1
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    return b"s" + bytes([*length, left]) + value


def holding(states: Iterable[KeyedState], sought: Mapping[str, bytes]) -> set[str]:
    """Return the names whose bytes stand in one of the states; raise FileNotFoundError for a file that has vanished."""
    found: set[str] = set()
    for state in states:
        if isinstance(state.content, bytes):
            found |= {name for name, form in sought.items() if form in state.content}
        else:
            found |= _holding_file(state.content, sought)
    return found


def _holding_file(path: Path, sought: Mapping[str, bytes]) -> set[str]:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return set()  # it can't be mapped
        with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as content:
            return {name for name, form in sought.items() if content.find(form) >= 0}


def read(folder: Path) -> tuple[set[str], list[KeyedState]]:
    """Return the uids of a checkpoint's operators, and their keyed states.

    Raises `UnknownLayoutError` if the checkpoint has another form, and FileNotFoundError if it has vanished.
    """
    metadata = _Metadata(folder, (KEY_GROUPS, KEY_GROUPS_V2))
    states = metadata.states()
    return metadata.uids, states


def operators(folder: Path) -> set[str]:
    """Return the uids of the operators of a checkpoint, or of a savepoint, whose states have a form of their own.

    Raises as `read` does.
    """
    metadata = _Metadata(folder, (KEY_GROUPS, KEY_GROUPS_V2, OF_SAVEPOINT))
    metadata.states()
    return metadata.uids


class _Metadata:
    """A cursor in the bytes of `_metadata`."""

    def __init__(self, folder: Path, kinds: Collection[int]) -> None:
        self._folder, self._content, self._at = folder, (folder / "_metadata").read_bytes(), 0
        self._kinds = kinds  # of keyed state that are understood
        self.uids: set[str] = set()

    def states(self) -> list[KeyedState]:
        try:
            return list(self._states())
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise UnknownLayoutError(f"{self._folder}: {error}") from error

    def _states(self) -> Iterator[KeyedState]:
        magic, version, _, masters = self._take(">iiqi")
        if (magic, version, masters) != (MAGIC, VERSION, 0):
            raise UnknownLayoutError(f"{self._folder}: version {version} with {masters} master states")
        (operators,) = self._take(">i")
        for _ in range(operators):
            yield from self._operator()
        if self._content[self._at : self._at + 2] != JAVA:
            raise UnknownLayoutError(f"{self._folder}: its operators don't end where its properties begin")

    def _operator(self) -> Iterator[KeyedState]:
        self._text()
        uid = self._text()
        self.uids.add(uid)
        self._take(">16sii")  # id, parallelism, highest parallelism
        self._handle()  # the coordinator's
        (subtasks,) = self._take(">i")
        for _ in range(max(subtasks, 0)):
            (index,) = self._take(">i")
            if index < 0:
                continue  # a task that has finished keeps nothing
            for _ in ("managed", "raw"):
                self._partitioned()
            for _ in ("managed", "raw"):
                content = self._key_groups()
                if content is not None:
                    yield KeyedState(uid, content)
            for _ in ("input channels", "result partitions"):
                (count,) = self._take(">i")
                if count:
                    raise UnknownLayoutError(f"{self._folder}: records on their way")

    def _partitioned(self) -> None:
        (count,) = self._take(">i")
        if not count:
            return
        self._expect(PARTITIONED)
        (names,) = self._take(">i")
        for _ in range(names):
            self._text()
            _, offsets = self._take(">bi")
            self._at += 8 * offsets
        self._handle()

    def _key_groups(self) -> Path | bytes | None:
        (kind,) = self._take(">b")
        if kind == NOTHING:
            return None
        if kind not in self._kinds:
            raise UnknownLayoutError(f"{self._folder}: keyed state of kind {kind}")
        _, groups = self._take(">ii")
        self._at += 8 * groups
        content = self._handle()
        if kind == KEY_GROUPS_V2:
            self._text()
        return content

    def _handle(self) -> Path | bytes | None:
        (kind,) = self._take(">b")
        if kind == NOTHING:
            return None
        if kind == BYTES:
            self._text()
            (length,) = self._take(">i")
            self._at += length
            return self._content[self._at - length : self._at]
        if kind == FILE:
            self._take(">q")
            return Path(unquote(urlsplit(self._text()).path))
        if kind == RELATIVE:
            path = self._folder / self._text()
            self._take(">q")
            return path
        raise UnknownLayoutError(f"{self._folder}: a handle of kind {kind}")

    def _expect(self, wanted: int) -> None:
        (kind,) = self._take(">b")
        if kind != wanted:
            raise UnknownLayoutError(f"{self._folder}: kind {kind} where {wanted} was expected")

    def _text(self) -> str:
        (length,) = self._take(">H")
        self._at += length
        return self._content[self._at - length : self._at].decode()

    def _take(self, layout: str) -> tuple:
        values = struct.unpack_from(layout, self._content, self._at)
        self._at += struct.calcsize(layout)
        return values
