"""Count what an edited file changes: lists, items, categories, prices, short lists, and clicks that would be lost."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from jobs.catalogue.columns import Snapshot
from jobs.contract.printable import printable
from jobs.contract.shelf_plan import ShelfPlan
from jobs.whatif.read import Clicks
from jobs.whatif.replay import Pair


@dataclass(frozen=True)
class Lost:
    """A click that the edited file would lose: the item stood at this place of the list."""

    visitor_id: str
    shelf: str
    list_id: str
    item: str
    place: int


@dataclass
class Side:
    """One side of the comparison, before or after."""

    categories: list[int] = field(default_factory=list)
    prices: list[float] = field(default_factory=list)
    short: int = 0
    clicked: int = 0

    def add(self, items: list[str], least: int, facts: "_Facts") -> None:
        self.categories.append(len({facts.value("category", item) for item in items} - {None}))
        self.prices += [price / 100 for item in items if (price := facts.value("price_minor", item)) is not None]
        self.short += len(items) < least


@dataclass
class Difference:
    """What became of so many lists. `not_compared` counts lists by the reason why they couldn't be made again."""

    lists: int = 0
    unchanged: int = 0
    kept: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    lost: list[Lost] = field(default_factory=list)
    clicks_are_told: bool = False
    not_compared: Counter[str] = field(default_factory=Counter)
    cost_us: float | None = None
    seconds: float = 0.0

    def add(self, pair: Pair, before: ShelfPlan | None, after: ShelfPlan, clicks: Clicks) -> None:
        """Count one list."""
        logged, shelf = pair.logged, after.shelf(pair.logged.shelf)
        old_size = len(logged.items) - logged.spare
        shown, new = logged.items[:old_size], pair.items[: shelf.size]
        facts = _Facts(pair.facts)
        least = next((each.least for each in before.shelves if each.name == logged.shelf), 0) if before else 0
        self.lists += 1
        self.unchanged += shown == new
        self.kept.append(len(set(shown) & set(new)))
        self.size.append(len(shown))
        self.before.add(shown, least, facts)
        self.after.add(new, shelf.least, facts)
        for item in clicks.of_list.get((logged.list_id, logged.visitor_id), ()):
            self.before.clicked += item in shown
            self.after.clicked += item in new
            if item in shown and item not in new:
                place = shown.index(item) + 1
                self.lost.append(Lost(logged.visitor_id, logged.shelf, logged.list_id, item, place))

    def document(self) -> Mapping[str, Any]:
        """Return what programs read."""
        return {
            "lists": self.lists,
            "unchanged": self.unchanged,
            "items_kept_median": _median(self.kept),
            "items_median": _median(self.size),
            "categories_a_list": {"before": _mean(self.before.categories), "after": _mean(self.after.categories)},
            "median_price": {"before": _median(self.before.prices), "after": _median(self.after.prices)},
            "under_least": {"before": self.before.short, "after": self.after.short},
            "clicks": {
                "are": "clicks that name the list" if self.clicks_are_told else "the visitor's next view",
                "before": self.before.clicked,
                "after": self.after.clicked,
                "lost": len(self.lost),
            },
            "cost_us": self.cost_us,
            "not_compared": dict(self.not_compared),
            "seconds": round(self.seconds, 2),
        }

    def text(self, show: bool = False) -> str:
        """Return it in words; with `show` each lost click."""
        if not self.lists:
            return "\n".join(["no list could be made again", *self._not_compared()])
        before, after = self.before, self.after
        unchanged = f"{self.lists:,} lists: {_percent(self.unchanged, self.lists)} unchanged"
        kept = f"{_median(self.kept):g} of {_median(self.size):g} items kept at the median"
        categories = f"categories a list {_mean(before.categories):.1f} → {_mean(after.categories):.1f}"
        prices = ""
        if before.prices and after.prices:
            prices = f"; median price {_median(before.prices):.2f} → {_median(after.prices):.2f}"
        lines = [f"{unchanged}, {kept}; {categories}{prices}", self._clicks() + self._short()]
        lines += self._not_compared()
        for each in self.lost if show else ():
            list_of = f"{printable(each.visitor_id)} {each.shelf} {printable(each.list_id)}"
            lines.append(f"lost: {list_of}: {printable(each.item)}, which stood at {each.place}")
        return "\n".join(lines)

    def _clicks(self) -> str:
        kind = "clicks that came" if self.clicks_are_told else "next views that the list had"
        clicked = self.before.clicked
        if not clicked:
            return f"{kind}: none"
        still = _percent(clicked - len(self.lost), clicked)
        return (
            f"{kind}: {still} still in the list; {len(self.lost):,} would be lost (--show), {self._gained():,} gained"
        )

    def _gained(self) -> int:
        return self.after.clicked - (self.before.clicked - len(self.lost))

    def _short(self) -> str:
        shares = [100 * side.short / self.lists for side in (self.before, self.after)]
        cost = f"; {round(self.cost_us):+d} µs a list" if self.cost_us is not None else ""
        return f"; {shares[0]:.1f} → {shares[1]:.1f} % under `least`{cost}"

    def _not_compared(self) -> list[str]:
        return [f"{count:,} lists weren't made again: {reason}" for reason, count in self.not_compared.items()]


class _Facts:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def value(self, name: str, item: str) -> Any:
        column, row = self._snapshot.columns.get(name), self._snapshot.rows.get(item)
        return column.value(row) if column is not None and row is not None and row < self._snapshot.size else None


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _median(values: list[int] | list[float]) -> float:
    return float(median(values)) if values else 0.0
