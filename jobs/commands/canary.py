"""canary: a new version of the rankings job beside the live one."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.shared import AsJson, chosen, load_settings, note, print_json, say

if TYPE_CHECKING:
    from jobs.operate.canary import Status

app = typer.Typer(
    help="Run a new version of the rankings job beside the live one, compare, then promote it or roll back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def start() -> None:
    """Submit what the settings say now as a canary, from a savepoint of the live job, which goes on.

    Its lists go to keys that no app reads. A version is other code (LIVESHELF_WORKER_PYTHON), another model or other
    shelves, or other settings.

    \b
    Example:
      LIVESHELF_MODEL_DIR=models/candidate liveshelf canary start
    """
    from jobs.cluster import runtime
    from jobs.operate import audit, canary

    settings = load_settings()
    running = runtime.attach(settings)
    note(chosen(settings))
    with audit.recorded(settings.state_dir, "canary start", model=settings.model_dir) as outcome:
        outcome["canary"] = canary.start(settings, running, note).job_id
    say(f"canary   {outcome['canary']}")


@app.command()
def status(
    limit: Annotated[int, typer.Option(min=1, help="Look at so many lists of each job at most.")] = 20_000,
    as_json: AsJson = False,
) -> None:
    """Compare the canary's lists with the live ones, as far as both answer the same event.

    \b
    Examples:
      liveshelf canary status
      liveshelf canary status --json | jq .lists.overlap
    """
    from jobs.cluster import runtime
    from jobs.operate import canary

    settings = load_settings()
    seen = canary.status(settings, runtime.attach(settings, ("redis", "flink")), limit)
    if as_json:
        return print_json(seen)
    for line in _lines(seen):
        say(line)


def _lines(seen: "Status") -> list[str]:
    since = datetime.fromtimestamp(seen.since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    lists = seen.lists
    lines = [
        f"canary   {seen.state}, {seen.job_id}, since {since}",
        f"version  model {seen.model} in {seen.model_dir}; shelves in {seen.shelves_dir}",
        f"lists    {lists.compared:,} compared; {lists.behind:,} where the live job is ahead, "
        f"{lists.ahead:,} where the canary is",
    ]
    if lists.compared:
        lines += [
            f"equal    {lists.equal / lists.compared:.1%}; overlap of the first 20 items {lists.overlap:.1%}",
            f"latency  the canary's list came {lists.later_ms['p50']:+.0f} ms after the live one (median), "
            f"{lists.later_ms['p99']:+.0f} ms (99 %)",
            "kinds    "
            + "; ".join(f"{kind} {live:,} live, {own:,} canary" for kind, (live, own) in lists.fallbacks.items()),
        ]
    return lines + [f"error    {error}" for error in seen.errors or ["none"]]


@app.command()
def promote() -> None:
    """Put the canary's version in the live job's place, from the live job's savepoint, and end the canary.

    If it doesn't start, the old version is submitted again from the same savepoint, and the canary goes on.

    \b
    Example:
      liveshelf canary promote
    """
    from jobs.cluster import runtime
    from jobs.operate import audit, canary

    settings = load_settings()
    running = runtime.attach(settings)
    with audit.recorded(settings.state_dir, "canary promote") as outcome:
        outcome["rankings"] = canary.promote(settings, running, note)
    say(f"rankings {outcome['rankings']}")


@app.command()
def rollback() -> None:
    """End the canary, and remove its lists and its state.

    \b
    Example:
      liveshelf canary rollback
    """
    from jobs.cluster import runtime
    from jobs.operate import audit, canary

    settings = load_settings()
    running = runtime.attach(settings, ("redis", "flink"))
    with audit.recorded(settings.state_dir, "canary rollback") as outcome:
        outcome["lists"] = canary.end(settings, running)
    note(f"the canary is gone, and {outcome['lists']:,} lists of its own")
