"""Work out what a shop of a size needs. Pure.

| quantity | its terms, each times a measured cost |
|---|---|
| slots of a job | events/s for TaskManager and Python worker; in the rankings job also for the model, by items |
| cores of Redis and brokers | events/s of both jobs |
| heap, checkpoint | visitors of a day, their events; items, categories, by minute and visitor; histories; ids |
| memory of Python workers | slots; slots of the rankings job by items, for facts and the model |
| memory of Redis | visitors, for lists and for features; items; categories |
| Kafka's disk | events of a day, for events and for the log of lists |
| partitions | slots of the larger job |
"""

import math
from typing import NamedTuple

import msgspec

from jobs.errors import SettingsError
from jobs.lab.budget.coefficients import Coefficients, Origin, Size
from jobs.operate.entities import HEAP_SHARE
from jobs.settings import MAX_PARALLELISM, MAX_WINDOW_EVENTS

DAY_S = 86_400
FILLED = 0.6  # of a core by a slot: chosen, not measured. The rest is for peaks within a second and for catching up
CATEGORIES = 1_000  # assumed; they are few beside visitors and items
SLIDES = 1_440  # minutes of a day, which an item's windows slide by
BUCKETS = 65_536  # of the deduplication (jobs/features/sql.py)
SESSION_EVENTS = 10  # assumed, as for Redis and disk
HISTORY_EVENTS = 50
HISTORY_DAYS = 2  # that a history is kept (jobs/flow/job_config.py)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a shop.

    `visitors` are those of 30 days, as long as Redis keeps them. `events_per_s` is the highest rate. `daily_visitors`
    and `daily_events` are those of the busiest day.
    """

    visitors: int
    events_per_s: float
    items: int
    daily_visitors: int
    daily_events: float
    shelves: bool = False


class Counts(NamedTuple):
    """What state is made of, one number for each cost of `StateCost`: the features job's, then the ranker's.

    An item's minutes are those in which something happened to it, and its visitors are different ones. So are a
    category's.
    """

    visitors: float = 0
    session_events: float = 0
    visitor_events: float = 0
    items: float = 0
    item_minutes: float = 0
    item_visitors: float = 0
    categories: float = 0
    category_minutes: float = 0
    category_visitors: float = 0
    buckets: float = 0
    ids: float = 0
    histories: float = 0
    history_events: float = 0


class Factor(NamedTuple):
    """A number with its unit, as it is printed."""

    value: float
    unit: str
    scale: float = 1.0  # to the term's unit

    def __str__(self) -> str:
        number = f"{self.value:,.0f}" if self.value >= 100 or self.value == int(self.value) else f"{self.value:,.1f}"
        return f"{number} {self.unit}".rstrip()


class Term(msgspec.Struct, frozen=True):
    """A part of a quantity: its amount, and how it was worked out."""

    what: str
    amount: float
    how: str


class Quantity(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a shop needs. `total` is made of the terms as `total_how` says; the largest term is the driver."""

    name: str
    unit: str
    total: float
    total_how: str
    terms: list[Term]
    driver: str
    origins: list[str]
    beyond: dict[str, float]  # how many times what was measured is asked for
    notes: list[str]


def asked(
    visitors: int,
    events_per_s: float,
    items: int,
    daily_visitors: int | None = None,
    daily_events: float | None = None,
    shelves: bool = False,
) -> Asked:
    """Return a size that makes sense; raise SettingsError for one that doesn't.

    Without the numbers of a day all visitors come each day, and the rate never falls.
    """
    most_events = events_per_s * DAY_S
    size = Asked(
        visitors=visitors,
        events_per_s=events_per_s,
        items=items,
        daily_visitors=visitors if daily_visitors is None else daily_visitors,
        daily_events=most_events if daily_events is None else daily_events,
        shelves=shelves,
    )
    for name in ("visitors", "events_per_s", "items", "daily_visitors", "daily_events"):
        value = getattr(size, name)
        if not (math.isfinite(value) and value > 0):
            raise SettingsError(f"{_option(name)} is {value:g}", "a number above 0")
    if size.daily_visitors > visitors:
        raise SettingsError(
            f"--daily-visitors {size.daily_visitors:,} is more than --visitors {visitors:,}", "count those of 30 days"
        )
    if size.daily_events > most_events:
        raise SettingsError(
            f"--daily-events {size.daily_events:,.0f} is more than a day at {events_per_s:,g} events/s has",
            f"at most {most_events:,.0f}: --events-per-second is the highest rate",
        )
    return size


def _option(name: str) -> str:
    return "--" + name.replace("_per_s", "-per-second").replace("_", "-")


def list_us(points: list[tuple[int, float]], items: int) -> float:
    """Return µs of a list in the model with so many items: on straight lines through the measured points.

    Below the smallest it is that one's; above the largest the last line goes on.
    """
    if items <= points[0][0]:
        return points[0][1]
    right = next((place for place, (size, _) in enumerate(points) if size >= items), len(points) - 1)
    (low, low_us), (high, high_us) = points[right - 1], points[right]
    return low_us + (high_us - low_us) * (items - low) / (high - low)


def plan(size: Asked, costs: Coefficients) -> list[Quantity]:
    """Return all that a shop of a size needs."""
    features, rankings = _features_slots(size, costs), _rankings_slots(size, costs)
    heap, checkpoint = _state(size, costs, "heap"), _state(size, costs, "checkpoint")
    return [
        features,
        rankings,
        heap,
        checkpoint,
        _workers(size, costs, features.total, rankings.total),
        _redis_memory(size, costs),
        _redis_cores(size, costs),
        _broker_cores(size, costs),
        _partitions(features, rankings),
        _log(size, costs),
    ]


def _term(what: str, *factors: Factor) -> Term:
    amount = math.prod(factor.value * factor.scale for factor in factors)
    return Term(what, amount, " × ".join(map(str, factors)))


def _quantity(
    name: str,
    unit: str,
    terms: list[Term],
    origins: list[Origin],
    size: Asked,
    total: float | None = None,
    total_how: str = "the sum",
    notes: list[str] | None = None,
) -> Quantity:
    now = {"events/s": size.events_per_s, "visitors": size.visitors, "items": size.items}
    beyond: dict[str, float] = {}
    for origin in origins:
        for name_of, at in origin.at.items():
            if now[name_of] > at:
                beyond[name_of] = max(beyond.get(name_of, 0), now[name_of] / at)
    return Quantity(
        name=name,
        unit=unit,
        total=sum(term.amount for term in terms) if total is None else total,
        total_how=total_how,
        terms=terms,
        driver=max(terms, key=lambda term: term.amount).what,
        origins=list(dict.fromkeys(map(str, origins))),
        beyond=beyond,
        notes=notes or [],
    )


def _us(value: float) -> Factor:
    return Factor(value, "µs", 1e-6)


def _rate(size: Asked) -> Factor:
    return Factor(size.events_per_s, "events/s")


def _slots(name: str, terms: list[Term], origins: list[Origin], size: Asked) -> Quantity:
    cores = sum(term.amount for term in terms)
    slots = math.ceil(cores / FILLED)
    too_many = f"a job runs in at most {MAX_PARALLELISM} slots: this one can't take that rate as it is"
    return _quantity(
        name,
        "slots",
        terms,
        origins,
        size,
        slots,
        f"{cores:,.1f} cores / {FILLED} of a core that a slot fills, rounded up",
        [too_many] if slots > MAX_PARALLELISM else [],
    )


def _features_slots(size: Asked, costs: Coefficients) -> Quantity:
    taken = costs.processor.features
    terms = [
        _term("TaskManager", _rate(size), _us(taken["task_manager"])),
        _term("Python worker", _rate(size), _us(taken["python_worker"])),
    ]
    return _slots("slots of the features job", terms, [costs.processor], size)


def _rankings_slots(size: Asked, costs: Coefficients) -> Quantity:
    taken, points = costs.processor.rankings, costs.catalogue.list_us
    measured_us, now_us = list_us(points, costs.processor.items), list_us(points, size.items)
    times = [Factor(costs.shelves.times, "for all shipped shelves")] if size.shelves else []
    rest_us = max(0.0, taken["python_worker"] - measured_us)
    terms = [
        _term("TaskManager", _rate(size), _us(taken["task_manager"]), *times),
        _term("Python worker without the model", _rate(size), _us(rest_us), *times),
        _term(f"the model over {size.items:,} items", _rate(size), _us(now_us), *times[: now_us <= measured_us]),
    ]
    if size.shelves and now_us > measured_us:
        # What more calls of the model take was measured at the profile's number of items, and isn't known above it.
        more = Factor(measured_us * (costs.shelves.times - 1), "µs", 1e-6)
        terms.append(_term(f"more calls of the model, at {costs.processor.items:,} items", _rate(size), more))
    origins: list[Origin] = [costs.processor, costs.catalogue, *([costs.shelves] if size.shelves else [])]
    return _slots("slots of the rankings job", terms, origins, size)


def most(size: Asked) -> Counts:
    """Return the most that a shop's state can hold.

    Each event meets another visitor at its item, no two in the same minute, and each history is full.
    """
    day, visitors = size.daily_events, size.daily_visitors
    held = min(size.visitors, HISTORY_DAYS * visitors)
    return Counts(
        visitors=visitors,
        session_events=min(day, visitors * SESSION_EVENTS),
        visitor_events=min(day, visitors * MAX_WINDOW_EVENTS),
        items=min(size.items, day),
        item_minutes=min(day, size.items * SLIDES),
        item_visitors=min(day, size.items * visitors),
        categories=min(CATEGORIES, day),
        category_minutes=min(day, CATEGORIES * SLIDES),
        category_visitors=min(day, CATEGORIES * visitors),
        buckets=BUCKETS,
        ids=day,
        histories=held,
        history_events=held * HISTORY_EVENTS,
    )


def state_terms(counts: Counts, costs: Coefficients, kind: str) -> list[Term]:
    """Return the terms in GB of a state of so many parts: on the `heap`, or in a `checkpoint`."""
    state = costs.state

    def term(what: str, count: float, unit: str, of: Size) -> Term:
        return _term(what, Factor(count, unit), Factor(getattr(of, kind), "bytes", 1e-9))

    return [
        term("visitors of a day", counts.visitors, "visitors", state.visitor),
        term("events of their sessions", counts.session_events, "events", state.session_event),
        term("their events", counts.visitor_events, "events", state.visitor_event),
        term("items", counts.items, "items", state.entity),
        term("minutes of items", counts.item_minutes, "minutes", state.entity_slide),
        term("visitors of items", counts.item_visitors, "visitors", state.entity_visitor),
        term("categories", counts.categories, "categories", state.entity),
        term("minutes of categories", counts.category_minutes, "minutes", state.entity_slide),
        term("visitors of categories", counts.category_visitors, "visitors", state.entity_visitor),
        term("histories", counts.histories, "visitors", state.history),
        term("events of histories", counts.history_events, "events", state.history_event),
        term("deduplication", counts.buckets, "buckets", state.bucket),
        term("ids of a day", counts.ids, "ids", state.id),
    ]


def _state(size: Asked, costs: Coefficients, kind: str) -> Quantity:
    state, terms = costs.state, state_terms(most(size), costs, kind)
    if kind == "checkpoint":
        return _quantity(
            "state in a checkpoint, at most",
            "GB",
            terms,
            [state],
            size,
            notes=["RocksDB would hold about this on disk; what it costs an event isn't measured here"],
        )
    total = sum(term.amount for term in terms)
    return _quantity(
        "heap of all TaskManagers, at most",
        "GB",
        terms,
        [state],
        size,
        total / HEAP_SHARE,
        f"{total:,.1f} GB of state / {HEAP_SHARE} of the heap that it may fill",
        [
            "at most: each event meets another visitor at its item, and each history is full",
            "consents come on top: 200 bytes in each TaskManager and job for a visitor who said something",
        ],
    )


def _workers(size: Asked, costs: Coefficients, features: float, rankings: float) -> Quantity:
    cost = costs.workers
    terms = [
        _term("workers by themselves", Factor(features + rankings, "slots"), Factor(cost.worker, "bytes", 1e-9)),
        _term(
            "facts of items",
            Factor(rankings, "slots"),
            Factor(size.items, "items"),
            Factor(cost.item_facts, "bytes", 1e-9),
        ),
        _term(
            "the model", Factor(rankings, "slots"), Factor(size.items, "items"), Factor(cost.item_model, "bytes", 1e-9)
        ),
    ]
    return _quantity("memory of Python workers", "GB", terms, [cost], size, notes=["each slot has a worker of its own"])


def redis_terms(size: Asked, costs: Coefficients, categories: int = CATEGORIES) -> list[Term]:
    """Return the terms in GB of Redis' memory."""
    cost, shelves = costs.redis, costs.shelves
    lists = [Factor(shelves.lists_a_visitor, "lists")] if size.shelves else []
    per_list = cost.shelf_list if size.shelves else cost.list

    def of(value: float) -> Factor:
        return Factor(value, "bytes", 1e-9)

    return [
        _term("lists", Factor(size.visitors, "visitors"), *lists, of(per_list)),
        _term("features of visitors", Factor(size.visitors, "visitors"), of(cost.visitor)),
        _term("features and facts of items", Factor(size.items, "items"), of(cost.item)),
        _term("features of categories", Factor(categories, "categories"), of(cost.category)),
    ]


def _redis_memory(size: Asked, costs: Coefficients) -> Quantity:
    origins: list[Origin] = [costs.redis, *([costs.shelves] if size.shelves else [])]
    notes = ["rewriting the append-only file, and a replica's start, may take up to as much again"]
    if size.shelves:
        notes.append("lists that no visitor has of their own (similar, trending) aren't in it")
    return _quantity("memory of Redis", "GB", redis_terms(size, costs), origins, size, notes=notes)


def _both(size: Asked, costs: Coefficients, process: str, times: list[Factor]) -> list[Term]:
    taken = costs.processor
    return [
        _term("features job", _rate(size), _us(taken.features[process])),
        _term("rankings job", _rate(size), _us(taken.rankings[process]), *times),
    ]


def _lists(size: Asked, costs: Coefficients) -> list[Factor]:
    return [Factor(costs.shelves.lists_an_event, "lists")] if size.shelves else []


def _redis_cores(size: Asked, costs: Coefficients) -> Quantity:
    terms = _both(size, costs, "redis", _lists(size, costs))
    cores = sum(term.amount for term in terms)
    full = size.events_per_s / cores
    note = f"Redis works on one core and liveshelf writes to one server, which is full at {full:,.0f} events/s"
    return _quantity(
        "cores of Redis",
        "cores",
        terms,
        [costs.processor],
        size,
        notes=["reads by apps come on top", *([note] if cores > FILLED else [])],
    )


def _broker_cores(size: Asked, costs: Coefficients) -> Quantity:
    terms = _both(size, costs, "broker", _lists(size, costs))
    return _quantity("cores of brokers", "cores", terms, [costs.processor], size, notes=["for each replica"])


def _partitions(features: Quantity, rankings: Quantity) -> Quantity:
    terms = [Term(each.name, each.total, f"{each.total:,.0f} slots") for each in (features, rankings)]
    return msgspec.structs.replace(
        max(features, rankings, key=lambda each: each.total),
        name="partitions of the topic of events, at least",
        unit="partitions",
        total_how="the larger of the two: a slot without a partition reads nothing",
        terms=terms,
        driver=max(terms, key=lambda term: term.amount).what,
        notes=["adding partitions later moves visitors to others, so begin with more"],
    )


def _log(size: Asked, costs: Coefficients) -> Quantity:
    per_list = costs.log.shelf_list if size.shelves else costs.log.list
    day = Factor(size.daily_events, "events")
    terms = [
        _term("events", day, Factor(costs.log.event, "bytes", 1e-9)),
        _term("the log of lists", day, *_lists(size, costs), Factor(per_list, "bytes", 1e-9)),
    ]
    return _quantity(
        "Kafka's disk for each day of retention",
        "GB",
        terms,
        [costs.log],
        size,
        notes=["for each replica, and before compression, which isn't measured"],
    )
