"""plan: what a shop of a size needs."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.shared import AsJson, note, print_json, say


def register(app: typer.Typer) -> None:
    app.command()(plan)


def plan(
    visitors: Annotated[int, typer.Option("--visitors", help="Visitors in 30 days, as long as Redis keeps them.")],
    events_per_s: Annotated[float, typer.Option("--events-per-second", help="Events a second at the busiest time.")],
    items: Annotated[int, typer.Option("--items", help="Items of the catalogue.")],
    daily_visitors: Annotated[
        int | None, typer.Option("--daily-visitors", help="Visitors of the busiest day (default: all of them).")
    ] = None,
    daily_events: Annotated[
        int | None, typer.Option("--daily-events", help="Events of that day (default: as if the rate never fell).")
    ] = None,
    shelves: Annotated[
        bool, typer.Option("--shelves", help="With all shipped shelves, instead of one list a visitor.")
    ] = False,
    measured: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Take processor times from a result of `bench --profile --json FILE` on your own machine.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which slots, memory, state, partitions and disk a shop of a size needs, and what drives each of them.

    It multiplies costs that were measured at small sizes, names where and when, and says how far it extrapolates.

    \b
    Examples:
      liveshelf plan --visitors 10000000 --events-per-second 50000 --items 1000000
      liveshelf plan --visitors 90000 --events-per-second 20 --items 20000 --daily-visitors 9000 --daily-events 90000
      liveshelf plan --visitors 400000 --events-per-second 200 --items 20000 --from profile.json
    """
    from jobs.lab.budget import coefficients, terms, text

    size = terms.asked(visitors, events_per_s, items, daily_visitors, daily_events, shelves)
    costs = coefficients.shipped()
    if measured:
        costs = coefficients.with_profile(costs, measured)
        note(
            f"{measured} gives processor times; bytes and the model's time by items are those that come with liveshelf"
        )
    quantities = terms.plan(size, costs)
    if as_json:
        print_json({"asked": size, "quantities": quantities, "costs": costs})
        return
    for line in text.lines(size, quantities):
        say(line)
