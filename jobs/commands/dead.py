"""dead list, dead show, dead replay: events that were refused."""

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.shared import AsJson, IsPseudonym, load_settings, note, print_json, say

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from jobs.operate.dead_letters import Letter
    from jobs.settings import Settings

app = typer.Typer(rich_markup_mode=None)
Place = Annotated[str, typer.Argument(metavar="PARTITION-OFFSET", help="Its place in the events topic.")]
Reason = Annotated[str, typer.Option(help="Only those refused for this reason.")]


@app.callback(invoke_without_command=True)
def letters(ctx: typer.Context) -> None:
    """Events that were refused: list them by reason, look at one, send them again after a fix.

    \b
    Examples:
      liveshelf dead
      liveshelf dead show 0-42
      liveshelf dead replay --reason future_event_time
    """
    if ctx.invoked_subcommand is None:
        list_letters()


@app.command("list")
def list_letters(reason: Reason = "", as_json: AsJson = False) -> None:
    """Count refused events by reason and field; with --reason, list their places for `dead show`.

    \b
    Examples:
      liveshelf dead list
      liveshelf dead list --reason wrong_type
      liveshelf dead list --json
    """
    from jobs.operate import dead_letters

    settings, bootstrap = broker()
    letters = dead_letters.read_letters(bootstrap, settings.dead_topic, dead_letters.Letter, reason)
    print_letters(letters, "events", bool(reason), as_json)


@app.command()
def show(
    place: Place,
    as_json: AsJson = False,
) -> None:
    """Print one refused event: why, where it came from, and its bytes as they were.

    \b
    Example:
      liveshelf dead show 0-42
    """
    settings, bootstrap = broker()
    print_letter(bootstrap, settings.dead_topic, place, "`liveshelf dead list --reason R` prints the places", as_json)


@app.command()
def replay(
    reason: Reason = "",
    field: Annotated[str, typer.Option(help="Only those refused because of this field.")] = "",
    set_field: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Correct a field first; may be repeated.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="FIELD", help="Leave a field out; may be repeated.")] = None,
    pseudonym: IsPseudonym = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send refused events again that the contract takes now: it was changed, time has passed, or --set and --drop help.

    An event_id counts once in 24 h, so doing it twice does no harm. One that comes after the watermark is late.

    \b
    Examples:
      liveshelf dead replay --reason future_event_time
      liveshelf dead replay --reason too_long --field query --drop query
      liveshelf dead replay --reason unknown_value --field event_type --set event_type=view --dry-run
    """
    from jobs.connect import consent_topic
    from jobs.operate import audit, dead_letters
    from jobs.person.ids import stored_as

    fix = dead_letters.Fix.of(set_field or [], drop or [])
    fix.values.update(stored_as(load_settings(), fix.values, pseudonym))
    # Of the corrections only the fields: a value may be somebody's id.
    told = {"reason": reason, "field": field, "set": sorted(fix.values), "drop": sorted(fix.dropped)}
    with audit.recorded_unless(dry_run, load_settings().state_dir, "dead replay", **told) as outcome:
        settings, bootstrap = broker()
        of_reason = dead_letters.read_letters(bootstrap, settings.dead_topic, dead_letters.Letter, reason)
        letters = [letter for letter in of_reason if not field or letter.field == field]
        taken, refused = dead_letters.check_again(letters, fix, settings.max_clock_skew_s * 1000)
        ready = dead_letters.allowed(taken, consent_topic.read(bootstrap, settings.consent_topic, settings.consent))
        if len(ready) < len(taken):
            refused["no consent, or erased since"] = len(taken) - len(ready)
        if not dry_run:
            dead_letters.send(bootstrap, settings.events_topic, ready)
            outcome["sent"] = len(ready)
    print_replay(len(letters), len(ready), refused, dry_run, as_json, to=f" to {settings.events_topic}")


def print_letter(bootstrap: str, topic: str, place: str, fix: str, as_json: bool) -> None:
    """Print the letter of a topic that is about the event at `place`; raise what `dead_letters.find` raises."""
    from jobs.operate import dead_letters

    letter = dead_letters.find(dead_letters.read_letters(bootstrap, topic, dead_letters.Letter), place, fix)
    print_json(letter) if as_json else say(dead_letters.told(letter))


def print_letters(letters: "Sequence[Letter]", noun: str, each: bool, as_json: bool) -> None:
    """Print letters by reason and field; with `each`, a line for each of them too."""
    from jobs.operate import dead_letters

    if as_json:
        return print_json(letters)
    for (why, field), alike in dead_letters.by_reason(letters).items():
        print_group(f"{why} ({field})" if field else why, alike, each)
    note(f"{len(letters):,} refused {noun}")


def print_replay(chosen: int, ready: int, refused: "Counter[str]", is_dry_run: bool, as_json: bool, to: str) -> None:
    """Print how many letters were sent again, and why the others weren't."""
    if as_json:
        sent = 0 if is_dry_run else ready
        return print_json({"letters": chosen, "ready": ready, "sent": sent, "refused": dict(refused)})
    say(f"{ready:,} of {chosen:,} {'would be' if is_dry_run else 'were'} sent{to}")
    for why, count in refused.items():
        say(f"  still refused: {why} {count:,}")


def print_group(heading: str, alike: "Sequence[Letter]", each: bool) -> None:
    """Print how many letters are alike and the place of one of them; with `each`, a line for each of them too."""
    from jobs.operate.dead_letters import excerpt

    say(f"{len(alike):8,}  {heading}  such as {alike[0].place}")
    for letter in alike if each else ():
        say(f"          {letter.place}  {excerpt(letter)}")


def broker() -> "tuple[Settings, str]":
    """Return the settings and the address of the running broker. Raises ServiceError if none runs."""
    from jobs.cluster import runtime

    settings = load_settings()
    return settings, runtime.attach(settings, ("kafka",)).kafka_bootstrap
