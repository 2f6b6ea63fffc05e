"""Who follows a training while it runs: a bar with the time left on a terminal, and what records its epochs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

Step = Callable[[str, int, int], None]  # the part of the work, its steps done, its steps in all


def nobody(*_: object) -> None:
    """What nobody wants to know."""


class Watch(NamedTuple):
    """What is told of a training as it goes; the lines for a person go by `tell`.

    recipe: once, before the first epoch, its settings by name.
    epoch: after each, the part of the work, its number from 1, and its values by name.
    """

    step: Step = nobody
    recipe: Callable[[dict[str, str | int | float]], None] = nobody
    epoch: Callable[[str, int, dict[str, float]], None] = nobody


NOBODY = Watch()


@contextmanager
def bar() -> Iterator[Step]:
    """A bar on stderr for the part at work, with the time that it needs still; nothing where stderr is no terminal.

    Lines that are written to stderr meanwhile appear above it.
    """
    if not sys.stderr.isatty():
        yield nobody
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(24),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        shown: list[tuple[str, TaskID]] = []

        def step(part: str, done: int, total: int) -> None:
            if not shown or shown[-1][0] != part:
                for _, before in shown[-1:]:
                    progress.remove_task(before)
                shown.append((part, progress.add_task(part, total=total)))
            progress.update(shown[-1][1], completed=done)

        yield step
