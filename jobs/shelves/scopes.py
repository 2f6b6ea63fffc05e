"""Say which features a shelf's rules may read, by whom it is for and what it is about."""

from collections.abc import Sequence

from jobs.contract.shelf_plan import Base
from jobs.shelves.conditions import ITEM, OTHERS, Scope
from liveshelf.shelves import words

GATE = Scope(
    ITEM,
    {
        base: ("the gate holds for everybody and everywhere, so it is about items only", "put this into `where`")
        for base in OTHERS
    },
)
NO_ANCHOR = ("this shelf is about no item", 'give it about="viewed", or of=item')
NO_BASKET = ("this shelf is about no cart", 'give it about="cart"')
NO_VISITOR = ("this list is nobody's, so it knows no visitor", "leave the visitor out, or make it a visitor's shelf")


def scope_of(shelf: words.Shelf) -> Scope:
    """Return the scope of a shelf's rules."""
    bases: list[Base] = ["item"]
    refusals: dict[Base, tuple[str, str]] = {}
    if shelf.of is None:
        bases.append("visitor")
    else:
        refusals["visitor"] = NO_VISITOR
    if shelf.about == "viewed" or shelf.of is words.item:
        bases.append("anchor")
    else:
        refusals["anchor"] = NO_ANCHOR
    if shelf.about == "cart":
        bases.append("basket")
    else:
        refusals["basket"] = NO_BASKET
    return Scope(bases, refusals)


def reads_beyond(bases: set[Base], scope: Scope) -> Sequence[Base]:
    """Return the bases that aren't in a scope."""
    return sorted(bases - set(scope.bases))
