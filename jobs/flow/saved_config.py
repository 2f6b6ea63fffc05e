"""Configurations of submitted jobs, read from the files that this release or an older one saved."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from jobs.contract.ranker_settings import RankerSettings
from jobs.contract.shelf import with_shelf

Kind = TypeVar("Kind")


def read(path: Path, kind: type[Kind]) -> Kind:
    """Return the saved configuration as `kind`, which names the fields that its reader needs.

    A job is started again from the file that its submission saved, so a file of release 0.1.0 is read as well.
    Raises `msgspec.DecodeError` for a file that holds something else.
    """
    return msgspec.convert(current_form(msgspec.json.decode(path.read_bytes(), type=dict[str, Any])), kind)


def current_form(fields: dict[str, Any]) -> dict[str, Any]:
    """Return saved fields in the form of today: release 0.1.0 had no `ranker`, its settings stood beside the others."""
    if "ranker" in fields:
        return fields
    named = with_shelf(fields)
    return named | {"ranker": {name: named[name] for name in RankerSettings.__struct_fields__ if name in named}}
