"""Lists of shelves, by hand: after item i the ladder model (see conftest) lists i, i+1, … with scores 5, 4, 3, 2, 1."""

import math
from typing import Any

import numpy as np
import pytest

from jobs.catalogue import columns
from jobs.catalogue.columns import Table
from jobs.contract import shelf_plan as plan
from jobs.contract.items import Fact, FactContract, FactField
from jobs.contract.shelf import WHY_INSTEAD, WHYS
from jobs.contract.shelf_plan import Compare, Feature, Lift, Literals, Pin, Rule, Shelf, ShelfPlan, Source
from jobs.rankings.candidates.session_model import SessionModel
from jobs.rankings.lists import ListsOfShelves
from jobs.rankings.session import Session
from jobs.rankings.shelf_ranker import Made, Question, ShelfRanker, basket
from tests.unit.rankings.conftest import LadderBundle
from tests.unit.rankings.test_ranker import session

CONTRACT = FactContract(
    "facts",
    (
        FactField(name="stock", kind="int"),
        FactField(name="category", kind="string"),
        FactField(name="trend", kind="float"),
        FactField(name="trend_category_visitors", kind="int"),
    ),
)
STOCK = Feature("item", "stock", "int")
IN_STOCK = Rule(Compare(">", STOCK, Literals([0])), "N")
NOT_ANCHOR = Rule(Compare("!=", Feature("item", "id", "string"), Feature("anchor", "id", "string")), "V")
SESSION = Source(kind="session")
ANCHOR = Source(kind="together", what="anchor", as_type="view")
POPULAR = Shelf(name="popular", of="place", take=[Source(kind="popular")], size=5)
NOW_MS = 1_700_000_100_000


def shelf(name: str = "home", **fields: Any) -> Shelf:
    return Shelf(name=name, **{"take": [SESSION], "size": 5, "events": ["view"]} | fields)


def ranker(ladder, *shelves: Shelf, stock: dict[str, int] | None = None, **shop: Any) -> ShelfRanker:
    table = Table([CONTRACT])
    for item, number in (stock or {}).items():
        table.take("facts", Fact(item, {"stock": number, "category": "even" if item in "bd" else "odd"}))
    return ShelfRanker(ladder, ShelfPlan(shelves=list(shelves), **shop), table.snapshot())


def question(*events: str, **fields: Any) -> Question:
    return Question(session(*events), np.zeros(1, np.float32), {}, NOW_MS, "0-1")._replace(**fields)


def only(made: dict[str, list[Made]], name: str = "home") -> Any:
    (one,) = made[name]
    return one.ranked


def test_the_sessions_list_is_the_models_with_its_reasons(ladder) -> None:
    """b, c and d follow b; e and a do too, as the ladder lists all five."""
    ranked = only(ranker(ladder, shelf()).make([question("view a", "view b")], {"home": [0]}))

    assert (ranked.items, ranked.scores) == (["b", "c", "d", "e", "a"], [5, 4, 3, 2, 1])
    assert (ranked.fallback, ranked.session_items) == (None, ["a", "b"])
    assert ranked.shelf.why == [WHYS.index("session")] * 5
    assert [ranked.shelf.seen[place] for place in ranked.shelf.because] == ["b"] * 5


class Divided(LadderBundle):
    """A ladder whose visitors are in segment 1 after b, and in 0 after any other item."""

    def score_with(self, outputs, *inputs, k, bias=None):
        items, _, _, lengths, _ = inputs
        last = items[np.arange(len(items)), lengths - 1]
        return *self.score(*inputs, k=k, bias=bias), *((last == 2).astype(np.int64) for _ in outputs)


@pytest.mark.parametrize("take", [SESSION, Source(kind="popular")], ids=["of the session", "that asks no model"])
def test_a_rule_may_read_the_visitors_segment(take) -> None:
    """Item e is for segment 1 alone. A visitor of whom nothing is known, or may be, is in none."""
    is_e = Compare("==", Feature("item", "id", "string"), Literals(["e"]))
    in_segment_1 = Compare("==", Feature("visitor", "segment", "int"), Literals([1]))
    one = shelf(take=[take], where=Rule(plan.Any([plan.Not(is_e), in_segment_1]), "V"), instead=["popular"], least=1)
    segment = plan.VisitorFeature("segment", "", "int", -1)
    questions = [question("view a"), question("view b"), question("view ?"), question("view -", is_anonymous=True)]
    made = ranker(Divided(segments=("other", "after b")), one, POPULAR, visitor=[segment]).make(
        questions, {"home": [0, 1, 2, 3]}
    )["home"]
    assert [each.visitor["segment"] for each in made] == [0, 1, -1, -1]
    assert ["e" in each.ranked.items for each in made] == [False, True, False, False]


def test_a_model_without_segments_puts_nobody_into_one(ladder) -> None:
    """A logged segment of another model doesn't count either."""
    segment = plan.VisitorFeature("segment", "", "int", -1)
    asked = question("view b", features={"segment": 1})
    (made,) = ranker(ladder, shelf(), visitor=[segment]).make([asked], {"home": [0]})["home"]
    assert made.visitor == {"segment": -1}


def test_two_sources_add_their_weighted_scores(ladder) -> None:
    """The anchor is a: a 5, b 4, c 3, d 2, e 1. The session ends with a cart of c: c 5, d 4, e 3, a 2, b 1."""
    ladder.type_index["add_to_cart"] = 3
    one = shelf("product", about="viewed", take=[ANCHOR, Source(kind="session", weight=0.5)], where=NOT_ANCHOR)
    ranked = only(ranker(ladder, one).make([question("view a", "add_to_cart c")], {"product": [0]}), "product")

    assert dict(zip(ranked.items, ranked.scores, strict=True)) == {"c": 5.5, "b": 4.5, "d": 4.0, "e": 2.5}
    assert ranked.items == ["c", "b", "d", "e"]
    assert (ranked.shelf.about, ranked.shelf.seen) == (["a"], ["a"])
    assert set(ranked.shelf.why) == {WHYS.index("together")}


def test_a_lift_brings_an_item_into_the_list(ladder) -> None:
    """ln 20 is a little less than 3: b has 3 and comes first, d has 1 and comes just behind the 4 of a."""
    lift = Lift(Rule(Compare("==", Feature("item", "category", "string"), Literals(["even"])), "N"), 20.0)
    stock = dict.fromkeys("abcde", 1)
    ranked = only(ranker(ladder, shelf(size=2, lift=[lift]), stock=stock).make([question("view e")], {"home": [0]}))

    assert ranked.items == ["b", "e", "a", "d", "c"]
    assert ranked.scores == pytest.approx([3 + math.log(20), 5, 4, 1 + math.log(20), 2], abs=1e-6)
    whys = ("lifted_in", "session", "session", "lifted_in", "session")
    assert ranked.shelf.why == [WHYS.index(why) for why in whys]
    assert ranked.shelf.spare == 3


def test_what_the_gate_drops_is_nowhere(ladder) -> None:
    """A pin and what stands in are gated, too; an item of which no fact is known isn't in stock."""
    one = shelf(pins=[Pin("b", 1), Pin("z", 2)], least=5, instead=["popular"])
    stock = {"a": 1, "b": 0, "c": 2, "z": 9}
    ranked = only(ranker(ladder, one, POPULAR, stock=stock, gate=IN_STOCK).make([question("view c")], {"home": [0]}))

    assert ranked.items == ["c", "z", "a"]
    assert ranked.shelf.why == [WHYS.index(why) for why in ("session", "pinned", "session")]
    assert ranked.shelf.is_wide


def test_half_of_the_reserve_may_stay_empty(ladder) -> None:
    """Five items are enough for a list of one and half of its reserve of eight, and too few for a list of two."""
    made = [only(ranker(ladder, shelf(size=size)).make([question("view b")], {"home": [0]})) for size in (1, 2)]

    assert [len(ranked.items) for ranked in made] == [5, 5]
    assert [ranked.shelf.is_wide for ranked in made] == [False, True]


def test_an_anonymous_visitor_gets_what_stands_in(ladder) -> None:
    one = shelf(least=2, instead=["popular"])
    nobody = question("view a", session=Session.nothing(NOW_MS), is_anonymous=True)
    ranked = only(ranker(ladder, one, POPULAR).make([nobody], {"home": [0]}))

    assert (ranked.items, ranked.fallback) == (["e", "d", "c", "b", "a"], "no_consent")
    assert ranked.shelf.why == [WHY_INSTEAD + WHYS.index("popular")] * 5


def test_a_score_that_isnt_a_number_is_no_list(ladder) -> None:
    ladder.broken_after = 2
    one = shelf(least=2, instead=["popular"])
    broken, whole = ranker(ladder, one, POPULAR).make([question("view b"), question("view c")], {"home": [0, 1]})[
        "home"
    ]

    assert (broken.ranked.fallback, broken.ranked.items) == ("model_error", ["e", "d", "c", "b", "a"])
    assert whole.ranked.items == ["c", "d", "e", "a", "b"]


def test_all_shelves_of_an_event_share_one_call(eshop, monkeypatch) -> None:
    lengths = []

    def candidates(self, batch, *arguments):
        lengths.append(batch.lengths.tolist())
        return asked(self, batch, *arguments)

    asked = SessionModel.candidates
    monkeypatch.setattr(SessionModel, "candidates", candidates)
    shelves = [shelf(), shelf("mail", size=3)]
    one = question("view A13", "view A16", "view B4")._replace(context=np.zeros(4, np.float32))
    made = ranker(eshop, *shelves).make([one], {"home": [0], "mail": [0]})

    assert lengths.count([3]) == 1
    assert only(made, "mail").items == only(made).items[:11]


def test_a_visitors_own_items_come_newest_first(ladder) -> None:
    visitor = [plan.VisitorFeature("session_items", "", "strings", [])]
    recent = shelf("recent", take=[Source(kind="list", list="session_items")])
    made = ranker(ladder, recent, visitor=visitor).make([question("view a", "view b", "view a")], {"recent": [0]})

    assert only(made, "recent").items == ["a", "b"]
    assert made["recent"][0].visitor == {"session_items": ["a", "b", "a"]}


def test_an_items_list_is_what_goes_with_it(ladder) -> None:
    similar = shelf("similar", of="item", events=[], take=[ANCHOR], where=NOT_ANCHOR)
    ranked = only(ranker(ladder, similar).make([question("view a", item="d")], {"similar": [0]}), "similar")

    assert (ranked.items, ranked.scores) == (["e", "a", "b", "c"], [4, 3, 2, 1])
    assert (ranked.shelf.about, ranked.shelf.because) == (["d"], [0, 0, 0, 0])


def test_a_places_list_holds_the_items_of_the_place(ladder) -> None:
    of_category = shelf(
        "top", of="place", events=[], place=[Feature("item", "category", "string")], take=[Source(kind="popular")]
    )
    made = ranker(ladder, of_category, stock=dict.fromkeys("abcde", 1))

    assert made.places(of_category) == [("even",), ("odd",)] or made.places(of_category) == [("odd",), ("even",)]
    ranked = only(made.make([question("view a", place=("even",))], {"top": [0]}), "top")
    assert ranked.items == ["d", "b"]


def test_the_trends_of_everywhere_stand_in_for_a_places(ladder) -> None:
    """b and d are of the place. The list without a place has them too, and what else trends behind them."""
    trend = {"events": [], "of": "place", "take": [Source(kind="trend")]}
    of_category = shelf("top", place=[Feature("item", "category", "string")], least=5, instead=["trending"], **trend)
    table = Table([CONTRACT])
    for number, item in enumerate("abcd"):
        known = {"trend": 1.0 + number, "trend_category_visitors": 20, "category": "even" if item in "bd" else "odd"}
        table.take("facts", Fact(item, known))
    made = ShelfRanker(ladder, ShelfPlan(shelves=[of_category, shelf("trending", **trend)]), table.snapshot())
    ranked = only(made.make([question("view a", place=("even",))], {"top": [0]}), "top")

    assert ranked.items == ["d", "b", "c", "a"]
    assert ranked.shelf.why == [WHYS.index("trend")] * 2 + [WHY_INSTEAD + WHYS.index("trend")] * 2


def test_items_that_are_gone_take_no_room(ladder, monkeypatch) -> None:
    """What only the facts knew comes behind the bundle's items. The catalogue drops rows where many are in vain."""
    monkeypatch.setattr(columns, "SPARE", 0)
    table = Table([CONTRACT])
    for item in "xyz":
        table.take("facts", Fact(item, {"stock": 1}))
    made = ShelfRanker(ladder, ShelfPlan(shelves=[shelf()]), table.snapshot())
    table.take("facts", Fact("w", {"stock": 1}))
    made.take(table.snapshot())
    assert list(made.items.ids) == [*"abcdexyzw"]
    for item in "xyz":
        table.take("facts", Fact(item, None))
    made.take(table.snapshot())
    assert list(made.items.ids) == [*"abcdew"]


def test_a_cart_holds_what_was_neither_removed_nor_bought() -> None:
    of = session("add_to_cart a", "add_to_cart b", "view c", "add_to_cart d", "remove_from_cart b", "purchase a")
    assert basket(of) == ["d"]


def test_the_newest_row_that_asks_for_a_list_is_answered(ladder) -> None:
    shelves = [shelf(events=["view", "add_to_cart"]), shelf("cart", events=["add_to_cart"])]
    lists = ListsOfShelves(ShelfPlan(shelves=shelves), ranker(ladder, *shelves))

    visitors, types = ["v", "v", "w", "v"], ["add_to_cart", "view", "search", "view"]
    assert lists.wanted(visitors, types, [None] * 4) == {0: ["cart"], 3: ["home"]}
    assert lists.wanted(["v", "v"], ["view", None], [None, "withdrawn"]) == {1: ["home", "cart"]}
    assert lists.wanted(["v", "v"], [None, "view"], ["withdrawn", "no_consent"]) == {1: ["home"], 0: ["cart"]}
