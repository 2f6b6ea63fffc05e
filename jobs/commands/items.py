"""items load, set, show, export, remove, dead: what the shop sells, and on what terms."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.commands.dead import Reason, broker, print_letters, print_replay
from jobs.commands.shared import AsJson, load_settings, note, print_json, print_json_line, print_table, say
from jobs.errors import DataError

if TYPE_CHECKING:
    from jobs.catalogue.change import Said
    from jobs.contract.items import FactContract

app = typer.Typer(
    help="The shop's items: what they are (topic items), and their price, stock and status (topic offers).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
dead = typer.Typer(rich_markup_mode=None)
app.add_typer(dead, name="dead")
Item = Annotated[str, typer.Argument(metavar="ID", help="The item's id, as events name it.")]
FREE = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}


@app.command()
def load(
    source: Annotated[str, typer.Argument(help="A CSV, TSV, JSON lines or Parquet file; or eshop2008.")],
    mapping: Annotated[Path | None, typer.Option(help="TOML that says what a file's columns mean.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write what a file says of the shop's items. Nothing is written unless each row can be right.

    A file decides the columns that it has: an empty value takes the one away that was known, and what the file has no
    column for stays. Items that it doesn't name stay, too. Of an item that is as it was nothing is written.

    \b
    Examples:
      liveshelf items load eshop2008
      liveshelf items load products.csv --mapping products.toml
      liveshelf items load stock.jsonl --dry-run
    """
    from jobs.catalogue import load as loading
    from jobs.lab.replay.catalogues import MADE_UP
    from jobs.operate import audit

    contracts = contracts_of_shop()
    rows = sum(1 for _ in rows_of(source, mapping, contracts))  # before anything is asked or written: each is checked
    settings, bootstrap = broker()
    with audit.recorded_unless(dry_run, settings.state_dir, "items load", source=source) as outcome:
        written = loading.load(bootstrap, contracts, rows_of(source, mapping, contracts), dry_run)
        outcome["written"] = dict(written)
    if as_json:
        return print_json({"items": rows, "written": dict(written)})
    told = ", ".join(f"{count:,} to {topic}" for topic, count in written.items())
    say(f"{rows:,} items; records {'that would be ' * dry_run}written: {told}")
    if not Path(source).is_file():
        note(MADE_UP)


def rows_of(source: str, mapping: Path | None, contracts: "list[FactContract]") -> "Iterator[tuple[str, Said]]":
    """Yield what a file, or a recorded shop's catalogue, says of each item."""
    from jobs.files import items
    from jobs.lab.replay.catalogues import CATALOGUES

    if Path(source).is_file():
        for row in items.read(Path(source), contracts, mapping):
            yield row.item_id, row.fields
    elif source in CATALOGUES:
        yield from CATALOGUES[source]()
    else:
        raise DataError(
            f"{source!r} is neither a shop's catalogue nor a file", f"one of {', '.join(CATALOGUES)}, or a path"
        )


@app.command("set", context_settings=FREE)
def set_fields(context: typer.Context, item_id: Item, as_json: AsJson = False) -> None:
    """Change some of what is known of an item, such as its stock. An empty value takes away what was known.

    The fields are those of `liveshelf schema items --table` and `liveshelf schema offers --table`.

    \b
    Examples:
      liveshelf items set 4711 --stock 0
      liveshelf items set 4711 --price-minor 2990 --on-offer true --category ""
    """
    from jobs.catalogue.change import assignments
    from jobs.catalogue.load import say_of
    from jobs.operate import audit

    contracts = contracts_of_shop()
    _check_id(item_id)
    said = assignments(contracts, context.args)
    if not said:
        raise DataError(f"nothing is said of item {item_id!r}", "name a field: --stock 0")
    settings, bootstrap = broker()
    with audit.recorded(settings.state_dir, "items set", item=item_id, **said) as outcome:
        made = say_of(bootstrap, contracts, item_id, said)
        outcome["written"] = len(made)
    if as_json:
        return print_json({"item_id": item_id, "written": {change.topic: change.fields for change in made}})
    for change in made:
        say(f"{change.topic}: {_told(change.fields or {})}")
    if not made:
        note(f"item {item_id} is so already")


@app.command()
def show(item_id: Item, as_json: AsJson = False) -> None:
    """Print what is known of an item, and which records said it.

    \b
    Examples:
      liveshelf items show 4711
      liveshelf items show 4711 --json
    """
    from jobs.connect import fact_topics
    from jobs.operate.facts import contracts_of

    _check_id(item_id)
    _, bootstrap = broker()
    contracts = contracts_of(load_settings())
    known = {contract.topic: fact_topics.read_one(bootstrap, contract, item_id) for contract in contracts}
    if not any(known.values()):
        raise DataError(f"nothing is known of item {item_id!r}", "liveshelf items export lists all")
    if as_json:
        found = {topic: one._asdict() for topic, one in known.items() if one}
        return print_json({"item_id": item_id, "topics": found})
    for topic, one in known.items():
        if one:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one.time_ms / 1000))
            say(f"{topic} (partition {one.partition}, offset {one.offset}, {at} UTC): {_told(one.fields)}")
        else:
            say(f"{topic}: nothing")


def _told(fields: "dict[str, Any]") -> str:
    import msgspec

    return ", ".join(f"{name} {msgspec.json.encode(value).decode()}" for name, value in fields.items())


@app.command()
def export(as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of CSV.")] = False) -> None:
    """Print all items with everything that is known of them, as `items load` reads them again.

    \b
    Examples:
      liveshelf items export > items.csv
      liveshelf items export --json | jq 'select(.stock == 0) | .item_id'
    """
    from jobs.catalogue.change import fields_of, merged
    from jobs.connect import fact_topics
    from jobs.contract.items import ID

    contracts = contracts_of_shop()
    _, bootstrap = broker()
    facts = merged(contracts, {contract.topic: fact_topics.read(bootstrap, contract) for contract in contracts})
    if as_json:
        for fact in facts:
            print_json_line({ID: fact.item_id} | (fact.fields or {}))
        return
    print_table([ID, *fields_of(contracts)], ({ID: fact.item_id} | _in_csv(fact.fields or {}) for fact in facts))


def _in_csv(fields: "dict[str, Any]") -> "dict[str, Any]":
    """Return fields as a table has them: Python writes True, other programs write true."""
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in fields.items()}


@app.command()
def remove(
    item_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="The items' ids.")], as_json: AsJson = False
) -> None:
    """Take items out of the catalogue: nothing is known of them any more. Their clicks stay.

    \b
    Example:
      liveshelf items remove 4711 4712
    """
    from jobs.connect import fact_topics
    from jobs.connect.fact_topics import Change
    from jobs.operate import audit

    for item_id in item_ids:
        _check_id(item_id)
    contracts = contracts_of_shop()
    settings, bootstrap = broker()
    topics = [contract.topic for contract in contracts]
    tombstones = [Change(topic, item_id, None) for topic in topics for item_id in item_ids]
    with audit.recorded(settings.state_dir, "items remove", items=item_ids) as outcome:
        outcome["written"] = fact_topics.send(bootstrap, topics, tombstones, time.time_ns() // 1_000_000)
    if as_json:
        return print_json({"removed": item_ids})
    say(f"{len(item_ids):,} items removed")


@dead.callback(invoke_without_command=True)
def letters(ctx: typer.Context) -> None:
    """Records of items that were refused: list them by reason, look at one, send them again after a fix.

    \b
    Examples:
      liveshelf items dead
      liveshelf items dead show offers/0-42
      liveshelf items dead replay --reason wrong_type --field stock --set stock=0
    """
    if ctx.invoked_subcommand is None:
        list_letters()


@dead.command("list")
def list_letters(reason: Reason = "", as_json: AsJson = False) -> None:
    """Count refused records by reason and field; with --reason, list their places for `items dead show`.

    \b
    Examples:
      liveshelf items dead list
      liveshelf items dead list --reason wrong_type
    """
    from jobs.operate.dead_letters import read_letters
    from jobs.operate.fact_letters import FactLetter

    settings, bootstrap = broker()
    found = read_letters(bootstrap, settings.items_dead_topic, FactLetter, reason)
    print_letters(found, "records", bool(reason), as_json)


@dead.command("show")
def show_letter(
    place: Annotated[str, typer.Argument(metavar="TOPIC/PARTITION-OFFSET", help="The record's place.")],
    as_json: AsJson = False,
) -> None:
    """Print one refused record: why, where it came from, and its bytes as they were.

    \b
    Example:
      liveshelf items dead show offers/0-42
    """
    from jobs.operate import dead_letters
    from jobs.operate.fact_letters import FactLetter

    settings, bootstrap = broker()
    found = dead_letters.read_letters(bootstrap, settings.items_dead_topic, FactLetter)
    letter = dead_letters.find(found, place, "`liveshelf items dead list --reason R` prints the places")
    print_json(letter) if as_json else say(dead_letters.told(letter))


@dead.command("replay")
def replay_letters(
    reason: Reason = "",
    field: Annotated[str, typer.Option(help="Only those refused because of this field.")] = "",
    set_field: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Correct a field first; may be repeated.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="FIELD", help="Leave a field out; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send refused records again that the contract takes now. One whose item has a newer record stays where it is.

    \b
    Examples:
      liveshelf items dead replay --reason wrong_type --field stock --set stock=0
      liveshelf items dead replay --reason too_long --field title --drop title --dry-run
    """
    from jobs.connect import fact_topics
    from jobs.operate import audit, fact_letters
    from jobs.operate.dead_letters import Fix, read_letters

    fix, contracts = Fix.of(set_field or [], drop or []), contracts_of_shop()
    settings, bootstrap = broker()
    told = {"reason": reason, "field": field, "set": sorted(fix.values), "drop": sorted(fix.dropped)}
    topics = [contract.topic for contract in contracts]
    with audit.recorded_unless(dry_run, settings.state_dir, "items dead replay", **told) as outcome:
        of_reason = read_letters(bootstrap, settings.items_dead_topic, fact_letters.FactLetter, reason)
        chosen = [letter for letter in of_reason if not field or letter.field == field]
        ready, refused = fact_letters.check_again(chosen, fix, contracts, fact_letters.newest(bootstrap, topics))
        if not dry_run:
            outcome["sent"] = fact_topics.send(bootstrap, topics, ready, time.time_ns() // 1_000_000)
    print_replay(len(chosen), len(ready), refused, dry_run, as_json, to="")


def contracts_of_shop() -> "list[FactContract]":
    """Return the contracts of what the shop says itself. How items trend, the rankings job says."""
    from jobs.operate.facts import contracts_of

    settings = load_settings()
    return [contract for contract in contracts_of(settings) if contract.topic != settings.trends_topic]


def _check_id(item_id: str) -> None:
    """Raise DataError for a text that is no item's id."""
    from jobs.contract.items import id_reason

    if reason := id_reason(item_id):
        raise DataError(f"{item_id!r} is no item's id ({reason})", "give the id as events name it")
