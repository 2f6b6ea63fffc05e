"""Print what a shelf becomes: each rule as it is read, its class, and what it costs a list."""

from collections.abc import Iterator

from jobs.contract import shelf_plan as plan
from jobs.contract.shelf_plan import Class, Condition, Shelf, ShelfPlan
from jobs.errors import DefinitionError
from jobs.shelves.problems import nearest

# Measured with `python -m jobs.lab.bench.shelf_rules`; `jobs/shelves/README.md` says when and where.
COSTS: dict[Class, str] = {
    "N": "nothing a list: a vector for all items, made anew when facts change",
    "V": "about 0.5 to 6 µs a list for each comparison",
    "L": "about 5 to 65 µs a list, all such rules together",
    "S": "a scoring call of its own",
}


def explain(plan_: ShelfPlan, name: str) -> str:
    """Return a page on one shelf. Raises DefinitionError for an unknown one."""
    shelves = {shelf.name: shelf for shelf in plan_.shelves}
    if name not in shelves:
        near = nearest(name, shelves)
        hint = f"did you mean {near!r}?" if near else f"defined are {', '.join(shelves)}"
        raise DefinitionError(f"there is no shelf {name!r}", hint)
    shelf = shelves[name]
    rows = list(_rows(plan_, shelf))
    width = max(len(field) for field, _, _ in rows)
    lines = [f"{cost or ' '}  {field:{width}}  {text}" for field, text, cost in rows]
    classes: list[Class] = sorted({cost for _, _, cost in rows if cost}, key="NVLS".index)
    costs = [f"{cost}  {COSTS[cost]}" for cost in classes]
    return "\n".join(
        [f"{name}: {_head(shelf)}", "", *lines, "", "costs (estimates, until all of it was measured in a job)", *costs]
    )


def _head(shelf: Shelf) -> str:
    whose = {"visitor": "a list for each visitor", "item": "a list for each item"}.get(shelf.of, "")
    if shelf.of == "place":
        names = " and ".join(f"{each.of}.{each.name}" for each in shelf.place)
        whose = f"a list for each {names}" if names else "one list for everywhere"
    when = f"at each {', '.join(shelf.events)}" if shelf.events else "within a minute of a change"
    if shelf.every_ms:
        when = f"every {shelf.every_ms / 60_000:g} min"
    about = {"viewed": ", about the item in view", "cart": ", about the cart"}.get(shelf.about, "")
    return f"{whose}{about}, {when}; {shelf.size} items and {plan.SPARE} in reserve"


def _rows(plan_: ShelfPlan, shelf: Shelf) -> Iterator[tuple[str, str, Class | None]]:
    yield "take", " + ".join(map(_source, shelf.take)), None
    if plan_.gate:
        yield "gate", text(plan_.gate.condition), plan_.gate.cost
    if shelf.where:
        yield "where", text(shelf.where.condition) + " (the shop's)" * shelf.where_is_the_shops, shelf.where.cost
    for lift in shelf.lift:
        yield "lift", f"odds × {lift.factor:g} if {text(lift.rule.condition)}", lift.rule.cost
    if plan_.one_of:
        yield "one_of", f"the best of each item.{plan_.one_of}", "L"
    for rule in shelf.spread:
        where = f"of any {rule.within} neighbouring places" if rule.within else "of the list"
        yield "spread", f"at most {rule.n} {where} have one item.{rule.of}", "L"
    if shelf.mmr:
        by = ", ".join(f"item.{name}" for name in shelf.mmr.by)
        yield "spread", f"{shelf.mmr.weight:g} × score - {1 - shelf.mmr.weight:.2g} × likeness by {by}", "L"
    if shelf.explore:
        among = text(shelf.explore.among.condition)
        yield "explore", f"{100 * shelf.explore.share:g} % of the places, among {among}", "L"
    for pin in shelf.pins:
        who = f" if {text(pin.only)}" if pin.only else ""
        yield "pins", f"{pin.item!r} at place {pin.at}{who}", "L"
    if shelf.instead:
        yield "instead", f"below {shelf.least} items: {', '.join(shelf.instead)}", None


def _source(source: plan.Source) -> str:
    weight = f"{source.weight:g} × " if source.weight != 1 else ""
    match source.kind:
        case "together":
            return f"{weight}together with the {source.what} as {source.as_type}"
        case "trend":
            counted = ", ".join(f"{name} {value:g}" for name, value in source.weights.items())
            window, half = (ms / 3_600_000 for ms in (source.window_ms, source.half_life_ms))
            return f"{weight}trend of {counted} over {window:g} h, halved every {half:g} h"
        case "list":
            return f"{weight}visitor.{source.list}, newest first"
    return f"{weight}{source.kind}"


def text(condition: Condition) -> str:
    """Return a condition as shelves.py writes it."""
    match condition:
        case plan.Not(part):
            return f"~({text(part)})"
        case plan.All(parts):
            return " & ".join(f"({text(part)})" for part in parts) or "everything"
        case plan.Any(parts):
            return " | ".join(f"({text(part)})" for part in parts) or "nothing"
        case plan.Compare(op, left, right):
            return f"{_term(left)} {op} {_term(right)}"
        case plan.IsIn(term, values):
            held = f"({', '.join(map(repr, values.values))})" if isinstance(values, plan.Literals) else _term(values)
            return f"{_term(term)}.isin({held})"
        case plan.Holds(feature):
            return _term(feature)
    raise AssertionError(f"{condition} is no condition")


def _term(term: plan.Term) -> str:
    match term:
        case plan.Feature(of, name):
            return f"{of}.{name}"
        case plan.Scaled(factor, feature):
            return f"{factor:g} * {feature.of}.{feature.name}"
        case plan.Literals(values):
            return repr(values[0])
        case plan.Moment(0):
            return "now"
    return f"now {'-' if term.offset_ms < 0 else '+'} days({abs(term.offset_ms) / 86_400_000:g})"
