"""Which event a list must answer, where versions of shelves come and go."""

from pathlib import Path

import pytest

from jobs.contract.shelf_plan import Shelf, ShelfPlan, Source
from jobs.verify.answered import Answered, Answers
from jobs.verify.classify import Entry
from jobs.verify.plans import Plans
from jobs.verify.shelf_log import ListLog, LogRecord
from tests.support.verify_slices import accepted, event

GAP_MS = 1_800_000
KINDS = ("view", "search", "add_to_cart", "view")  # at the offsets 0 to 3
ARRIVALS = accepted(
    *(event(f"12:00:0{number}", f"e{number}", event_type=kind, query="q") for number, kind in enumerate(KINDS))
)


def plans(**events: dict[str, list[str]]) -> Plans:
    """Versions by name, each with its shelves and their types of events."""
    made = Plans(Path("nowhere"))
    for version, shelves in events.items():
        all_of_it = [
            Shelf(name=name, events=types, take=[Source(kind="session")], size=3) for name, types in shelves.items()
        ]
        made.by_version[version] = ShelfPlan(shelves=all_of_it)
    return made


def log(*answered: tuple[int, str, str]) -> ListLog:
    """Records by offset, version and shelf."""
    made = ListLog()
    for offset, version, shelf in answered:
        made.take(LogRecord("v", shelf, 0, offset, [], [], [], shelves=version))
    return made


def offset_of(answered: Answered | None) -> int | None:
    return None if answered is None else answered.entry.record.offset


ONE = plans(one={"home": ["view", "search"], "cart": ["add_to_cart"]})


def test_a_list_answers_the_newest_event_that_its_shelf_names() -> None:
    said = log((0, "one", "home"), (2, "one", "cart"), (3, "one", "home"))
    answers = {shelf: Answers(shelf, "home", ONE, said, GAP_MS) for shelf in ("home", "cart", "mail")}
    answered = {shelf: answers[shelf].of(ARRIVALS, {}) for shelf in answers}
    assert {shelf: offset_of(each) for shelf, each in answered.items()} == {"home": 3, "cart": 2, "mail": None}
    cart = answered["cart"]
    assert cart is not None
    assert [each["event_id"] for each in cart.session.events] == ["e0", "e1", "e2"]  # as of the event


def test_without_shelves_every_event_is_answered() -> None:
    said = log((2, "", "home"))
    assert offset_of(Answers("home", "home", plans(), said, GAP_MS).of(ARRIVALS, {})) == 3
    assert Answers("cart", "home", plans(), said, GAP_MS).of(ARRIVALS, {}) is None


def test_an_event_before_a_shelf_was_published_makes_no_list() -> None:
    two = plans(one={"home": ["view", "search"]}, two={"home": ["view"], "cart": ["add_to_cart"]})
    before = log((0, "one", "home"), (1, "one", "home"), (2, "one", "mail"), (3, "two", "home"))
    assert Answers("cart", "home", two, before, GAP_MS).of(ARRIVALS, {}) is None
    after = log((0, "one", "home"), (1, "two", "home"), (3, "two", "home"))
    assert offset_of(Answers("cart", "home", two, after, GAP_MS).of(ARRIVALS, {})) == 2


@pytest.mark.parametrize(
    ("found", "offset"),
    [
        ({"list_id": "0-3", "shelves": "one"}, 3),
        ({"list_id": "0-1", "shelves": "one"}, 3),  # an older one is no answer
        ({"list_id": "0-2", "shelves": "one"}, 3),  # nor is an event that the shelf doesn't name
        ({"list_id": "0-9", "shelves": "one"}, 3),
    ],
)
def test_a_list_may_name_its_event_only_where_right(found: dict, offset: int) -> None:
    said = log((0, "one", "home"), (3, "one", "home"))
    assert offset_of(Answers("home", "home", ONE, said, GAP_MS).of(ARRIVALS, found)) == offset


def test_after_a_consent_record_any_event_may_be_answered() -> None:
    said = log((0, "one", "home"), (3, "one", "home"))
    answers = Answers("cart", "home", ONE, said, GAP_MS)
    found = {"list_id": "0-3", "shelves": "one"}
    assert offset_of(answers.of(ARRIVALS, found, by_consent=True)) == 3
    assert offset_of(answers.of(ARRIVALS, found)) == 2


def test_of_two_partitions_an_earlier_event_is_not_sure() -> None:
    entries = [
        Entry(each.record._replace(partition=number % 2), "counted", each.event) for number, each in enumerate(ARRIVALS)
    ]
    entries.sort(key=lambda entry: entry.record.position)  # 0-0, 0-2, 1-1, 1-3
    answers = Answers("home", "home", ONE, log((3, "one", "home")), GAP_MS)
    found = {name: answers.of(entries, {"list_id": name, "shelves": "one"}, by_consent=True) for name in ("0-0", "0-2")}
    assert [(offset_of(each), each and each.is_sure) for each in found.values()] == [(0, False), (2, True)]
