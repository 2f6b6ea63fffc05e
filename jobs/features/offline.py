"""Say where each view's history goes, and what Feast couldn't read back: what `batch_source` names decides."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

EVENT_TIMESTAMP = "event_timestamp"  # where the source names no column, Feast takes the file's only time
FIX = "give the view a FileSource with a path of its own, such as FileSource(path='data/{}.parquet', …)"


# What a record said is gone once Kafka has compacted its topic, hours after the next record about the item.
WITHOUT_FACTS = (
    "no history of {}: facts aren't made of events, and their topics keep an item's newest record only. "
    "For training sets, write what was known when (item_id, event_timestamp, fields) to their batch_source yourself"
)


def without_facts(views: list[str]) -> str:
    """Return what a person must know who asks for history where there are views of facts."""
    return WITHOUT_FACTS.format(", ".join(sorted(views)))


class HistoryFile(NamedTuple):
    """A view's Parquet file and the names of its times; `created` is "" where the source names none."""

    path: Path
    timestamp: str
    created: str


class Fault(NamedTuple):
    """What `liveshelf history` can't serve: the view, the field of its definition, what is wrong, and the way out."""

    view: str
    field: str
    what: str
    fix: str


def local_path(repository: Path, view: Any) -> Path | None:
    """Return the file of a view's `batch_source`; None for a table or an object store, which isn't on this machine."""
    path = getattr(view.batch_source, "path", None)
    if type(view.batch_source).__name__ != "FileSource" or not path or "://" in path:
        return None
    return repository / str(path)


def told(view: Any) -> str:
    """Return the place of a view's `batch_source` for a person: its path, or else what kind of source it is."""
    return str(getattr(view.batch_source, "path", "") or type(view.batch_source).__name__)


def history_file(repository: Path, view: Any) -> HistoryFile:
    """Return where a view's history goes. The view has no fault."""
    path, source = local_path(repository, view), view.batch_source
    assert path is not None, f"{view.name} has a fault"
    return HistoryFile(path, source.timestamp_field or EVENT_TIMESTAMP, source.created_timestamp_column)


def faults(repository: Path, views: list[Any]) -> list[Fault]:
    """Return what keeps history from serving the views, before it computes for an hour."""
    found = [Fault(view.name, *fault) for view in views for fault in _faults(repository, view)]
    owners: dict[Path, str] = {}
    for view in sorted(views, key=lambda each: str(each.name)):
        path = local_path(repository, view)
        other = owners.setdefault(path.resolve(), view.name) if path else view.name
        if other != view.name:
            what = f"has the path {view.batch_source.path!r} of {other} too: one history would replace the other"
            found.append(Fault(view.name, "batch_source", what, FIX.format(view.name)))
    return found


def _faults(repository: Path, view: Any) -> Iterator[tuple[str, str, str]]:
    source, path, fix = view.batch_source, local_path(repository, view), FIX.format(view.name)
    if path is None:
        yield "batch_source", f"is {told(view)!r}: history writes files on this machine", fix
        return
    if path.is_dir():
        yield "batch_source", f"is the folder {path}: history writes one file", fix
    if type(source.file_format).__name__ not in ("NoneType", "ParquetFormat"):
        yield "batch_source", f"has a {type(source.file_format).__name__}: history writes Parquet", fix
    if source.field_mapping:
        what = f"renames {', '.join(source.field_mapping)}: history writes the names of the schema"
        yield "batch_source", what, "remove its field_mapping"
    names = [source.timestamp_field or EVENT_TIMESTAMP, source.created_timestamp_column, *_columns(view)]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        yield "batch_source", f"names two columns {name!r}", "give timestamp_field and created_timestamp_column names"


def _columns(view: Any) -> list[str]:
    features = [str(each.name or each.resolved_name(each.time_window)) for each in view.aggregations]
    return [*view.join_keys, *features]
