"""person show, export, erase; consent grant, withdraw: the commands for what one person may ask for."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.commands.files import output_folder
from jobs.commands.shared import AsJson, IsPseudonym, load_settings, note, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.cluster.runtime import Runtime
    from jobs.contract.consent import State
    from jobs.person.ids import Visitor
    from jobs.settings import Settings

app = typer.Typer(rich_markup_mode=None, help="What is known about one person: look at it, hand it out, take it away.")
consents = typer.Typer(rich_markup_mode=None, help="What a person says about being personalized.")
SHIPPED = ("jobs", "models", "feature_repo")
ID_HELP = "The visitor's id; -: from standard input, as arguments show in lists of processes."
IDS_HELP = "One or more visitors; -: from standard input, one a line."
Id = Annotated[str, typer.Argument(metavar="ID", help=ID_HELP)]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help=IDS_HELP)]


@app.command()
def show(visitor: Id, pseudonym: IsPseudonym = None, as_json: AsJson = False) -> None:
    """Print consent, events, features with their times, all lists with their models, and what lies in logs and files.

    \b
    Examples:
      liveshelf person show s22240
      liveshelf person show - --json <id.txt | jq .features
    """
    from dataclasses import asdict

    from jobs.person import known
    from jobs.person.ids import one_of

    settings = load_settings()
    wanted = one_of(settings, visitor, pseudonym)
    with _recorded("person show", wanted):
        person = known.find(*_place(settings, "kafka", "redis"), wanted)
    if person.is_nothing:
        _note_nothing(wanted, "is")
    if as_json:
        return print_json(asdict(person))
    say(known.text(person))


@app.command()
def export(
    visitor: Id,
    folder: Annotated[Path | None, typer.Option("--to", help="A folder that isn't there yet.")] = None,
    pseudonym: IsPseudonym = None,
    as_json: AsJson = False,
) -> None:
    """Write everything about a person into a folder: JSON Lines, and a README that tells what each file holds.

    Without --to, the folder is named as receipts name the person, so the name gives no id away.

    \b
    Example:
      liveshelf person export s22240 --to answer
    """
    from jobs.errors import SettingsError
    from jobs.person import export as exporting
    from jobs.person import receipt
    from jobs.person.ids import one_of
    from jobs.settings import REPOSITORY

    settings = load_settings()
    wanted = one_of(settings, visitor, pseudonym)
    target = folder or Path(f"{receipt.subject(settings, wanted.name)[:16]}-export")
    if target.exists():
        raise SettingsError(f"{target} is there already", "name another folder: --to FOLDER")
    output_folder(target, "--to")
    if any(target.resolve().is_relative_to(REPOSITORY / name) for name in SHIPPED):
        raise SettingsError(f"{target} lies in what wheels and images are made of", "name a folder elsewhere: --to")
    with _recorded("person export", wanted):
        exported = exporting.export(*_place(settings, "kafka", "redis"), wanted, target)
    if exported.is_nothing:
        _note_nothing(wanted, "is")
    if as_json:
        return print_json(exported.counts)
    for name, count in () if exported.is_nothing else exported.counts.items():
        say(f"{count:8,}  {target / name}.jsonl")


@app.command()
def erase(visitors: Ids, pseudonym: IsPseudonym = None, as_json: AsJson = False) -> None:
    """Erase people from state, Redis, offline files and lakes, wait till it is done, and print and keep a receipt.

    A replay brings nothing back. What a person does from now on counts again, unless consent is or was withdrawn. Of
    whom nothing was known gets no receipt.

    \b
    Examples:
      liveshelf person erase s22240
      liveshelf person erase - <ids.txt
      liveshelf consent withdraw s22240 && liveshelf person erase s22240
    """
    from jobs.lake.forget import copies
    from jobs.person import erase as erasing
    from jobs.person import receipt
    from jobs.person.ids import ids_of

    settings = load_settings()
    wanted = ids_of(settings, visitors, pseudonym)
    with _recorded("person erase", *wanted) as outcome:
        _, running = _place(settings, "kafka", "redis", "flink")
        results = erasing.erase(settings, running, wanted, copies=copies(settings, running.kafka_bootstrap))
        outcome["erased"] = sum(each.receipt is not None for each in results)
    for each in results:
        if each.receipt is None:
            _note_nothing(each.visitor, "was")
    receipts = [(each.receipt, each.path) for each in results if each.receipt]
    if as_json:
        return print_json([receipt.as_document(*one) for one in receipts])
    if not receipts:
        return
    first, _ = receipts[0]
    say(f"erased {len(receipts)} in {first.seconds} s:")
    for where, what in first.erased.items():
        say(f"  {where}: {what}")
    say("what remains:")
    for remains in first.remains:
        say(f"  {remains.where}: {remains.what}; {receipt.until(remains)}")
    for _, path in receipts:
        note(f"receipt: {path}")


def _note_nothing(visitor: "Visitor", verb: str) -> None:
    note(f"nothing {verb} known of {visitor.given!r}")


@consents.command()
def grant(visitors: Ids, pseudonym: IsPseudonym = None) -> None:
    """Say for visitors that personalization is wanted, from now on.

    \b
    Example:
      liveshelf consent grant s22240
    """
    _say(visitors, pseudonym, "granted")


@consents.command()
def withdraw(visitors: Ids, pseudonym: IsPseudonym = None) -> None:
    """Say for visitors that personalization isn't wanted: what is known goes, and the popularity list comes.

    \b
    Examples:
      liveshelf consent withdraw s22240
      liveshelf consent withdraw - <ids.txt
    """
    _say(visitors, pseudonym, "withdrawn")


def _say(given: "list[str]", pseudonym: bool | None, state: "State") -> None:
    from jobs.connect import consent_topic
    from jobs.person import heard_of
    from jobs.person.ids import ids_of

    settings = load_settings()
    wanted = ids_of(settings, given, pseudonym)
    with _recorded(f"consent {state}", *wanted):
        _, running = _place(settings, "kafka")
        older = heard_of.older(settings, running, wanted)
        ids = [visitor_id for visitor in wanted for visitor_id in (*visitor.ids, *older.intersection(visitor.older))]
        consent_topic.say(running.kafka_bootstrap, settings.consent_topic, settings.consent, ids, state)
    note(f"{state}, in effect as soon as the jobs have read it")


@contextmanager
def _recorded(action: str, *visitors: "Visitor") -> "Iterator[dict[str, Any]]":
    """Record an action in the audit log, which names people as receipts do; the dictionary takes its outcome."""
    from jobs.cluster import runtime
    from jobs.operate import audit
    from jobs.person import receipt

    settings = load_settings()
    if not settings.state_dir.is_dir():  # a wrong folder is told before anything is kept in it
        runtime.attach(settings, ("kafka",))
    subjects = [name for visitor in visitors for name in receipt.subjects(settings, visitor)]
    with audit.recorded(settings.state_dir, action, subjects=subjects) as outcome:
        yield outcome


def _place(settings: "Settings", *services: str) -> "tuple[Settings, Runtime]":
    from jobs.cluster import runtime

    return settings, runtime.attach(settings, services)
