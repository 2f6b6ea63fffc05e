"""Keep the lake's files: in a folder, or below an address such as s3://BUCKET/FOLDER?endpoint_override=HOST:PORT.

A file appears whole or not at all. It is written beside the lake first. A folder then gets it by a rename, a bucket by
one upload. Nothing here says what a file holds.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pyarrow as pa
from pyarrow import fs

from jobs.errors import DataError, ServiceError, SettingsError
from jobs.flow import failpoints
from jobs.lake import layout
from jobs.lake.layout import LakeFile
from jobs.settings import Settings

OWN = "_lake"  # DuckDB's and pyarrow's readers of a folder leave out what begins so
COMPRESSION = "zstd"
LOCK_S = 300.0
PAUSE_S = 0.05
KNOWN = "lakes"  # in the state folder: the address of each lake that was written, one a line

NextOffsets = dict[int, int]  # by partition


class Store:
    """The files of one lake."""

    def __init__(self, address: str, state_dir: Path) -> None:
        """Raise SettingsError for an address that can't be read, ServiceError if there is no such bucket."""
        self.address = address
        self._files, self._root = _opened(address)
        self._is_local = "://" not in address
        mark = hashlib.sha256(address.encode()).hexdigest()[:16]
        # A partial file lies where a rename can reach it. A bucket's lies on this machine until it is whole.
        self._own = Path(self._root) / OWN if self._is_local else state_dir.resolve() / "lake" / mark
        self._partial = self._own / "partial"

    def __str__(self) -> str:
        return self.address

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lake alone: one process writes or erases at a time. Raise ServiceError after five minutes."""
        self._partial.mkdir(parents=True, exist_ok=True)
        with (self._own / "lock").open("w") as lock:
            deadline_s = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline_s:
                        what = f"another process has held the lake {self} for {LOCK_S:.0f} s"
                        raise ServiceError(what, "wait until its liveshelf lake is done, or stop it") from error
                    time.sleep(PAUSE_S)
            for partial in self._partial.iterdir():  # whoever wrote it died
                partial.unlink()
            yield

    def list(self, topic: str = "") -> dict[LakeFile, int]:
        """Return all files, or one topic's, and when each was written (ns since 1970)."""
        folder = f"{self._root}/topic={topic}" if topic else self._root
        with self._reached():
            infos = self._files.get_file_info(fs.FileSelector(folder, allow_not_found=True, recursive=True))
        found = {layout.parse(info.path[len(self._root) + 1 :]): info.mtime_ns for info in infos if info.is_file}
        return {file: mtime_ns for file, mtime_ns in found.items() if file is not None}

    @contextmanager
    def opened(self, file: LakeFile) -> Iterator[pa.NativeFile]:
        with self._reached(), self._files.open_input_file(f"{self._root}/{file.path}") as opened:
            yield opened

    @contextmanager
    def put(self, path: str) -> Iterator[Path]:
        """Yield where to write a file. It takes its place, or another file's, when the block ends without an error."""
        partial = self._partial / path.replace("/", "_")
        yield partial
        failpoints.reached("lake.before_put")
        if self._is_local:
            self._rename(partial, Path(self._root) / path)
        else:
            with self._reached(), pa.memory_map(str(partial)) as content:
                upload = self._files.open_output_stream(f"{self._root}/{path}")
                upload.write(content.read_buffer())  # one call: it isn't interrupted halfway and then closed as whole
                upload.close()
            partial.unlink()
        failpoints.reached("lake.after_put")

    def delete(self, file: LakeFile) -> None:
        with self._reached():
            self._files.delete_file(f"{self._root}/{file.path}")

    def next_offsets(self, topic: str) -> NextOffsets:
        """Return the first offset of each partition that isn't in the lake yet."""
        path = f"{self._root}/{_position_path(topic)}"
        with self._reached():
            if not self._files.get_file_info(path).is_file:
                return {}
            with self._files.open_input_file(path) as opened:
                content = opened.read()
        try:
            return msgspec.json.decode(content, type=NextOffsets, strict=False)
        except msgspec.DecodeError as error:
            what = f"{_position_path(topic)} in {self} can't be read: {error}"
            raise DataError(what, "put back the file as it was, or begin another lake: --to FOLDER") from error

    def commit(self, topic: str, next_offsets: NextOffsets) -> None:
        """Say up to where a topic is in the lake."""
        with self.put(_position_path(topic)) as partial:
            partial.write_bytes(msgspec.json.encode(next_offsets))
        failpoints.reached("lake.after_commit")

    def _rename(self, partial: Path, target: Path) -> None:
        """Give a file its name for good: both the content and the name outlive a power cut."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("rb") as content:
            os.fsync(content.fileno())
        os.replace(partial, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ServiceError(
                f"the lake {self} can't be read or written: {error}",
                "look at the folder's rights and space; of a bucket, at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ) from error


def _position_path(topic: str) -> str:
    return f"{OWN}/next/{topic}.json"


def _opened(address: str) -> tuple[fs.FileSystem, str]:
    if "://" not in address:
        return fs.LocalFileSystem(), os.path.abspath(address)
    parts = urlsplit(address)
    if parts.scheme != "s3":
        raise SettingsError(f"the lake {address!r} is neither a folder nor s3://…", "name one: --to or LIVESHELF_LAKE")
    if parts.username or parts.password or {"access_key", "secret_key"} & set(parse_qs(parts.query)):
        raise SettingsError(
            "the lake's address holds a key, and addresses end in logs", "set AWS_ACCESS_KEY_ID and the like instead"
        )
    try:
        files, root = fs.FileSystem.from_uri(address)
    except (pa.ArrowInvalid, OSError) as error:
        raise SettingsError(f"the lake {address!r} can't be opened: {error}", "s3://BUCKET/FOLDER?region=…") from error
    return files, root.rstrip("/")


def absolute(address: str) -> str:
    """Return an address that means the same in every folder."""
    return address if "://" in address else os.path.abspath(address)


def remember(settings: Settings, address: str) -> None:
    """Note in the state folder that a lake is written, so that erasures reach it whatever the settings say then."""
    if address not in _remembered(settings):
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        with (settings.state_dir / KNOWN).open("a") as file:
            file.write(f"{address}\n")


def known(settings: Settings) -> list[Store]:
    """Return the lakes that were written, the one in the settings first. A folder that is gone holds nothing."""
    addresses = dict.fromkeys([*([absolute(settings.lake)] if settings.lake else []), *_remembered(settings)])
    return [Store(each, settings.state_dir) for each in addresses if "://" in each or Path(each).is_dir()]


def _remembered(settings: Settings) -> list[str]:
    file = settings.state_dir / KNOWN
    return file.read_text().splitlines() if file.is_file() else []
