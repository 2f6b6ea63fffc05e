"""Write what is known about one person as a folder of JSON Lines that the person can be given."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from jobs.cluster import processes
from jobs.cluster.runtime import Runtime
from jobs.person.ids import Visitor
from jobs.person.known import HIDDEN, PARTS, rows
from jobs.settings import Settings

README = """What liveshelf knows about one visitor, as of {made_at}. One JSON object a line.

consent.jsonl    what the visitor said: `state` (granted, withdrawn, erased) and when (`at_ms`, milliseconds since 1970)
events.jsonl     what the visitor did, as the shop sent it: see `liveshelf schema --table` for each field
features.jsonl   what is computed from it now: view, feature, value, and the time of the newest event in it
lists.jsonl      each list that was ranked for the visitor: items, scores, when, by which `model`, and from which items
list.jsonl       the lists that stand now, one for each shelf (`name`), as the shop reads them
offline.jsonl    rows of training sets, by file
dead.jsonl       events that were refused or came too late, with the reason, as far as they can be read

`visitor_id` is the id under which something is stored. Where ids are pseudonyms, a visitor may have two of them.

Records that a withdrawal or an erasure has put out of use aren't here. They are still stored until their topic's
retention takes them, and nothing reads them for the visitor any more: {hidden} events are so now.
"""

OWNERS_FILE = 0o600


@dataclass(frozen=True)
class Exported:
    """How many lines each file of an export has, and how many events of the person are out of use."""

    counts: dict[str, int]
    hidden_events: int

    @property
    def is_nothing(self) -> bool:
        return not any(self.counts.values()) and not self.hidden_events


def export(settings: Settings, runtime: Runtime, visitor: Visitor, folder: Path) -> Exported:
    """Write all that is known of a visitor into a new folder; raises what `write` and `known.rows` raise."""
    return write(folder, rows(settings, runtime, visitor))


def write(folder: Path, found: Iterable[tuple[str, Any]]) -> Exported:
    """Write the folder, which only its owner can read. Where nothing is found, there is none.

    Each row is written when it is read. The folder has its name when it is whole.
    Raises FileExistsError if the folder exists.
    """
    if folder.exists():
        raise FileExistsError(folder)
    processes.private_folder(folder.absolute().parent)
    partial = Path(tempfile.mkdtemp(prefix=".export-", dir=folder.parent))  # only its owner can enter it
    try:
        exported = _write_files(partial, found)
        if not exported.is_nothing:
            partial.rename(folder)
    finally:  # after an interruption too: half an answer is none, and nobody looks for it there
        shutil.rmtree(partial, ignore_errors=True)
    return exported


def _write_files(folder: Path, found: Iterable[tuple[str, Any]]) -> Exported:
    processes.hide_from_git(folder)
    counts: dict[str, int] = dict.fromkeys(PARTS, 0)
    hidden, encode = 0, msgspec.json.Encoder(enc_hook=str).encode
    with ExitStack() as stack:
        files = {name: stack.enter_context(_owners_file(folder / f"{name}.jsonl")) for name in PARTS}
        for name, row in found:
            if name == HIDDEN:
                hidden += 1
                continue
            files[name].write(encode(row) + b"\n")
            counts[name] += 1
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        readme = stack.enter_context(_owners_file(folder / "README.md"))
        readme.write(README.format(made_at=made_at, hidden=hidden).encode())
    return Exported(counts, hidden)


def _owners_file(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNERS_FILE), "wb")
