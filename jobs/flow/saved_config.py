"""Configurations of submitted jobs, read from the files that this release or an older one saved."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from jobs.contract.shelf import with_shelf

Kind = TypeVar("Kind")


def read(path: Path, kind: type[Kind]) -> Kind:
    """Return the saved configuration as `kind`, which names the fields that its reader needs.

    A job is started again from the file that its submission saved, so a file of release 0.1.0 is read as well.
    Raises `msgspec.DecodeError` for a file that holds something else.
    """
    return msgspec.convert(with_shelf(msgspec.json.decode(path.read_bytes(), type=dict[str, Any])), kind)
