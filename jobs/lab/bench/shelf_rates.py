"""Measure the rankings job's events a second by what its shelves ask for, in turn on one cluster and one topic.

    python -m jobs.lab.bench.shelf_rates

18,009 items with made facts, and events of which 86 % are views. First no version of shelves is active at all; then
each plan adds something. A rate is the slope between two runs (see `throughput`), so starting a job doesn't count. What
is printed is the median of the rounds.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from statistics import median

from msgspec.structs import replace

from jobs.catalogue.change import Said
from jobs.catalogue.load import load as load_facts
from jobs.contract.shelf_plan import Shelf, ShelfPlan
from jobs.features.definitions import from_files
from jobs.features.lint import compiled as compiled_features
from jobs.lab.bench import throughput
from jobs.lab.bench.figures import Rates
from jobs.lab.bench.workplace import Workplace, workplace
from jobs.operate.facts import contracts_of
from jobs.operate.shelves import known_of, lint
from jobs.settings import Settings
from jobs.shelves.load import FILE
from jobs.shelves.versions import ShelfVersions
from jobs.versions.folder import ACTIVE

NOW_MS, DAY_MS = 1_700_000_000_000, 86_400_000


def facts(items: list[str]) -> Iterator[tuple[str, Said]]:
    """Yield made facts: 300 categories, 12 colours, 6,000 groups; of 20 items one is sold out, two are on offer."""
    rng = random.Random(1)
    for item in items:
        yield (
            item,
            {
                "category": f"c{rng.randrange(300)}",
                "colour": f"colour{rng.randrange(12)}",
                "group_id": f"g{rng.randrange(6_000)}",
                "created": NOW_MS - rng.randrange(400) * DAY_MS,
                "price_minor": rng.randrange(500, 20_000),
                "currency": "EUR",
                "stock": rng.randrange(20),
                "on_offer": rng.random() < 0.1,
                "status": "active",
            },
        )


def plans(shipped: ShelfPlan) -> dict[str, ShelfPlan | None]:
    """Return what is measured by its name. Each plan makes `home` of the same events."""
    home = shipped.shelf("home")
    bare = replace(home, where=None, lift=[], mmr=None, explore=None, instead=[], least=0)

    def only(*shelves: Shelf) -> ShelfPlan:
        return replace(shipped, shelves=list(shelves))

    return {
        "no shelves: one list, no rule": None,
        "home, no rule": replace(only(bare), gate=None, one_of=""),
        "and the gate, two lifts (N)": replace(only(replace(bare, lift=home.lift)), one_of=""),
        "and nothing bought (V)": replace(only(replace(bare, lift=home.lift, where=home.where)), one_of=""),
        "and one_of, Mmr, explore (L)": only(replace(home, instead=[], least=0)),
        "and product": only(replace(home, instead=[], least=0), replace(shipped.shelf("product"), instead=[], least=0)),
        "all as shipped": shipped,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the rankings job by what its shelves ask for.")
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3, help="How often each is measured, in turn.")
    parser.add_argument("--only", default="", help="Measure only what has this in its name.")
    given = parser.parse_args()
    settings = Settings()
    features, _ = compiled_features(settings, from_files(settings))
    shipped, problems = lint(settings, known_of(settings, features))
    assert not [each for each in problems if not each.is_warning], problems
    with workplace(settings) as place:
        load_facts(place.services.kafka_bootstrap, contracts_of(place.settings), facts(place.items))
        stream = throughput.fill(place, given.events)
        chosen = {name: plan for name, plan in plans(shipped).items() if given.only in name}
        short, warming = given.events // 5, [given.events // 5]  # the first run of all warms the cluster's JVM
        found: dict[str, list[Rates]] = {name: [] for name in chosen}
        for name, plan in list(chosen.items()) * given.rounds:
            activate(place, plan)
            prefixes, warming = [*warming, short, given.events], []
            found[name].append(throughput.rates(place, stream, "rankings", prefixes, tell))
            tell(line(name, found[name][-1:]))
    for name, rounds in found.items():
        print(line(name, rounds))


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def line(name: str, rounds: Sequence[Rates]) -> str:
    """Return a plan's medians over its rounds, and the least and most processor time of an event."""
    events, lists, cpu = (
        median(getattr(each, what) for each in rounds) for what in ("events_per_s", "lists_per_s", "cpu_us_per_event")
    )
    least, most = (pick(each.cpu_us_per_event for each in rounds) for pick in (min, max))
    rates = f"{name:32} {events:7,.0f} events/s {lists:7,.0f} lists/s"
    return f"{rates} {cpu:6.0f} µs of CPU an event ({least:.0f} to {most:.0f})"


def activate(place: Workplace, plan: ShelfPlan | None) -> None:
    versions = ShelfVersions(place.settings.shelves_folder)
    if plan is None:
        (versions.folder / ACTIVE).unlink(missing_ok=True)
    else:
        versions.activate(versions.publish(plan, place.settings.feature_repo / FILE))


if __name__ == "__main__":
    main()
