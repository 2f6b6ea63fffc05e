"""A reason in words, and as JSON."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from jobs.contract.printable import printable
from jobs.why.reasons import Because, Dropped, Reason, Why

VERBS = {
    "view": "viewed",
    "add_to_cart": "put into the cart",
    "remove_from_cart": "took out of the cart",
    "purchase": "bought",
    "search": "searched for",
    "click": "clicked",
    "rating": "rated",
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
INTERFACE = ("item", "place", "rank", "score", "parts", "because", "dropped_by")


def document(reason: Reason) -> Mapping[str, Any]:
    """Return what programs read."""
    fields = asdict(reason)
    return {name: fields[name] for name in INTERFACE}


def text(why: Why, reason: Reason) -> str:
    """Return one item's reason, in one line or two."""
    lines = [_head(why, reason)]
    if reason.because and reason.place:
        lines.append(f"  {_because(why, reason, reason.because)}")
    return "\n".join(lines)


def _head(why: Why, reason: Reason) -> str:
    item = _named(why, reason.item)
    if reason.place is None:
        assert reason.dropped_by is not None, "what isn't in a list was dropped"
        rank = "no source scores it" if reason.rank is None else f"{_th(reason.rank)} by score"
        return f"{item}: {rank}; dropped by {_dropped(reason.dropped_by)}"
    held = f"; dropped by gate at reading: {_fact(reason.dropped_by)}" if reason.dropped_by else ""
    if reason.why in ("pinned", "explored"):
        return f"{item}: {reason.why} at place {reason.place}{held}"
    if reason.score is None or why.verdict.how[reason.place - 1 :][:1] != ["own"]:
        return f"{item}: stands in at place {reason.place} ({reason.why}){held}"
    return f"{item}: score {reason.score:.2f} = {_sum(reason)}{held}"


def _sum(reason: Reason) -> str:
    """Return a score's parts as a sum."""
    sources = [f"{part['source']} {part['value']:.2f}" for part in reason.parts if "source" in part]
    lifts = [f"lift ln {part['factor']:g}" for part in reason.parts if "lift" in part]
    return " + ".join(sources + lifts)


def _because(why: Why, reason: Reason, because: Because) -> str:
    other = _named(why, because.item)
    if reason.why == "together" and because.place_without is None:
        return f"because it goes with {other}"
    verb = VERBS.get(because.event_type, because.event_type)
    told = f"because you {verb} {other} {_ago(because.clicks_ago)}"
    if because.place_without is None:
        return f"{told}: without it nothing would be known of you"
    return f"{told}: without that click it would stand at {because.place_without} (recomputed)"


def _dropped(dropped: Dropped) -> str:
    if dropped.rule == "score":
        return dropped.condition
    if not dropped.feature:
        return f"{dropped.rule}: {dropped.condition}"
    if dropped.rule in ("gate", "where"):
        return f"{dropped.rule}: {_fact(dropped)}"
    return f"{dropped.rule}: {dropped.condition}: {_fact(dropped)}"


def _fact(dropped: Dropped) -> str:
    value = "isn't known" if dropped.value is None else f"= {printable(dropped.value)}"
    where = ""
    if dropped.offset is not None and dropped.time_ms is not None:
        at = time.strftime("%H:%M:%S", time.gmtime(dropped.time_ms / 1000))
        where = f" ({dropped.topic}, partition {dropped.partition}, offset {dropped.offset}, {at})"
    elif dropped.topic:
        where = f" (no record in {dropped.topic})"
    rule = f" [{dropped.condition}]" if dropped.rule in ("gate", "where") and not _is_told(dropped) else ""
    return f"{dropped.feature} {value}{where}{rule}"


def _is_told(dropped: Dropped) -> bool:
    """Return True for a condition that its fact explains by itself, such as item.stock > 0."""
    return dropped.offset is not None and len(dropped.condition.split()) == 3


def _named(why: Why, item: str) -> str:
    name = why.name(item)
    return f'{printable(item)} "{printable(name)}"' if name else printable(item)


def _ago(clicks: int) -> str:
    if clicks == 0:
        return "just now"
    number = NUMBERS[clicks] if clicks < len(NUMBERS) else str(clicks)
    return f"{number} click{'s' * (clicks > 1)} ago"


def _th(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
