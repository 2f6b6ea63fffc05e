"""From which events on each feature counts: a note beside the plan of the features job.

A feature that is added to a running job has no state in the savepoint, so it counts the events that the job reads after
it. `submit` writes down where that is. `verify` reads it, and counts from there on too.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

Offsets = dict[int, int]  # the first offset that counts, by partition; 0 for a partition that isn't named


class Beginning(msgspec.Struct, frozen=True):
    """The place where a part of the plan began to count; its features are computed and written together.

    `offsets` is {} if it has counted from the topic's beginning on, None if nobody knows.
    """

    part: int
    offsets: Offsets | None


Began = dict[str, Beginning]  # by "view:feature"; features that aren't in it are of the first part


# How Flink's Kafka connector writes a partition's place: topic, partition, next offset, and no end.
NO_END = struct.pack(">q", -(2**63))
LARGEST_FILE = 64 << 20  # of a savepoint; places are in `_metadata`, or in small files where the cluster says so


def path(state_dir: Path) -> Path:
    return state_dir.resolve() / "jobs" / "features.began.json"


def read(state_dir: Path) -> Began:
    """Return the beginnings of all features that were added to a running job."""
    file = path(state_dir)
    return msgspec.json.decode(file.read_bytes(), type=Began) if file.is_file() else {}


def save(state_dir: Path, began: Began) -> None:
    file = path(state_dir)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(began), indent=1))
    partial.replace(file)


def rewind(state_dir: Path) -> None:
    """Note that the job reads the topic from its beginning again: every part counts from there on."""
    save(state_dir, {feature: Beginning(beginning.part, {}) for feature, beginning in read(state_dir).items()})


def after(before: Began, running: Iterable[str], added: Mapping[str, int], offsets: Offsets | None) -> Began:
    """Return the note for a job that goes on from a savepoint that was taken at `offsets`.

    `running` are the features of the plan before. `added` are those of the new plan that were added to a running job,
    at this time or earlier, with their part. A job may also go back to a savepoint from before an addition. Then the
    feature counts from that one.
    """
    known = set(running)
    return {
        feature: Beginning(part, _earlier(before.get(feature), offsets) if feature in known else offsets)
        for feature, part in sorted(added.items())
    }


def _earlier(before: Beginning | None, other: Offsets | None) -> Offsets | None:
    one = before.offsets if before else None
    if one is None or other is None:
        return None
    return {partition: min(one[partition], other[partition]) for partition in sorted(one.keys() & other.keys())}


def offsets_in(savepoint: str, topic: str) -> Offsets | None:
    """Return the offset of the first record of each partition that a job hadn't read at a savepoint.

    `savepoint` is a folder or its `file:` address. A partition that the job didn't know isn't in the answer. Return
    None if the savepoint can't be read from here, or doesn't hold the offsets in the form that is known.
    """
    address = urlsplit(savepoint)
    folder = Path(unquote(address.path))
    if address.scheme not in ("", "file") or not (folder / "_metadata").is_file():
        return None
    places: dict[int, list[int]] = {}
    for content in _contents(folder):
        for partition, offset in _places(content, topic):
            places.setdefault(partition, []).append(offset)
        if places and all(map(_is_whole, places.values())):
            return {partition: max(0, *offsets) for partition, offsets in sorted(places.items())}
    return None


def _is_whole(offsets: list[int]) -> bool:
    """Return True if the reader's own place is among them.

    The source's coordinator lists a partition too, as "from the beginning" (-2). The reader says -2 until it has read.
    """
    return len(offsets) > 1 or offsets[0] >= 0


def _contents(folder: Path) -> Iterator[bytes]:
    yield (folder / "_metadata").read_bytes()
    for file in sorted(folder.iterdir()):
        if file.name != "_metadata" and file.is_file() and file.stat().st_size <= LARGEST_FILE:
            yield file.read_bytes()


def _places(content: bytes, topic: str) -> Iterator[tuple[int, int]]:
    name = topic.encode()
    head = struct.pack(">H", len(name)) + name
    for place in re.finditer(re.escape(head) + b"(.{12})" + re.escape(NO_END), content, re.DOTALL):
        yield struct.unpack(">iq", place[1])
