"""Why an item stands where it stands, and which rule keeps another out: a shop of ten items, by hand."""

from typing import Any

import msgspec
import numpy as np
import pytest

from jobs.connect.kafka_read import Record
from jobs.contract import shelf_plan as plan
from jobs.contract.items import FactContract, FactField
from jobs.contract.shelf import ShelfValue
from jobs.contract.shelf_plan import AtMost, Feature, Lift, Pin, Rule, Shelf, ShelfPlan, Source
from jobs.errors import DataError
from jobs.verify.fact_history import FactHistory
from jobs.verify.shelf_candidates import Oracle
from jobs.verify.shelf_check import question_of
from jobs.verify.shelf_lists import Steps
from jobs.verify.shelf_log import LogRecord
from jobs.verify.shelf_sources import Sources
from jobs.why import tell
from jobs.why.find import Found
from jobs.why.reasons import Dropped, Why

NOW_MS = 1_000_000
ITEMS = "abcdefghij"
OFFERS = FactContract(
    "offers",
    (
        FactField(name="stock", kind="int"),
        FactField(name="category", kind="string", max_length=9),
        FactField(name="group_id", kind="string", max_length=9),
        FactField(name="on_offer", kind="bool"),
        FactField(name="title", kind="string", max_length=99, is_shown_only=True),
    ),
)


class TenItems:
    """Scores a with 10, b with 9 and so on, and 5 more for each event of the item before: b after a, c after b."""

    def __init__(self) -> None:
        self.version, self.popular, self.names = "ten", ["a"], dict[str, str]()
        self.context_features, self.items = list[str](), ["", *ITEMS]
        self.item_index = {item: number for number, item in enumerate(ITEMS, 1)}
        self.type_index = {"view": 1, "purchase": 2}
        self.words = None

    def score(self, items, types, gaps, lengths, context, k=100, bias=None):
        totals = np.tile(np.arange(10, 0, -1, dtype=np.float32), (len(items), 1))
        for row, sequence in enumerate(items):
            for item in sequence[sequence > 0]:
                totals[row, item % 10] += 5
        totals = totals if bias is None else totals + bias
        order = np.argsort(-totals, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(totals, order, axis=1), order + 1


STOCK, CATEGORY = Feature("item", "stock", "int"), Feature("item", "category", "string")
IN_STOCK = Rule(plan.Compare(">", STOCK, plan.Literals([0])), "N")
BOUGHT = plan.IsIn(Feature("item", "id", "string"), Feature("visitor", "session_purchases", "strings"))
ON_OFFER = Rule(plan.Holds(Feature("item", "on_offer", "bool")), "N")
VISITOR = [plan.VisitorFeature("session_purchases", "", "strings", [])]


def record(offset: int, item: str, **fields: Any) -> Record:
    return Record(0, offset, NOW_MS + offset, item.encode(), msgspec.json.encode(fields))


def explained(
    shelf: Shelf,
    *clicks: tuple[str, str],
    facts: tuple[Record, ...] = (),
    later: tuple[Record, ...] = (),
    gate: Rule | None = None,
    one_of: str = "",
) -> Why:
    """Explain the list that the rules make of these clicks; `later` are facts that came after it."""
    shop = ShelfPlan(gate=gate, one_of=one_of, shelves=[shelf], visitor=VISITOR)
    sources = Sources(shop, TenItems(), FactHistory({OFFERS: [*facts, *later]}, NOW_MS))
    events = [
        {"event_type": kind, "item_id": item, "event_time_ms": number, "event_id": str(number)}
        for number, (kind, item) in enumerate(clicks)
    ]
    offsets = {"offers": len(facts)}
    logged = LogRecord("v", shelf.name, 0, 7, [], [], [], now_ms=NOW_MS, list_id="0-7", facts=offsets)
    question = question_of(sources, shelf, events, logged)
    answer = next(iter(Oracle(sources).answers([question])))
    steps = Steps(answer.asked)
    why: list[int] = []
    while len(steps.placed) < shelf.places and (chosen := steps.choices())[1]:
        why.append(6 if chosen[0] == "pinned" else 0)
        steps.place(min(chosen[1]))
    value = ShelfValue("", steps.placed, [], "ten", 0, 0, len(events), None, "0-7", "one", offsets, why=why)
    return Why(Found("v", value, question, sources, sources.history))


def home(**fields: Any) -> Shelf:
    return Shelf(name="home", take=[Source(kind="session")], **{"size": 1, "events": ["view"]} | fields)


VIEWED_A = ("view", "a")


def test_a_score_has_parts_and_the_click_that_brought_it() -> None:
    """b has 9, 5 for the view of a, and ln 2; without that view it would stand behind a and d's 7 + 5."""
    why = explained(
        home(lift=[Lift(ON_OFFER, 2.0)]),
        VIEWED_A,
        ("view", "c"),
        facts=(record(0, "b", on_offer=True, title="linen skirt"), record(1, "a", title="dress")),
    )
    reason = why.at(1)
    assert (reason.item, reason.place, reason.rank) == ("b", 1, 1)
    assert reason.score == pytest.approx(14 + np.log(2))
    assert [part["value"] for part in reason.parts] == pytest.approx([14, np.log(2)])
    assert tell.document(reason)["because"] == {
        "item": "a", "event_type": "view", "clicks_ago": 1, "place_without": 3,
    }  # fmt: skip
    assert tell.text(why, reason).splitlines() == [
        'b "linen skirt": score 14.69 = session 14.00 + lift ln 2',
        '  because you viewed a "dress" one click ago: without that click it would stand at 3 (recomputed)',
    ]


def dropped(why: Why, item: str) -> Dropped:
    reason = why.of(item)
    assert reason.place is None
    assert reason.dropped_by is not None
    return reason.dropped_by


def test_the_gate_is_named_with_the_record_that_said_it() -> None:
    why = explained(home(), VIEWED_A, gate=IN_STOCK, facts=(record(0, "b", stock=9), record(1, "b", stock=0)))
    assert dropped(why, "b") == Dropped("gate", "item.stock > 0", "item.stock", 0, "offers", 0, 1, NOW_MS + 1)
    assert tell.text(why, why.of("b")) == (
        "b: 1st by score; dropped by gate: item.stock = 0 (offers, partition 0, offset 1, 00:16:40)"
    )
    assert dropped(why, "c") == Dropped("gate", "item.stock > 0", "item.stock", None, "offers")


def test_what_the_gate_holds_back_since_then_is_told() -> None:
    why = explained(home(), VIEWED_A, gate=IN_STOCK, facts=(record(0, "b", stock=9),), later=(record(1, "b", stock=0),))
    reason = why.of("b")
    assert (reason.place, reason.dropped_by) == (
        1, Dropped("gate", "item.stock > 0", "item.stock", 0, "offers", 0, 1, NOW_MS + 1)
    )  # fmt: skip
    assert "dropped by gate at reading: item.stock = 0 (offers, partition 0, offset 1" in tell.text(why, reason)


def test_what_was_bought_is_dropped_by_where() -> None:
    why = explained(home(where=Rule(plan.Not(BOUGHT), "V")), ("purchase", "a"))
    assert dropped(why, "a").rule == "where"
    assert (dropped(why, "a").feature, dropped(why, "a").value) == ("visitor.session_purchases", ["a"])


def test_of_one_group_the_other_item_is_named() -> None:
    facts = (record(0, "a", group_id="g"), record(1, "b", group_id="g"))
    assert dropped(explained(home(), VIEWED_A, facts=facts, one_of="group_id"), "a") == Dropped(
        "one_of", "b stands for all with its item.group_id", "item.group_id", "g", "offers", 0, 0, NOW_MS
    )


def test_a_full_window_is_named() -> None:
    facts = tuple(record(offset, item, category="shoes") for offset, item in enumerate("bac"))
    why = explained(home(spread=[AtMost(2, "category", 0)]), VIEWED_A, facts=facts)
    found = dropped(why, "c")  # d has less, and stands
    assert (found.rule, found.condition) == ("spread", "at most 2 of the list have one item.category")
    assert (found.feature, found.value, found.offset) == ("item.category", "shoes", 2)


def test_a_low_score_says_where_the_item_would_stand() -> None:
    why = explained(home(), VIEWED_A)
    assert len(why.found.value.items) == 9
    assert tell.text(why, why.of("j")) == "j: 10th by score; dropped by its score: it would stand at place 10"


@pytest.mark.parametrize(
    ("pin", "condition"),
    [
        (Pin("j", 1, since_ms=NOW_MS + 1), "pinned at 1 from a later time on"),
        (Pin("j", 1, until_ms=NOW_MS), "pinned at 1 until an earlier time"),
        (Pin("j", 1, only=BOUGHT), "pinned at 1 if item.id.isin(visitor.session_purchases)"),
    ],
)
def test_a_pin_that_lost_says_why(pin: Pin, condition: str) -> None:
    assert dropped(explained(home(pins=[pin]), VIEWED_A), "j").condition == condition


def test_a_pin_stands_without_a_score() -> None:
    why = explained(home(pins=[Pin("j", 2)]), VIEWED_A)
    assert tell.text(why, why.at(2)) == "j: pinned at place 2"


def test_an_item_that_came_after_the_training_is_named_so() -> None:
    why = explained(home(), VIEWED_A, facts=(record(0, "new", stock=1),))
    assert dropped(why, "new").rule == "model"


def test_an_unknown_item_and_an_empty_place_are_errors() -> None:
    why = explained(home(), VIEWED_A)
    with pytest.raises(DataError, match="neither the model nor the catalogue knows an item 'ghost'"):
        why.of("ghost")
    with pytest.raises(DataError, match="the list has no place 12"):
        why.at(12)
