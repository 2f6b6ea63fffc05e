"""why: what brought an item into a visitor's list, and what kept another out of it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.shared import AsJson, IsPseudonym, load_settings, note, print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(why)


def why(
    visitor: Annotated[str, typer.Argument(help="The visitor's id; -: from standard input.")],
    shelf: Annotated[str, typer.Argument(help="A shelf, such as home.")],
    place: Annotated[
        int | None, typer.Argument(min=1, help="A place of the list, from 1; all of them if absent.")
    ] = None,
    missing: Annotated[str, typer.Option("--not", metavar="ITEM", help="An item: why it isn't shown.")] = "",
    is_lineage: Annotated[
        bool, typer.Option("--lineage", help="Print the events that made the list, and the lake's files they lie in.")
    ] = False,
    lake: Annotated[
        str, typer.Option("--lake", metavar="FOLDER", help="The lake that --lineage reads; empty: LIVESHELF_LAKE.")
    ] = "",
    pseudonym: IsPseudonym = None,
    as_json: AsJson = False,
) -> None:
    """Explain a list: each score in parts, the click that brought an item, the rule and the fact that dropped one.

    It replays the list's record in the log with the model, the shelves and the facts that the list names. What the gate
    holds back since then is told too.

    \b
    Examples:
      liveshelf why s22240 home 17
      liveshelf why s22240 home --not 4711
      liveshelf why s22240 home --json | jq '.[].because'
      liveshelf why s22240 home --lineage --lake lake
    """
    from jobs.cluster import runtime
    from jobs.errors import SettingsError
    from jobs.operate.facts import contracts_of
    from jobs.person.ids import one_of
    from jobs.why import tell
    from jobs.why.find import find
    from jobs.why.reasons import Why

    if is_lineage and (place is not None or missing):
        raise SettingsError("--lineage is about a whole list", "ask of a place or of --not ITEM without it")
    if place is not None and missing:
        raise SettingsError("a place and --not ITEM are two questions", "ask one after the other")
    settings = load_settings()
    wanted = one_of(settings, visitor, pseudonym)
    if is_lineage:
        return _trace(settings, lake, wanted.sought, shelf, as_json)
    running = runtime.attach(settings, ("kafka", "redis"))
    explained = Why(find(settings, running, wanted.sought, shelf, contracts_of(settings)))
    if place is None and not missing:
        reasons = explained.places()
    else:
        reasons = [explained.of(missing) if missing else explained.at(place or 0)]
    if as_json:
        documents = [tell.document(reason) for reason in reasons]
        return print_json(documents if place is None and not missing else documents[0])
    for reason in reasons:
        mark = f"{reason.place:3}. " if place is None and not missing else ""
        say(mark + tell.text(explained, reason))


def _trace(settings: "Settings", address: str, visitor_ids: "Sequence[str]", shelf: str, as_json: bool) -> None:
    """Print from which events a list was made, by the lake alone: nothing needs to run for it."""
    from jobs.commands.lake import opened
    from jobs.lake.lineage import trace
    from jobs.lake.store import known

    lakes = [opened(settings, address)] if address else known(settings) or [opened(settings, "")]
    lineage = trace(settings, lakes[0], visitor_ids, shelf)
    if as_json:
        return print_json(lineage)
    logged = lineage.logged
    say(f"list {lineage.list_id} on {shelf}: {logged.partition}-{logged.offset} of {settings.rankings_topic}")
    say(f"  {logged.file}")
    for event in lineage.events:
        moment = datetime.fromtimestamp(event.event_time_ms / 1000, UTC).isoformat(timespec="milliseconds")
        say(f"{event.partition}-{event.offset}  {moment}  {event.event_type}  {event.item_id or ''}")
        say(f"  {event.file}")
    if len(lineage.events) != lineage.session_events:
        note(f"the list was made of {lineage.session_events} events; the lake holds {len(lineage.events)} of them")
