"""Helpers of all commands: settings, signals, durations as people write them, notes and JSON."""

import csv
import io
import os
import re
import signal
import sys
import threading
import tomllib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.contract.printable import printable_json, printable_lines
from jobs.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

    from jobs.settings import Settings

IsPseudonym = Annotated[
    bool | None,
    typer.Option(
        "--pseudonym/--no-pseudonym",
        help="What the ids are where LIVESHELF_PSEUDONYM_KEYS is set: pseudonyms, or the shop's own ids.",
    ),
]
AskedOf = Annotated[
    str,
    typer.Option(
        "--consent",
        metavar="HOST:PORT",
        help="Kafka whose consents say which visitors a file of events may be used of; empty: the running system's, if "
        "one runs; none: nobody's.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

PREFIX = "LIVESHELF_"
# What liveshelf's own processes read beside the settings.
OTHER_VARIABLES = {"LIVESHELF_DEBUG", "LIVESHELF_FAILPOINTS", "LIVESHELF_OWNER", "LIVESHELF_SERVICE"}
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "": 1}
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")


def load_settings() -> "Settings":
    """Return the settings; raise `SettingsError` that names each wrong one."""
    from pydantic import ValidationError

    from jobs.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(map(_wrong, error.errors())), "correct it, or take it away") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"liveshelf.toml isn't TOML: {error}", "correct that line") from error
    for name in ("state_dir", "feature_repo", "model_dir", "tracking_dir"):
        path = getattr(settings, name)
        if os.path.lexists(path) and not path.is_dir():
            raise SettingsError(f"{name} {path} is no folder", f"name a folder: {PREFIX}{name.upper()}")
    return settings


def _wrong(detail: "ErrorDetails") -> str:
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"{name} in liveshelf.toml is no setting{_nearest(name)}"
    value = "" if name == "redis_url" else f" is {detail['input']!r}"  # it may hold a password
    return f"setting {name} (LIVESHELF_{name.upper()}){value}: {detail['msg']}"


def chosen(settings: "Settings") -> str:
    """Return the settings that aren't defaults, on one line, with secrets hidden."""
    values = (f"{name}={getattr(settings, name)}" for name in sorted(settings.model_fields_set))
    return "settings: " + (", ".join(values) or "all defaults")


def seconds(text: str, name: str) -> float:
    """Return a duration such as 500ms, 60s, 5m, 1h or 1d in seconds. A bare number is seconds."""
    parts = DURATION.fullmatch(text.strip())
    if not parts:
        raise SettingsError(f"{name} is {text!r}", "a duration such as 500ms, 60s, 5m, 1h or 1d")
    return float(parts[1]) * SECONDS[parts[2]]


def say(text: object) -> None:
    """Print a result on stdout, with escapes for what a terminal would obey: it may hold what strangers wrote."""
    print(printable_lines(text), flush=True)


def note(line: str) -> None:
    """Print a line for a person, on stderr, escaped as in `say`."""
    print(printable_lines(line), file=sys.stderr, flush=True)


def note_feast() -> None:
    """Say what a command waits for that reads definitions."""
    note("reading the definitions with Feast, which takes 10 s of processor time to import")


def print_json(document: Any) -> None:
    """Print one JSON document on stdout, indented."""
    import msgspec

    print(printable_json(msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2).decode()))


def print_json_line(document: Any) -> None:
    """Print one JSON document on a line of stdout."""
    import msgspec

    print(printable_json(msgspec.json.encode(document).decode()))


def print_table(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Print rows as CSV: as they are into a file or a pipe, escaped as in `say` on a terminal."""
    is_escaped = sys.stdout.isatty()
    for row in chain([dict(zip(names, names, strict=True))], rows):
        line = io.StringIO()
        csv.DictWriter(line, names, lineterminator="\n").writerow(row)
        print(printable_lines(line.getvalue()) if is_escaped else line.getvalue(), end="")


def end_on_signals() -> None:
    """Let `kill` and a closed terminal end a command as Ctrl-C does: it stops what it has started, and records it.

    A signal that is ignored stays ignored, as `nohup` wants it.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        return  # only there may a handler be set: a test may call a command elsewhere
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


LIBRARIES = {"site-packages", "dist-packages"}


@contextmanager
def without_warnings_of_libraries() -> "Iterator[None]":
    """Keep off stderr what libraries warn of in their own files: nobody who gives a command can act on it.

    Feast calls every stream feature view experimental, and PyFlink makes deprecated calls. A filter doesn't do: some
    libraries set filters of their own when they are imported, and those come first. A warning about a file of the
    user's, such as the definitions, is shown.
    """
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], filename: str, *where: Any, **more: Any) -> None:
        if LIBRARIES.isdisjoint(Path(filename).parts):
            shown(message, category, filename, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Return a sentence for each LIVESHELF_* variable that means nothing, with the setting that it may have meant."""
    ours = sorted(name for name in names if name.upper().startswith(PREFIX) and name not in OTHER_VARIABLES)
    if not ours:
        return []  # spares the import of the settings, which --help needn't wait for
    from jobs.settings import RENAMED, Settings

    known = {*Settings.model_fields, *RENAMED}
    unknown = [name for name in ours if name.upper().removeprefix(PREFIX).lower() not in known]
    return [f"{name} is no setting, and is ignored{_nearest(name)}" for name in unknown]


def _nearest(name: str) -> str:
    """Return a question for the setting whose name is most like `name`, "" if there is none like it."""
    from jobs.settings import Settings

    mistyped = name.upper().removeprefix(PREFIX).lower()
    near = get_close_matches(mistyped, Settings.model_fields, n=1)
    if not near:
        return ""
    is_variable = name.upper().startswith(PREFIX)
    return f": is {PREFIX + near[0].upper() if is_variable else near[0]} meant?"


def warn_of_another_shop(settings: "Settings") -> None:
    """Print a warning if the model that the settings name knows few of the items that the newest events name."""
    from jobs.cluster import runtime
    from jobs.operate import familiar

    if warning := familiar.warning(settings, runtime.current(settings).kafka_bootstrap):
        note(f"warning: {warning}")
