"""Work out what a file of items, or one command, changes in the topics of item facts. Pure.

A record replaces the one before it as a whole. So what is said of an item is laid over what its topic knows already. An
item of which nothing changes isn't written again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from jobs.connect.fact_topics import Change, Known
from jobs.contract.items import Fact, FactContract, FactField, Fields, Refusal, Value, check
from jobs.errors import SettingsError
from jobs.files import numbers

Said = Mapping[str, Value | None]  # by field; None: not known any more
BOOLS = {"true": True, "1": True, "false": False, "0": False}


def changes(
    contracts: Sequence[FactContract],
    known: Mapping[str, Mapping[str, Known]],
    rows: Iterable[tuple[str, Said]],
) -> Iterator[Change]:
    """Yield the records that say what the rows say; `known` is by topic and item."""
    for item_id, said in rows:
        for contract in contracts:
            before = known[contract.topic].get(item_id)
            change = _change(contract, item_id, before.fields if before else None, said)
            if change:
                yield change


def _change(contract: FactContract, item_id: str, before: Fields | None, said: Said) -> Change | None:
    own = {field.name: said[field.name] for field in contract.fields if field.name in said}
    after = {name: given for name, given in ((before or {}) | own).items() if given is not None}
    if not own or after == (before or {}):
        return None
    return Change(contract.topic, item_id, after)


def fields_of(contracts: Sequence[FactContract]) -> dict[str, FactField]:
    """Return all fields by name. Of two topics with a field of one name the first one's counts."""
    fields: dict[str, FactField] = {}
    for contract in contracts:
        for field in contract.fields:
            fields.setdefault(field.name, field)
    return fields


def assignments(contracts: Sequence[FactContract], arguments: Sequence[str]) -> dict[str, Value | None]:
    """Read `--stock 0 --on-offer=true` as fields; an empty value says that it isn't known any more.

    Raises SettingsError for what names no field, or is no value of it.
    """
    fields, given = fields_of(contracts), dict[str, Value | None]()
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, text = argument.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if not argument.startswith("--") or name not in fields:
            raise SettingsError(f"{argument!r} is no field of an item", _nearest(name, fields))
        if not equals:
            if not rest:
                raise SettingsError(f"{argument} has no value", f'{argument} VALUE, or {argument} "" to take it away')
            text = rest.pop(0)
        given[name] = _value(fields[name], text)
    for contract in contracts:
        refusal = check(contract, given)
        if isinstance(refusal, Refusal):
            raise SettingsError(
                f"--{_option(refusal.field)} {given[refusal.field]!r} is refused ({refusal.reason})",
                f"liveshelf schema {contract.topic}",
            )
    return given


def _option(name: str) -> str:
    return name.replace("_", "-")


def _nearest(name: str, fields: Mapping[str, FactField]) -> str:
    near = get_close_matches(name, fields, n=1)
    meant = f"is --{_option(near[0])} meant? " if near else ""
    return f"{meant}there are {', '.join(f'--{_option(each)}' for each in fields)}"


def _value(field: FactField, text: str) -> Value | None:
    if text == "":
        return None
    if field.kind == "string":
        return text
    if field.kind == "bool":
        if text.lower() in BOOLS:
            return BOOLS[text.lower()]
        raise SettingsError(f"--{_option(field.name)} is {text!r}, neither true nor false", "write true or false")
    exact = numbers.number(text)
    if exact is None or (field.kind == "int" and exact != exact.to_integral_value()):
        kind = "a whole number" if field.kind == "int" else "a number"
        raise SettingsError(f"--{_option(field.name)} is {text!r}, not {kind}", numbers.fix(text))
    return int(exact) if field.kind == "int" else float(exact)


def merged(contracts: Sequence[FactContract], known: Mapping[str, Mapping[str, Known]]) -> Iterator[Fact]:
    """Yield all items by id, each with what all topics say of it, in the contracts' order."""
    for item_id in sorted({item_id for of_topic in known.values() for item_id in of_topic}):
        fields: Fields = {}
        for contract in contracts:
            one = known[contract.topic].get(item_id)
            said = one.fields if one else {}
            fields |= {field.name: said[field.name] for field in contract.fields if field.name in said}
        yield Fact(item_id, fields)
