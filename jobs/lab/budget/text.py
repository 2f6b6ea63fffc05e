"""Print a plan for a person. Pure."""

from collections.abc import Iterator, Sequence

from jobs.lab.budget.terms import DAY_S, Asked, Quantity, Term

LEAST = 0.005  # of a total; smaller terms are printed as one


def number(value: float) -> str:
    """Return a number with as many digits as it deserves."""
    return (
        f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}" if value >= 1 else f"{value:,.2g}"
    )


def lines(size: Asked, quantities: Sequence[Quantity]) -> Iterator[str]:
    """Yield what was asked, each quantity with its terms, and what isn't known."""
    yield (
        f"{size.visitors:,} visitors in 30 days, {size.daily_visitors:,} on the busiest day; at most "
        f"{number(size.events_per_s)} events/s, {number(size.daily_events)} on that day; {size.items:,} items; "
        f"{'all shipped shelves' if size.shelves else 'no shelves: one list a visitor'}"
    )
    if size.daily_events >= size.events_per_s * DAY_S or size.daily_visitors == size.visitors:
        yield "as if the rate never fell and everybody came each day: say --daily-events and --daily-visitors"
    for quantity in quantities:
        yield ""
        yield from _quantity(quantity)
    yield ""
    yield "measured:"
    yield from (f"  {origin}" for origin in dict.fromkeys(text for each in quantities for text in each.origins))
    yield "not known, because it was never measured: what several slots, machines and a network between them cost"


def _quantity(quantity: Quantity) -> Iterator[str]:
    yield f"{quantity.name}: {number(quantity.total)} {quantity.unit}"
    whole = sum(term.amount for term in quantity.terms)
    large = sorted((term for term in quantity.terms if term.amount >= LEAST * whole), key=lambda term: -term.amount)
    others = sum(term.amount for term in quantity.terms if term not in large)
    for term in large:
        yield _term(term, " ← drives it" if term.what == quantity.driver and len(large) > 1 else "")
    if others:
        yield _term(Term("the rest", others, f"{len(quantity.terms) - len(large)} of less than half a percent"), "")
    if quantity.total_how != "the sum":
        yield f"  = {quantity.total_how}"
    for name, times in quantity.beyond.items():
        yield f"  extrapolated: {number(times)} times the {name} that were measured"
    yield from (f"  {note}" for note in quantity.notes)


def _term(term: Term, mark: str) -> str:
    return f"  {number(term.amount):>9}  {term.what}: {term.how}{mark}"
