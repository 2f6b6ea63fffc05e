"""replay, show, schema: events in, lists out, and what an event is."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.shared import AsJson, IsPseudonym, load_settings, note, print_json, say, seconds
from jobs.errors import SettingsError

if TYPE_CHECKING:
    from jobs.settings import Settings

DEFAULT_DELAY_S = 1.0


def register(app: typer.Typer) -> None:
    for command in (replay, show, schema):
        app.command()(command)


def replay(
    source: Annotated[str, typer.Argument(help="eshop2008, onlineretail, otto, serenade_toy, …, or a file.")],
    speed: Annotated[str, typer.Option(help="1: as it happened; 3600: an hour a second; max.")] = "max",
    shift_to_now: Annotated[bool, typer.Option("--shift-to-now", help="Move event times to end now.")] = False,
    limit: Annotated[int | None, typer.Option(help="Take only so many events.")] = None,
    since: Annotated[str | None, typer.Option(help="First moment, such as 2008-08-01.")] = None,
    until: Annotated[str | None, typer.Option(help="First moment that isn't taken any more.")] = None,
    shuffle_within: Annotated[str, typer.Option(help="Bring events out of order by up to this, such as 60s.")] = "0s",
    duplicate: Annotated[float, typer.Option(help="Share of events to send twice, 0 to 1.")] = 0.0,
    corrupt: Annotated[float, typer.Option(help="Share of events to damage, 0 to 1.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same records.")] = 0,
    mapping: Annotated[Path | None, typer.Option(help="TOML that says what a file's columns mean.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the sets that can't be shipped.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a shop's recorded events, or your own file's, to the events topic.

    --shift-to-now moves them behind what the topic holds already, where that is possible. Otherwise they are late for
    features, which the command says with their number before it sends them; lists take late events, too.

    With pseudonym_keys in the settings, visitors and users enter the topic as pseudonyms. Without, as they stand in the
    source: the numbers of the public sets name nobody, those of a shop's own file may.

    \b
    Examples:
      liveshelf replay eshop2008 --since 2008-08-01 --shift-to-now --speed 20000
      liveshelf replay retailrocket --data-dir data --shuffle-within 60s --duplicate 0.02 --corrupt 0.01
      liveshelf replay clicks.csv --mapping clicks.toml --limit 1000
    """
    from collections import Counter

    from jobs.cluster import runtime
    from jobs.lab.replay import produce, sources
    from liveshelf.pseudonyms import Pseudonyms

    settings, skipped = load_settings(), Counter()
    events = sources.read(source, mapping, data_dir, since=since, until=until, skipped=skipped)
    if settings.pseudonym_keys:
        events = map(Pseudonyms.read(settings.pseudonym_keys).event, events)
    report = produce.replay(
        runtime.attach(settings, ("kafka",)).kafka_bootstrap,
        settings.events_topic,
        events,
        watermark_delay_s=_watermark_delay_s(settings),
        speed=_speed(speed),
        shift_to_now=shift_to_now,
        limit=limit,
        shuffle_within_s=seconds(shuffle_within, "shuffle-within"),
        duplicate=duplicate,
        corrupt=corrupt,
        seed=seed,
        skipped=skipped,
        tell=note,
    )
    if as_json:
        return print_json(asdict(report))
    sent = f"{report.events:,} events, {report.duplicates:,} sent twice, {report.late:,} late for features"
    say(f"{report.produced:,} records in {report.seconds:.1f} s: {sent}")
    for title, counts in (("damaged", report.corrupted), ("skipped", report.skipped)):
        for reason, count in sorted(counts.items()):
            say(f"  {title}: {reason} {count:,}")
    for line in produce.consequences(report, _option(settings)):
        note(line)


def _speed(text: str) -> float | None:
    try:
        return None if text == "max" else float(text)
    except ValueError as error:
        raise SettingsError(f"speed is {text!r}", "a number above 0, or max") from error


def _watermark_delay_s(settings: "Settings") -> float:
    """Return the watermark delay of the features job that was submitted last: the last heartbeat lies beyond it."""
    from jobs.features import plan

    submitted = plan.submitted(settings.state_dir)
    return submitted.delay_ms / 1000 if submitted else DEFAULT_DELAY_S


def show(
    visitor: Annotated[
        str, typer.Argument(help="The visitor's id; without one, some visitors with a list; -: from standard input.")
    ] = "",
    shelf: Annotated[str, typer.Argument(help="The shelf; without one, LIVESHELF_SHELF.")] = "",
    pseudonym: IsPseudonym = None,
    as_json: AsJson = False,
) -> None:
    """Print a visitor's list as it is shown: items with names and reasons, its age, and the events it came from.

    \b
    Examples:
      liveshelf show
      liveshelf show s22240
      liveshelf show s22240 product
      liveshelf show s22240 --json | jq -r '.items[].item_id'
    """
    from jobs.cluster import runtime
    from jobs.operate import show as showing
    from jobs.person.ids import one_of

    settings = load_settings()
    running = runtime.attach(settings, ("redis",))
    if not visitor:
        return _show_visitors(showing.some_visitors(settings, running), as_json)
    shown = showing.look(settings, running, one_of(settings, visitor, pseudonym).sought, shelf)
    if as_json:
        return print_json(asdict(shown))
    others = showing.some_visitors(settings, running, shelf) if shown.state == "absent" else []
    say(showing.text(shown, others))


def _option(settings: "Settings") -> str:
    """Return what `show` must be told of a visitor's id as it is stored."""
    return " --pseudonym" if settings.pseudonym_keys else ""


def _show_visitors(visitors: list[str], as_json: bool) -> None:
    if as_json:
        return print_json(visitors)
    for visitor in visitors:
        say(visitor)
    option = _option(load_settings())
    note(
        f"look at one: liveshelf show ID{option}"
        if visitors
        else "no visitor has a list: liveshelf status, liveshelf replay"
    )


def schema(
    topic: Annotated[str, typer.Argument(help="events, items, offers, or a topic of your own item facts.")] = "events",
    table: Annotated[bool, typer.Option("--table", help="The contract as a Markdown table.")] = False,
) -> None:
    """Print the contract of events, or of a topic of item facts, as JSON Schema, for producers.

    \b
    Examples:
      liveshelf schema > event.schema.json
      liveshelf schema --table
      liveshelf schema offers --table
    """
    from jobs.contract import events, items
    from jobs.operate.facts import contracts_of

    if topic == "events":
        return say(events.docs_table()) if table else print_json(events.json_schema())
    settings = load_settings()
    names = {settings.items_topic: "items", settings.offers_topic: "offers"}
    contract = next((each for each in contracts_of(settings) if topic in (each.topic, names.get(each.topic))), None)
    if contract is None:
        raise SettingsError(
            f"{topic!r} is no topic with a contract", "events, items, offers, or a topic that a view reads"
        )
    say(items.docs_table(contract)) if table else print_json(items.json_schema(contract))
