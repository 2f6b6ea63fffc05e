"""What a shop needs, worked out by hand from costs that are easy to multiply."""

import pytest

from jobs.errors import SettingsError
from jobs.lab.budget import coefficients, terms, text
from jobs.lab.budget.coefficients import (
    Catalogue,
    Coefficients,
    LogCost,
    Processor,
    RedisCost,
    ShelvesCost,
    Size,
    StateCost,
    WorkerCost,
)
from jobs.lab.budget.terms import Asked, Quantity

HERE = {"command": "by hand", "machine": "none", "date": "2026-11-30"}
COSTS = Coefficients(
    processor=Processor(
        **HERE,
        at={"events/s": 500},
        features={"task_manager": 100, "python_worker": 50, "redis": 40, "broker": 10},
        rankings={"task_manager": 60, "python_worker": 190, "redis": 20, "broker": 30},
        items=1_000,
    ),
    catalogue=Catalogue(**HERE, list_us=[(1_000, 40.0), (2_000, 80.0), (10_000, 400.0)]),
    state=StateCost(
        **HERE,
        at={"visitors": 100},
        visitor=Size(900, 90),
        session_event=Size(10, 1),
        visitor_event=Size(100, 10),
        entity=Size(2_000, 200),
        entity_slide=Size(300, 30),
        entity_visitor=Size(200, 20),
        history=Size(500, 50),
        history_event=Size(40, 4),
        bucket=Size(0, 0),
        id=Size(10, 1),
    ),
    redis=RedisCost(**HERE, visitor=800, item=900, category=400, list=1_000, shelf_list=1_500),
    log=LogCost(**HERE, event=400, list=1_000, shelf_list=1_500),
    workers=WorkerCost(**HERE, worker=300e6, item_facts=200, item_model=1_000),
    shelves=ShelvesCost(**HERE, times=3, lists_an_event=2, lists_a_visitor=5),
)


def size(**changed: float) -> Asked:
    """A shop of 10,000 visitors, 1,000 events/s at most and 2,000 items; 1,000 visitors and 20,000 events a day."""
    usual = {"visitors": 10_000, "events_per_s": 1_000, "items": 2_000, "daily_visitors": 1_000, "daily_events": 20_000}
    return terms.asked(**{**usual, **changed})


def quantity(name: str, asked: Asked) -> Quantity:
    (one,) = (each for each in terms.plan(asked, COSTS) if each.name.startswith(name))
    return one


def amounts(one: Quantity) -> dict[str, float]:
    return {term.what: term.amount for term in one.terms}


def test_slots_are_cores_of_which_a_part_is_filled() -> None:
    """1,000 events/s of 150 µs are 0.15 cores, which fit into one slot; 10,000 are 1.5, and 1.5 / 0.6 is 2.5."""
    assert quantity("slots of the features job", size()).total == 1
    assert quantity("slots of the features job", size(events_per_s=10_000)).total == 3


def test_a_larger_catalogue_costs_what_its_lists_cost() -> None:
    """Of the worker's 190 µs, 40 were lists over 1,000 items. Over 2,000 items they take 80."""
    one = quantity("slots of the rankings job", size(events_per_s=10_000))
    assert amounts(one) == pytest.approx(
        {"TaskManager": 0.6, "Python worker without the model": 1.5, "the model over 2,000 items": 0.8}
    )
    assert one.total == 5  # 2.9 / 0.6
    assert one.driver == "Python worker without the model"


def test_all_shelves_cost_their_measured_ratio() -> None:
    """Three times 250 µs over 1,000 items, and the model's 40 µs more over 2,000 of them, once."""
    one = quantity("slots of the rankings job", size(events_per_s=10_000, shelves=True))
    assert sum(amounts(one).values()) == pytest.approx(10_000 * (3 * 250 + 40) / 1e6)
    same = quantity("slots of the rankings job", size(events_per_s=10_000, items=1_000, shelves=True))
    assert sum(amounts(same).values()) == pytest.approx(10_000 * 3 * 250 / 1e6)


def test_more_slots_than_a_state_has_parts_are_named() -> None:
    """80,000 events/s of 290 µs / 0.6 are 39 slots; ten times as many are beyond 128."""
    assert quantity("slots of the rankings job", size(events_per_s=80_000)).notes == []
    assert "at most 128 slots" in quantity("slots of the rankings job", size(events_per_s=800_000)).notes[0]


@pytest.mark.parametrize(
    ("items", "us"), [(10, 40), (1_000, 40), (1_500, 60), (2_000, 80), (6_000, 240), (10_000, 400), (20_000, 800)]
)
def test_a_lists_time_follows_the_items(items: int, us: float) -> None:
    assert terms.list_us(COSTS.catalogue.list_us, items) == us


def test_above_the_largest_catalogue_the_last_line_goes_on() -> None:
    """A part of a list's time is that of an index of any size."""
    assert terms.list_us([(500, 10.0), (1_000, 40.0), (2_000, 50.0)], 4_000) == 70


def test_heap_is_the_state_twice() -> None:
    """In MB. Minutes of items are bounded by events, those of 1,000 categories too.

    A history has 50 events, a session 10.
    """
    one = quantity("heap", size())
    assert amounts(one) == pytest.approx(
        {
            "visitors of a day": 0.9e-3,
            "events of their sessions": 0.1e-3,
            "their events": 2e-3,
            "items": 4e-3,
            "minutes of items": 6e-3,
            "visitors of items": 4e-3,
            "categories": 2e-3,
            "minutes of categories": 6e-3,
            "visitors of categories": 4e-3,
            "histories": 1e-3,
            "events of histories": 4e-3,
            "deduplication": 0,
            "ids of a day": 0.2e-3,
        }
    )
    assert one.total == pytest.approx(2 * 34.2e-3)
    assert quantity("state in a checkpoint", size()).total == pytest.approx(3.42e-3)


def test_windows_hold_no_more_than_their_cap() -> None:
    """Ten visitors hold at most 5,000 events each."""
    one = quantity("heap", size(daily_visitors=10, daily_events=1_000_000))
    assert amounts(one)["their events"] == pytest.approx(10 * 5_000 * 100 / 1e9)


def test_memory_of_redis_is_that_of_its_keys() -> None:
    assert quantity("memory of Redis", size()).total == pytest.approx((10_000 * 1_800 + 2_000 * 900 + 400_000) / 1e9)
    with_shelves = quantity("memory of Redis", size(shelves=True))
    assert amounts(with_shelves)["lists"] == pytest.approx(10_000 * 5 * 1_500 / 1e9)


def test_each_slot_of_rankings_holds_the_model_and_facts() -> None:
    """Three slots of features and five of rankings."""
    one = quantity("memory of Python workers", size(events_per_s=10_000))
    assert one.total == pytest.approx((8 * 300e6 + 5 * 2_000 * 1_200) / 1e9)


def test_partitions_are_the_larger_jobs_slots() -> None:
    assert quantity("partitions", size(events_per_s=10_000)).total == 5
    assert quantity("partitions", size(events_per_s=10_000)).driver == "slots of the rankings job"


def test_disk_and_cores_follow_events() -> None:
    assert quantity("Kafka's disk", size()).total == pytest.approx(20_000 * 1_400 / 1e9)
    assert quantity("cores of Redis", size()).total == pytest.approx(0.06)
    assert quantity("cores of brokers", size()).total == pytest.approx(0.04)


def test_a_full_redis_is_named() -> None:
    """60 µs an event in one thread are 16,667 events/s."""
    assert len(quantity("cores of Redis", size()).notes) == 1
    assert "full at 16,667 events/s" in quantity("cores of Redis", size(events_per_s=20_000)).notes[1]


def test_a_plan_says_how_far_it_extrapolates() -> None:
    assert quantity("slots of the features job", size()).beyond == {"events/s": 2}
    assert quantity("heap", size()).beyond == {"visitors": 100}
    assert quantity("memory of Redis", size()).beyond == {}
    printed = "\n".join(text.lines(size(), terms.plan(size(), COSTS)))
    assert "  extrapolated: 2 times the events/s that were measured" in printed


def test_a_printed_term_shows_what_was_multiplied() -> None:
    printed = list(text.lines(size(), terms.plan(size(), COSTS)))
    assert "        0.1  TaskManager: 1,000 events/s × 100 µs ← drives it" in printed
    assert not [line for line in printed if "as if the rate never fell" in line]
    whole_day = terms.asked(10, 1, 10)
    assert [line for line in text.lines(whole_day, terms.plan(whole_day, COSTS)) if "as if the rate never fell" in line]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"visitors": 0}, "--visitors is 0"),
        ({"events_per_s": float("nan")}, "--events-per-second is nan"),
        ({"items": -5}, "--items is -5"),
        ({"daily_visitors": 10_001}, "--daily-visitors 10,001 is more than --visitors 10,000"),
        ({"daily_events": 86_400_001}, "--daily-events 86,400,001 is more than a day at 1,000 events/s has"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(changed: dict[str, float], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        size(**changed)


def test_the_shipped_costs_can_be_read() -> None:
    known = coefficients.shipped()
    items = [size for size, _ in known.catalogue.list_us]
    assert items == sorted(items)
    assert all(each.total > 0 for each in terms.plan(size(), known))
