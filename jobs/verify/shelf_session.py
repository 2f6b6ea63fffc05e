"""What a session says to shelves: the item in view, the cart, and the visitor's features that come from it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.contract import shelf_plan as plan
from jobs.contract.events import Event

ADDED, REMOVED, BOUGHT = "add_to_cart", "remove_from_cart", "purchase"


def viewed(events: Sequence[Event]) -> str | None:
    """Return the item of the newest view that has one."""
    views = [event["item_id"] for event in events if event["event_type"] == "view" and event.get("item_id")]
    return views[-1] if views else None


def cart(events: Sequence[Event]) -> list[str]:
    """Return the items that were added and not removed or bought since, in the order of their last adding."""
    held: dict[str, None] = {}
    for event in events:
        item, kind = event.get("item_id"), event["event_type"]
        if item and kind in (ADDED, REMOVED, BOUGHT):
            held.pop(item, None)
            if kind == ADDED:
                held[item] = None
    return list(held)


def features(events: Sequence[Event]) -> dict[str, list[str]]:
    """Return the visitor's features that a session gives."""
    return {
        "session_items": [event["item_id"] for event in events if event.get("item_id")],
        "session_purchases": [event["item_id"] for event in events if event["event_type"] == BOUGHT],
    }


def visitor(
    wanted: Sequence[plan.VisitorFeature],
    events: Sequence[Event],
    logged: Mapping[str, Any],
    of_model: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the visitor's features that rules read: the session's, the model's, the logged ones, and defaults."""
    of_session = {**features(events), **of_model}
    given = {each.name: logged.get(each.name, each.default) for each in wanted}
    return given | {each.name: of_session[each.name] for each in wanted if not each.view}


def about(shelf: plan.Shelf, events: Sequence[Event]) -> list[str]:
    """Return the items that a list is about."""
    if shelf.about == "cart":
        return cart(events)
    item = viewed(events) if shelf.about == "viewed" else None
    return [item] if item else []
