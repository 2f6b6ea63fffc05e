"""person show, export, erase; consent grant, withdraw: the commands for what one person may ask for."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.files import output_folder
from jobs.commands.shared import AsJson, load_settings, note, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.cluster.runtime import Runtime
    from jobs.contract.consent import State
    from jobs.settings import Settings

app = typer.Typer(rich_markup_mode=None, help="What is known about one person: look at it, hand it out, take it away.")
consents = typer.Typer(rich_markup_mode=None, help="What a person says about being personalized.")
Visitor = Annotated[str, typer.Argument(metavar="ID", help="The visitor's id.")]


@app.command()
def show(visitor: Visitor, as_json: AsJson = False) -> None:
    """Print consent, events, features with their times, the list with its model, and what lies in logs and files.

    \b
    Examples:
      liveshelf person show s22240
      liveshelf person show s22240 --json | jq .features
    """
    from dataclasses import asdict

    from jobs.person import known

    with _recorded("person show", visitor):
        person = known.find(*_place("kafka", "redis"), visitor)
    if as_json:
        return print_json(asdict(person))
    print(known.text(person))


@app.command()
def export(
    visitor: Visitor,
    folder: Annotated[Path | None, typer.Option("--to", help="A folder that isn't there yet.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write everything about a person into a folder: JSON Lines, and a README that tells what each file holds.

    \b
    Example:
      liveshelf person export s22240 --to s22240-export
    """
    from jobs.errors import SettingsError
    from jobs.person import known

    target = folder or Path(f"{visitor}-export")
    if target.exists():
        raise SettingsError(f"{target} is there already", "name another folder: --to FOLDER")
    output_folder(target, "--to")
    with _recorded("person export", visitor):
        counts = known.export(known.find(*_place("kafka", "redis"), visitor), target)
    if as_json:
        return print_json(counts)
    for name, count in counts.items():
        print(f"{count:8,}  {target / name}.jsonl")


@app.command()
def erase(
    visitors: Annotated[list[str], typer.Argument(metavar="ID...", help="One or more visitors.")],
    as_json: AsJson = False,
) -> None:
    """Erase people from Flink's state, Redis and offline files, wait till it is done, and print and keep a receipt.

    A replay brings nothing back. What a person does from now on counts again, unless consent is or was withdrawn.

    \b
    Examples:
      liveshelf person erase s22240
      liveshelf consent withdraw s22240 && liveshelf person erase s22240
    """
    from jobs.person import erase as erasing
    from jobs.person import receipt

    with _recorded("person erase", *visitors):
        receipts = erasing.erase(*_place("kafka", "redis", "flink"), visitors)
    if as_json:
        return print_json([receipt.as_document(*one) for one in receipts])
    first, _ = receipts[0]
    print(f"erased {len(receipts)} in {first.seconds} s:")
    for where, what in first.erased.items():
        print(f"  {where}: {what}")
    print("what remains:")
    for remains in first.remains:
        print(f"  {remains.where}: {remains.what}; {receipt.until(remains)}")
    for _, path in receipts:
        note(f"receipt: {path}")


@consents.command()
def grant(visitor: Visitor) -> None:
    """Say for a visitor that personalization is wanted, from now on.

    \b
    Example:
      liveshelf consent grant s22240
    """
    _say(visitor, "granted")


@consents.command()
def withdraw(visitor: Visitor) -> None:
    """Say for a visitor that personalization isn't wanted: what is known goes, and the popularity list comes.

    \b
    Example:
      liveshelf consent withdraw s22240
    """
    _say(visitor, "withdrawn")


def _say(visitor: str, state: "State") -> None:
    import time

    from jobs.connect import consent_topic
    from jobs.contract import consent

    with _recorded(f"consent {state}", visitor):
        settings, running = _place("kafka")
        record = consent.Record(state, time.time_ns() // 1_000_000)
        consent_topic.send(running.kafka_bootstrap, settings.consent_topic, {visitor: record})
    note(f"{state}, in effect as soon as the jobs have read it")


@contextmanager
def _recorded(action: str, *visitors: str) -> "Iterator[None]":
    """Record an action in the audit log, under the names that receipts give people."""
    from jobs.operate import audit
    from jobs.person import receipt

    settings = load_settings()
    with audit.recorded(
        settings.state_dir, action, subjects=[receipt.subject(settings, visitor) for visitor in visitors]
    ):
        yield


def _place(*services: str) -> "tuple[Settings, Runtime]":
    from jobs.cluster import runtime

    settings = load_settings()
    return settings, runtime.attach(settings, services)
