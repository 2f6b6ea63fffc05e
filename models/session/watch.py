"""Follow a training while it runs: show a bar with the time left on a terminal, and record its epochs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

Step = Callable[[str, int, int], None]  # the part of the work, its steps done, its steps in all


def nobody(*_: object) -> None:
    """Ignore the call."""


class Watch(NamedTuple):
    """Functions that a training calls as it goes; lines for a person go through `tell` instead.

    step: often, with the part of the work, its steps done and its steps in all.
    recipe: once, before the first epoch, with the settings by name.
    epoch: after each epoch, with the part of the work, the epoch's number from 1, and its values by name.
    """

    step: Step = nobody
    recipe: Callable[[dict[str, str | int | float]], None] = nobody
    epoch: Callable[[str, int, dict[str, float]], None] = nobody


NOBODY = Watch()


@contextmanager
def bar() -> Iterator[Step]:
    """Show a bar on stderr for the current part of the work, with the time left; nothing where stderr is no terminal.

    Lines that are written to stderr meanwhile appear above the bar.
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
