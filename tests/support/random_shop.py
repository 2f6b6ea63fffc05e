"""Random shops, catalogues that change, sessions, and the lists that a worker makes of them.

What Kafka and Redis would hold stands in dictionaries; everything between is what runs in a job and in `verify`.
"""

import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from jobs.catalogue.columns import Table
from jobs.connect.kafka_read import Record
from jobs.contract import items as contract
from jobs.contract import shelf_plan as plan
from jobs.contract.items import Fact, FactContract, FactField
from jobs.contract.shelf_plan import AtMost, Explore, Feature, Lift, Mmr, Pin, Rule, Shelf, ShelfPlan, Source
from jobs.rankings.lists import ListsOfShelves
from jobs.rankings.publish import Encoder, Publication
from jobs.rankings.session import Session, current_session
from jobs.rankings.shelf_ranker import Question, ShelfRanker
from jobs.verify import shelf, shelf_check
from jobs.verify.answered import Answers
from jobs.verify.classify import classify
from jobs.verify.fact_history import FactHistory
from jobs.verify.lists import by_visitor
from jobs.verify.plans import Plans
from jobs.verify.report import Report
from jobs.verify.shelf_log import read_log
from tests.support.small_model import SmallBundle

GAP_MS, DAY_MS = 1_800_000, 86_400_000
START_MS = 1_763_700_000_000
TYPES = ("view", "view", "view", "add_to_cart", "remove_from_cart", "purchase", "search")
VISITORS = ("v1", "v2", "v3")
NEW = ("n1", "n2", "n3")  # items that only the catalogue knows


def field(name: str, kind: Any) -> FactField:
    return FactField(name=name, kind=kind, max_length=128 if kind == "string" else None)


WHAT = FactContract("what", (field("category", "string"), field("brand", "string"), field("group_id", "string")))
TERMS = FactContract("terms", (field("stock", "int"), field("price", "int"), field("created", "int")))


def of_item(name: str, kind: Any = "int") -> Feature:
    return Feature("item", name, kind)


class Shop:
    """A random plan, the records of its catalogue, a worker, and what Kafka and Redis would hold."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.bundle, self.plan = rng, SmallBundle(rng), random_plan(rng)
        self.table, self.facts = Table([WHAT, TERMS]), {WHAT: list[Record](), TERMS: list[Record]()}
        for item in (*self.bundle.items[1:], *NEW[:2]):
            self.say(item, rng.random() < 0.9)
        self.maker = ListsOfShelves(self.plan, ShelfRanker(self.bundle, self.plan, self.table.snapshot()))
        self.version = plan.version_of(plan.encode(self.plan))
        self.encoder = Encoder("small", self.bundle.context_features, self.version)
        self.events, self.log = list[Record](), list[Record]()
        self.stored: dict[tuple[str, str], bytes] = {}
        self.now_ms = START_MS

    def say(self, item: str, all_of_it: bool = True) -> None:
        """Write a record into each topic, or into one."""
        rng = self.rng
        given: dict[FactContract, dict[str, Any] | None] = {
            WHAT: {"category": rng.choice("abcd"), "brand": rng.choice("xyz"), "group_id": f"g{rng.randrange(60)}"},
            TERMS: {
                "stock": rng.randrange(-1, 9),
                "price": rng.randrange(1, 20),
                "created": START_MS + rng.randrange(300_000),
            },
        }
        for topic, fields in given.items():
            if not all_of_it and rng.random() < 0.5:
                continue
            kept = {name: value for name, value in (fields or {}).items() if rng.random() < 0.9}
            self._write(topic, item, None if rng.random() < 0.02 else kept)

    def remove(self, item: str) -> None:
        """Write into each topic that the item is gone."""
        for topic in (WHAT, TERMS):
            self._write(topic, item, None)

    def _write(self, topic: FactContract, item: str, said: dict[str, Any] | None) -> None:
        value = None if said is None else contract.encode(said)
        offset = len(self.facts[topic])
        self.facts[topic].append(Record(0, offset, START_MS, item.encode(), value))
        self.table.take(topic.topic, Fact(item, said))
        self.table.offsets[topic.topic] = offset + 1

    def batch(self) -> None:
        """Let some events come, and make their lists."""
        rng = self.rng
        for _ in range(rng.randrange(4)):
            self.say(rng.choice((*self.bundle.items[1:], *NEW)), False)
        self.maker.take(self.table.snapshot())
        rows = [self._event() for _ in range(rng.randrange(1, 6))]
        ids = [visitor for visitor, _, _ in rows]
        wanted = self.maker.wanted(ids, [kind for _, kind, _ in rows], [None] * len(rows))
        questions = [(row, self._question(*rows[row])) for row in sorted(wanted)]
        if not questions:
            return
        made = self.maker.make([each for _, each in questions], [wanted[row] for row, _ in questions])
        for (number, name), each in made.items():
            row, question = questions[number]
            publication = Publication(
                ids[row], name, 0, rows[row][2], each.ranked, question.session, question.context.tolist(), 1,
                question.now_ms, each.visitor,
            )  # fmt: skip
            value = self.encoder.value(publication, self.table.offsets)
            self.stored[ids[row], name] = value
            self.log.append(Record(0, len(self.log), 0, None, self.encoder.log_record(publication, value).encode()))

    def _event(self) -> tuple[str, str, int]:
        rng = self.rng
        self.now_ms += rng.choice((1, 500, 20_000, GAP_MS + 1)) if rng.random() < 0.3 else 700
        visitor, kind, offset = rng.choice(VISITORS), rng.choice(TYPES), len(self.events)
        item = rng.choice((*self.bundle.items[1:9], *NEW, "ghost", *rng.sample(self.bundle.items[1:], 4)))
        event = {"schema_version": 1, "event_id": f"e{offset}", "event_type": kind, "visitor_id": visitor}
        event |= {"event_time_ms": self.now_ms - rng.randrange(300)} | (
            {"query": "q"} if kind == "search" else {"item_id": item}
        )
        self.events.append(Record(0, offset, self.now_ms, visitor.encode(), msgspec.json.encode(event)))
        return visitor, kind, offset

    def _question(self, visitor: str, kind: str, offset: int) -> Question:
        seen = [msgspec.json.decode(each.value or b"") for each in self.events[: offset + 1]]
        mine = [each for each in seen if each["visitor_id"] == visitor][-50:]
        packed = "\x1e".join(
            "\x1f".join((str(e["event_time_ms"]), e["event_type"], e.get("item_id", ""), e["event_id"], ""))
            for e in mine
        )
        known = {"country": self.rng.choice(("PL", "DE"))} if self.rng.random() < 0.7 else {}
        context = np.array([self.rng.random()], np.float32)
        return Question(
            current_session(packed, GAP_MS), context, known, self.events[offset].timestamp_ms, f"0-{offset}"
        )

    def without_consent(self) -> Report:
        """Return what the oracle says of the lists of a visitor of whom nothing may be known."""
        question = Question(Session.nothing(self.now_ms), np.zeros(1, np.float32), {}, self.now_ms, "0-999", True)
        names = [shelf.name for shelf in self.plan.of_visitors]
        made, cases = self.maker.make([question], [names]), list[shelf_check.Case]()
        for (_, name), each in made.items():
            context = question.context.tolist()
            publication = Publication("v", name, 0, 999, each.ranked, question.session, context, 1, self.now_ms)
            value = self.encoder.value(publication, self.table.offsets)
            found = msgspec.json.decode(value, type=shelf_check.ShelfValue)
            cases.append(
                shelf_check.Case("v", name, value, found, None, None, "stands", self.now_ms, is_anonymous=True)
            )
        return self._compared(cases)

    def verified(self) -> Report:
        """Return what the oracle says of all lists that stand at the end."""
        plans = self._plans()
        log = read_log(self.log)
        arrivals = by_visitor(classify(self.events, 10**12, now_ms=2**50).of_kind("counted"))
        cases = []
        for name in plans.names():
            answers = Answers(name, "home", plans, log, GAP_MS)
            for visitor, entries in arrivals.items():
                value = self.stored.get((visitor, name), b"")
                answered = answers.of(entries, shelf.decode(value))
                assert (answered is None) == (value == b""), f"{visitor} has no list on {name}, or one too many"
                if answered is not None:
                    found = msgspec.json.decode(value, type=shelf_check.ShelfValue)
                    logged = log.newest.get((visitor, name))
                    now_ms = answered.entry.record.timestamp_ms
                    cases.append(shelf_check.Case(visitor, name, value, found, answered, logged, "stands", now_ms))
        return self._compared(cases)

    def _plans(self) -> Plans:
        plans = Plans(Path("nowhere"))
        plans.by_version[self.version] = self.plan
        return plans

    def _compared(self, cases: list[shelf_check.Case]) -> Report:
        report, plans = Report(), self._plans()
        history = FactHistory(self.facts, START_MS)
        shelf_check.compare_shelf_lists(report, cases, plans, _One(self.bundle), history)
        return report


class _One:
    """The versions of a shop that has one model."""

    def __init__(self, bundle: SmallBundle) -> None:
        self._bundle = bundle

    def named(self, version: str) -> SmallBundle:
        return self._bundle


def compare(op: Any, left: plan.Term, right: plan.Term) -> plan.Condition:
    return plan.Compare(op, left, right)


def of_items(rng: random.Random) -> plan.Condition:
    """Return a condition on the item alone that most items meet."""
    atoms: list[plan.Condition] = [
        compare(">", of_item("stock"), plan.Literals([rng.randrange(-1, 3)])),
        compare("<=", of_item("price"), plan.Literals([rng.randrange(12, 25)])),
        compare("!=", of_item("category", "string"), plan.Literals([rng.choice("abcd")])),
        compare("<", of_item("created"), plan.Moment(rng.randrange(-20_000, 300_000))),
        plan.Not(plan.IsIn(of_item("brand", "string"), plan.Literals([rng.choice("xyz"), "none"]))),
    ]
    one, two = rng.sample(atoms, 2)
    return rng.choice((one, plan.All([one, two]), plan.Any([one, two]), plan.Not(plan.Not(one))))


def of_visitors(rng: random.Random, about: str) -> plan.Condition:
    """Return a condition that reads more than the item."""
    atoms: list[plan.Condition] = [
        plan.Not(plan.IsIn(of_item("id", "string"), Feature("visitor", "session_items", "strings"))),
        plan.Any([compare("==", Feature("visitor", "country", "string"), plan.Literals(["PL"])), of_items(rng)]),
        plan.Any(
            [compare("!=", Feature("visitor", "segment", "int"), plan.Literals([rng.randrange(3)])), of_items(rng)]
        ),
    ]
    if about == "viewed":
        atoms += [
            compare("!=", of_item("id", "string"), Feature("anchor", "id", "string")),
            compare("<=", of_item("price"), plan.Scaled(1.5, Feature("anchor", "price", "int"))),
        ]
    if about == "cart":
        atoms += [
            plan.Not(plan.IsIn(of_item("id", "string"), Feature("basket", "items", "strings"))),
            plan.Not(plan.IsIn(of_item("category", "string"), Feature("basket", "categories", "strings"))),
        ]
    return plan.All([*rng.sample(atoms, 2), *([of_items(rng)] if rng.random() < 0.5 else [])])


def random_shelf(rng: random.Random, name: str, about: str, take: list[Source], instead: list[str]) -> Shelf:
    size = rng.randrange(1, 9)
    where = rng.choice((None, Rule(of_items(rng), "N"), Rule(of_visitors(rng, about), "V")))
    lifts = [Lift(Rule(of_items(rng), "N"), rng.choice((1.3, 0.5, 3.0))), Lift(Rule(of_visitors(rng, about), "V"), 2.0)]
    windows = [AtMost(rng.randrange(1, 4), rng.choice(("category", "brand")), rng.choice((0, 3, 5))) for _ in range(2)]
    pins = [
        Pin(rng.choice(("05", "n1", "ghost")), rng.randrange(1, 5)),
        Pin("07", rng.randrange(5, 9), since_ms=START_MS + 9000),
    ]
    kinds = {"viewed": ["view"], "cart": ["add_to_cart", "remove_from_cart"], "": rng.sample(TYPES[2:], 3)}
    return Shelf(
        name=name,
        events=sorted({*kinds[about], *rng.sample(TYPES, rng.randrange(2))}),
        about=about,
        take=take,
        where=where,
        lift=rng.sample(lifts, rng.randrange(3)),
        spread=rng.sample(windows, rng.randrange(3)) if rng.random() < 0.5 else [],
        mmr=Mmr(0.7, ["category", "brand"]) if rng.random() < 0.4 else None,
        explore=Explore(0.2, Rule(of_items(rng), "N")) if rng.random() < 0.4 else None,
        pins=rng.sample(pins, rng.randrange(3)) if rng.random() < 0.5 else [],
        size=size,
        least=rng.choice((0, size)) if instead else 0,
        instead=instead,
    )


def random_plan(rng: random.Random) -> ShelfPlan:
    session, popular = Source(kind="session"), Source(kind="popular", weight=rng.choice((1.0, 0.3)))
    viewed = Source(kind="together", what="anchor", as_type="view")
    cart = Source(kind="together", what="basket", as_type="add_to_cart", weight=rng.choice((1.0, 2.0)))
    seen = Source(kind="list", list="session_items")
    half = msgspec.structs.replace(session, weight=0.5)
    shelves = [
        random_shelf(rng, "home", "", rng.choice(([session], [session, popular], [half])), ["recent", "popular"]),
        random_shelf(rng, "product", "viewed", rng.choice(([viewed], [viewed, half])), ["similar", "home"]),
        random_shelf(rng, "cart", "cart", rng.choice(([cart], [cart, session])), ["popular"]),
        random_shelf(rng, "plain", "", [session], []),
        random_shelf(rng, "recent", "", [seen], []),
        Shelf(name="similar", of="item", take=[viewed], size=5),
        Shelf(name="popular", of="place", take=[popular], size=60),
    ]
    rng.shuffle(shelves)
    return ShelfPlan(
        gate=Rule(of_items(rng), "N") if rng.random() < 0.5 else None,
        one_of=rng.choice(("", "group_id")),
        shelves=shelves,
        visitor=[
            plan.VisitorFeature("country", "profile", "string", ""),
            plan.VisitorFeature("segment", "", "int", -1),
            plan.VisitorFeature("session_items", "", "strings", []),
        ],
    )
