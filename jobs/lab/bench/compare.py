"""Set two stored results of the bench side by side. Pure, but for `load`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from jobs.errors import DataError

SAME = ("cpu", "cores", "memory_gb", "python")  # of the machine; where they differ, speeds say little


def load(file: Path) -> dict[str, Any]:
    """Read a result. Raises DataError if the file isn't one."""
    try:
        result = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read: {error}", "name a file that `liveshelf bench --json` wrote") from error
    if not isinstance(result.get("machine"), dict):
        raise DataError(f"{file} is no result of the bench", "name a file that `liveshelf bench --json` wrote")
    return result


def numbers(result: Mapping[str, Any], under: str = "") -> dict[str, float]:
    """Return all numbers of a result but the machine's, by their dotted names."""
    named: dict[str, float] = {}
    for name, value in result.items():
        if isinstance(value, Mapping) and under + name != "machine":
            named |= numbers(value, f"{under}{name}.")
        elif isinstance(value, int | float):
            named[under + name] = value
    return named


def unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Yield why two results can't be compared as they are."""
    for name in SAME:
        here, there = one["machine"].get(name), other["machine"].get(name)
        if here != there:
            yield f"{name} differs: {here} and {there}"
    if ("rough" in one) != ("rough" in other):
        yield "one of the two is of a quick run, whose figures are rough"
    elif "rough" in one:
        yield "both are of quick runs, whose figures are rough"


def lines(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each number that either has: its name, both, and how many times the first the second is."""
    here, there = numbers(one), numbers(other)
    names = [*here, *(name for name in there if name not in here)]
    width = max(map(len, names), default=0)
    yield f"{'':{width}} {'A':>12} {'B':>12} {'B / A':>7}"
    for name in names:
        a, b = here.get(name), there.get(name)
        ratio = f"{b / a:.2f}" if a and b is not None else "-"
        shown = [f"{value:,}" if value is not None else "-" for value in (a, b)]
        yield f"{name:{width}} {shown[0]:>12} {shown[1]:>12} {ratio:>7}"
