"""why: what brought an item into a visitor's list, and what kept another out of it."""

from typing import Annotated

import typer

from jobs.commands.shared import AsJson, IsPseudonym, load_settings, print_json, say


def register(app: typer.Typer) -> None:
    app.command()(why)


def why(
    visitor: Annotated[str, typer.Argument(help="The visitor's id; -: from standard input.")],
    shelf: Annotated[str, typer.Argument(help="A shelf, such as home.")],
    place: Annotated[
        int | None, typer.Argument(min=1, help="A place of the list, from 1; all of them if absent.")
    ] = None,
    missing: Annotated[str, typer.Option("--not", metavar="ITEM", help="An item: why it isn't shown.")] = "",
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
    """
    from jobs.cluster import runtime
    from jobs.errors import SettingsError
    from jobs.operate.facts import contracts_of
    from jobs.person.ids import one_of
    from jobs.why import tell
    from jobs.why.find import find
    from jobs.why.reasons import Why

    if place is not None and missing:
        raise SettingsError("a place and --not ITEM are two questions", "ask one after the other")
    settings = load_settings()
    wanted = one_of(settings, visitor, pseudonym)
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
