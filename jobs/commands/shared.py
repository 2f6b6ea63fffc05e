"""What commands share: settings, durations as people write them, and JSON on stdout."""

import re
import signal
import sys
import tomllib
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

    from jobs.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "": 1}
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")


def load_settings() -> "Settings":
    """The settings; raises SettingsError that names each wrong one."""
    from pydantic import ValidationError

    from jobs.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(map(_wrong, error.errors())), "correct it, or take it away") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"liveshelf.toml isn't TOML: {error}", "correct that line") from error
    return settings


def _wrong(detail: "ErrorDetails") -> str:
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"{name} in liveshelf.toml is no setting"
    value = "" if name == "redis_url" else f" is {detail['input']!r}"  # it may hold a password
    return f"setting {name} (LIVESHELF_{name.upper()}){value}: {detail['msg']}"


def chosen(settings: "Settings") -> str:
    """The settings that aren't defaults, on one line, with secrets hidden."""
    values = (f"{name}={getattr(settings, name)}" for name in sorted(settings.model_fields_set))
    return "settings: " + (", ".join(values) or "all defaults")


def seconds(text: str, name: str) -> float:
    """A duration such as 500ms, 60s, 5m, 1h or 1d; a bare number is seconds."""
    found = DURATION.fullmatch(text.strip())
    if not found:
        raise SettingsError(f"{name} is {text!r}", "a duration such as 500ms, 60s, 5m, 1h or 1d")
    return float(found[1]) * SECONDS[found[2]]


def note(line: str) -> None:
    """A line for a person, on stderr."""
    print(line, file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    """One JSON document on stdout, indented."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2).decode())


def end_on_signals() -> None:
    """`kill` and a closed terminal end a command as Ctrl-C does: it stops what it has started."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, interrupt)


def was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the bottom of it: clients that are closed in the middle of their work raise errors too."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


FEAST_SAYS = "experimental feature"


@contextmanager
def without_feasts_warnings() -> "Iterator[None]":
    """Keep off stderr what Feast says of every stream feature view: that it is experimental.

    A filter doesn't do: Feast sets filters of its own when it is imported, and they come first.
    """
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if FEAST_SAYS not in str(message):
            shown(message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown
