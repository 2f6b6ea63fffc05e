"""S: the shop changes its catalogue and its shelves all the time, while processes die."""

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import msgspec
from msgspec.structs import replace

from jobs.catalogue.change import Said
from jobs.catalogue.load import load as load_facts
from jobs.contract.shelf import ShelfValue, shelf_key
from jobs.errors import ServiceError
from jobs.features.definitions import from_files
from jobs.features.lint import compiled as compiled_features
from jobs.lab.chaos.processes import kill_task_manager
from jobs.lab.chaos.stage import Scenario, Stage
from jobs.lab.repeating import repeating
from jobs.lab.replay.catalogues import CATALOGUES
from jobs.operate.facts import contracts_of
from jobs.operate.shelves import known_of
from jobs.shelves.compile import compiled
from jobs.shelves.load import FILE, load
from jobs.shelves.versions import ShelfVersions

ITEMS_AT_ONCE = 20
EVERY_S = 0.2  # between two batches of changes
ACTIVATE_EVERY = 15  # batches


class Shop:
    """A catalogue that changes, and two versions of shelves that take turns."""

    def __init__(self, stage: Stage) -> None:
        settings = stage.system.settings
        self._stage, self._bootstrap = stage, stage.system.direct.kafka_bootstrap
        self._contracts = contracts_of(settings)
        self._items = [item for item, _ in CATALOGUES["eshop2008"]()]
        load_facts(self._bootstrap, self._contracts, CATALOGUES["eshop2008"]())
        features, _ = compiled_features(settings, from_files(settings))
        shipped, _ = compiled(load(settings.feature_repo / FILE), known_of(settings, features))
        home = shipped.shelf("home")
        shorter = [replace(each, size=home.size // 2) if each is home else each for each in shipped.shelves]
        self._versions = ShelfVersions(settings.shelves_folder)
        plans = (shipped, replace(shipped, shelves=shorter))
        self.names = [self._versions.publish(each, settings.feature_repo / FILE) for each in plans]
        self._numbers = count()
        self.batches = 0

    def change(self) -> None:
        """Say something new of some items, and now and then activate the other version of shelves."""
        number = next(self._numbers)
        if number % ACTIVATE_EVERY == 0:
            self._versions.activate(self.names[number // ACTIVATE_EVERY % len(self.names)])
        with suppress(ServiceError):  # the broker may be away
            load_facts(self._bootstrap, self._contracts, self._said())
            self.batches += 1

    def _said(self) -> Iterator[tuple[str, Said]]:
        rng = self._stage.rng
        for item in rng.sample(self._items, ITEMS_AT_ONCE):
            yield item, {"stock": rng.randrange(4), "price_minor": rng.randrange(1_000, 9_000)}

    def used(self) -> set[str]:
        """Return the versions that made the lists that stand in Redis now."""
        with self._stage.system.redis() as client:
            keys = [shelf_key(visitor, "home") for visitor in self._stage.sampler.visitors()]
            values = [value for value in client.mget(keys) if value is not None]
        return {msgspec.json.decode(value, type=ShelfValue).shelves for value in values}


def change_all_the_time(stage: Stage, times: float) -> None:
    """Change facts and shelves while the TaskManager dies; `verify` judges the lists of each version."""
    shop, started_s = Shop(stage), time.monotonic()
    with repeating(shop.change, EVERY_S, "changes"):
        kill_task_manager(stage, times)
        stage.traffic.join()
    stage.check("facts changed all the time", shop.batches >= (time.monotonic() - started_s) / EVERY_S / 3)
    stage.check("lists of both versions were made", shop.used() >= set(shop.names))


SCENARIOS = (
    Scenario(
        "S1", "100 facts a second and shelves change, TaskManager kill -9", change_all_the_time, "kills", 2, 5, 40
    ),
)
