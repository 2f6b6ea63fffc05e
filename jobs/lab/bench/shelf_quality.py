"""Measure what rules cost in quality: next clicks of a real August that stand in lists, and how varied these are.

    python -m jobs.lab.bench.shelf_quality

Every click of a session of eshop2008 but its first is a question: was it in the list that the clicks before it gave?
The features of the visitor are zeros in all rows.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from jobs.catalogue.columns import Snapshot, Table
from jobs.contract.items import Fact, contracts
from jobs.contract.shelf_plan import AtMost, Mmr, Shelf, ShelfPlan, Source
from jobs.features.definitions import from_files
from jobs.features.lint import compiled as compiled_features
from jobs.lab.replay.catalogues import eshop2008
from jobs.lab.replay.sources import read
from jobs.operate.shelves import known_of, lint
from jobs.rankings.ranker import Ranker
from jobs.rankings.session import Session
from jobs.rankings.shelf_ranker import Question, ShelfRanker
from jobs.settings import REPOSITORY, Settings
from models.serving.bundle import Bundle, load_bundle

ESHOP = REPOSITORY / "models" / "artifacts" / "eshop"
SINCE_MS = 1_217_548_800_000  # 2008-08-01
GAP_MS = 1_800_000
BATCH, SIZE = 64, 20
SESSION = Source(kind="session")
ANCHOR = Source(kind="together", what="anchor", as_type="view")


class Next(NamedTuple):
    """A session's clicks, and the one that came next."""

    session: Session
    item: str


def questions(limit: int) -> Iterator[Next]:
    """Yield the clicks that are judged, in their order."""
    known: dict[str, Session] = {}
    for event in islice((each for each in read("eshop2008") if each["event_time_ms"] >= SINCE_MS), limit):
        visitor, item, time_ms = event["visitor_id"], event["item_id"], event["event_time_ms"]
        before = known.get(visitor)
        if before is None or time_ms - before.event_time_ms > GAP_MS:
            known[visitor] = Session([time_ms], ["view"], [item], frozenset())
            continue
        yield Next(before, item)
        times, items = [*before.event_times_ms, time_ms][-50:], [*before.items, item][-50:]
        known[visitor] = Session(times, ["view"] * len(items), items, frozenset())


def catalogue() -> Snapshot:
    of_items, of_offers = contracts("items", "offers")
    table = Table([of_items, of_offers])
    for item, fields in eshop2008():
        for contract in (of_items, of_offers):
            own = {each.name: fields[each.name] for each in contract.fields if fields.get(each.name) is not None}
            table.take(contract.topic, Fact(item, own))  # type: ignore[arg-type]
    return table.snapshot()


Lists = list[tuple[str, Sequence[str]]]  # the item that came next, and the list


def hits(lists: Lists) -> float:
    return sum(item in shown for item, shown in lists) / len(lists)


def variety(lists: Lists, snapshot: Snapshot) -> tuple[float, float]:
    """Return how many different categories and colours the first ten of a list have, on average."""
    found = []
    for name in ("category", "colour"):
        column = snapshot.columns[name]
        rows = [snapshot.places(shown[:10]).tolist() for _, shown in lists]
        found.append(float(np.mean([len({column.value(row) for row in each}) for each in rows])))
    return found[0], found[1]


def of_shelf(bundle: Bundle, plan: ShelfPlan, name: str, asked: Sequence[Next], snapshot: Snapshot) -> Lists:
    ranker, context = ShelfRanker(bundle, plan, snapshot), np.zeros(len(bundle.context_features), np.float32)
    size, found = plan.shelf(name).size, list[tuple[str, Sequence[str]]]()
    for begin in range(0, len(asked), BATCH):
        batch = asked[begin : begin + BATCH]
        made = ranker.make(
            [
                Question(each.session, context, {}, each.session.event_time_ms, f"{begin + place}")
                for place, each in enumerate(batch)
            ],
            {name: range(len(batch))},
        )[name]
        found += [(each.item, one.ranked.items[:size]) for each, one in zip(batch, made, strict=True)]
    return found


def main() -> None:
    bundle, snapshot, asked = load_bundle(ESHOP), catalogue(), list(questions(1_000_000))
    settings = Settings()
    features, _ = compiled_features(settings, from_files(settings))
    shipped, problems = lint(settings, known_of(settings, features))
    assert not [each for each in problems if not each.is_warning], problems

    def bare(**fields: object) -> Shelf:
        return Shelf(name="home", take=[SESSION], events=["view"], size=SIZE, **fields)  # type: ignore[arg-type]

    plans = {
        "home, no rule": ShelfPlan(shelves=[bare()]),
        "with the gate": ShelfPlan(gate=shipped.gate, shelves=[bare()]),
        "with AtMost(4 of a category in 10)": ShelfPlan(shelves=[bare(spread=[AtMost(4, "category", 10)])]),
        "with AtMost(2 of a category in 5)": ShelfPlan(shelves=[bare(spread=[AtMost(2, "category", 5)])]),
        "with Mmr(0.8, category and colour)": ShelfPlan(shelves=[bare(mmr=Mmr(0.8, ["category", "colour"]))]),
        "with Mmr(0.5, category and colour)": ShelfPlan(shelves=[bare(mmr=Mmr(0.5, ["category", "colour"]))]),
        "home as shipped": shipped,
    }
    today: Lists = []
    ranker = Ranker(bundle, SIZE)
    for begin in range(0, len(asked), BATCH):
        batch = asked[begin : begin + BATCH]
        contexts = np.zeros((len(batch), len(bundle.context_features)), np.float32)
        ranked = ranker.rank([each.session for each in batch], contexts)
        today += [(each.item, one.items) for each, one in zip(batch, ranked, strict=True)]
    rows: dict[str, Lists] = {"today's list": today} | {
        name: of_shelf(bundle, plan, "home", asked, snapshot) for name, plan in plans.items()
    }
    rows["popular"] = [(each.item, bundle.popular[:SIZE]) for each in asked]
    same = sum(one == other for one, other in zip(today, rows["home, no rule"], strict=True))
    print(f"{len(asked):,} next clicks; {same:,} lists without rules are today's")
    for name, lists in rows.items():
        categories, colours = variety(lists, snapshot)
        print(f"{name:36} {hits(lists):.4f}   categories {categories:.2f}   colours {colours:.2f}")
    size = shipped.shelf("product").size
    product = of_shelf(bundle, shipped, "product", asked, snapshot)
    similar = of_shelf(
        bundle,
        ShelfPlan(shelves=[Shelf(name="similar", take=[ANCHOR], events=["view"], about="viewed", size=size)]),
        "similar",
        asked,
        snapshot,
    )
    first: dict[str, Lists] = {
        "product": product,
        "similar": similar,
        "popular": [(each.item, bundle.popular[:size]) for each in asked],
    }
    for name, shown in first.items():
        print(f"first {size} of {name:27} {hits(shown):.4f}")


if __name__ == "__main__":
    main()
