"""Check the files and folders that a command is told to write, before it works for minutes."""

import os
from pathlib import Path

from jobs.errors import SettingsError


def output_file(path: Path | None, option: str) -> None:
    """Raise SettingsError unless a file can be written at `path`; `option` names it as a person wrote it."""
    if path is None:
        return
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise SettingsError(
            f"{option} {path} can't be written: {error.strerror}", "name a file in a folder that is there"
        ) from error
    if not existed:
        path.unlink()


def output_folder(path: Path, option: str) -> None:
    """Raise SettingsError unless `path` is a folder, or one can be made there."""
    nearest = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
    if not nearest.is_dir():
        raise SettingsError(f"{option} {path} can't be written: {nearest} is no folder", "name a folder")
    if not os.access(nearest, os.W_OK):
        raise SettingsError(f"{option} {path} can't be written: {nearest} is another user's", "name another folder")
