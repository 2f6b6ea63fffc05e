"""Find mistakes between shelves: names, circles of `instead`, and lists that can't stand in."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from jobs.contract.shelf_plan import Shelf
from jobs.shelves.problems import Problems, nearest

GATE = "gate"  # `shelf:gate` is a key of its own


def check(shelves: Sequence[Shelf], problems: Problems) -> None:
    by_name = {shelf.name: shelf for shelf in shelves}
    for name in by_name:
        count = sum(shelf.name == name for shelf in shelves)
        if count > 1:
            problems.at(name, "name").add(f"{count} shelves have it", "give each a name of its own")
    if GATE in by_name:
        problems.at(GATE, "name").add("is the key of the gate itself", "choose another name")
    for shelf in by_name.values():
        for name in shelf.instead:
            _check_one(shelf, name, by_name, problems.at(shelf.name, "instead"))
    _check_circle(by_name, problems)


def _check_one(shelf: Shelf, name: str, by_name: dict[str, Shelf], problems: Problems) -> None:
    other = by_name.get(name)
    if other is None:
        near = nearest(name, by_name)
        problems.add(f"there is no shelf {name!r}", f"did you mean {near!r}?" if near else "define it, or leave it out")
    elif name == shelf.name:
        problems.add("a shelf can't stand in for itself", "leave it out")
    elif other.of == "visitor" and shelf.of != "visitor":
        problems.add(f"{name!r} is a visitor's, and this list is nobody's", "name an item's or a place's shelf")
    elif other.of == "item" and shelf.of != "item" and shelf.about != "viewed":
        problems.add(f"{name!r} is an item's, and this shelf is about no item", 'give it about="viewed"')
    elif other.of == "place" and shelf.of != "visitor" and any(each.of == "visitor" for each in other.place):
        problems.add(f"{name!r} is found by the visitor, and this list is nobody's", "name a place without a visitor")
    elif other.about and other.about != shelf.about:
        problems.add(f"{name!r} is about {other.about!r}, and this shelf isn't", f"give it about={other.about!r}")


def _check_circle(by_name: dict[str, Shelf], problems: Problems) -> None:
    graph = {
        name: {other for other in shelf.instead if other in by_name and other != name}
        for name, shelf in by_name.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # graphlib names each before the one that needs it
        circle = list(reversed(error.args[1]))
        problems.at(circle[0], "instead").add(
            f"leads back to itself: {' → '.join(circle)}", f"take {circle[1]!r} out of `instead` of {circle[0]!r}"
        )
