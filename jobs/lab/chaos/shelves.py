"""S: the shop changes its catalogue and its shelves all the time, while processes die."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec
from msgspec.structs import replace

from jobs.catalogue.load import load as load_facts
from jobs.connect import fact_topics, kafka_send
from jobs.contract.items import encode
from jobs.contract.shelf import ShelfValue, shelf_key
from jobs.features.definitions import from_files
from jobs.features.lint import compiled as compiled_features
from jobs.lab.chaos.processes import kill_task_manager
from jobs.lab.chaos.stage import Scenario, Stage
from jobs.lab.repeating import repeating
from jobs.lab.replay.catalogues import CATALOGUES
from jobs.operate.facts import contracts_of
from jobs.operate.shelves import known_of, lint
from jobs.shelves.load import FILE
from jobs.shelves.versions import ShelfVersions

ITEMS_AT_ONCE = 20
EVERY_S = 0.2  # between two batches of changes
ACTIVATE_EVERY = 15  # batches


class Shop:
    """A catalogue that changes, and two versions of shelves that take turns."""

    def __init__(self, stage: Stage) -> None:
        settings = stage.system.settings
        self._stage, self._bootstrap = stage, stage.system.direct.kafka_bootstrap
        contracts = contracts_of(settings)
        (self._offers,) = (each for each in contracts if each.topic == settings.offers_topic)
        load_facts(self._bootstrap, contracts, CATALOGUES["eshop2008"]())
        known = fact_topics.read(self._bootstrap, self._offers)
        self._facts = {item: dict(each.fields or {}) for item, each in known.items()}
        features, _ = compiled_features(settings, from_files(settings))
        shipped, _ = lint(settings, known_of(settings, features))
        home = shipped.shelf("home")
        shorter = [replace(each, size=home.size // 2) if each is home else each for each in shipped.shelves]
        self._versions = ShelfVersions(settings.shelves_folder)
        plans = (shipped, replace(shipped, shelves=shorter))
        self.names = [self._versions.publish(each, settings.feature_repo / FILE) for each in plans]
        self.batches = 0

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Say something new of some items all the time, and now and then activate the other version of shelves."""
        with (
            closing(kafka_send.connect(self._bootstrap, self._offers.topic, fast=True)) as sender,
            repeating(lambda: self._change(sender), EVERY_S, "changes"),
        ):
            yield

    def _change(self, sender: kafka_send.Sender) -> None:
        if self.batches % ACTIVATE_EVERY == 0:
            self._versions.activate(self.names[self.batches // ACTIVATE_EVERY % len(self.names)])
        rng = self._stage.rng
        for item in rng.sample(list(self._facts), ITEMS_AT_ONCE):
            self._facts[item] |= {"stock": rng.randrange(4), "price_minor": rng.randrange(1_000, 9_000)}
            sender.send(item.encode(), encode(self._facts[item]), time.time_ns() // 1_000_000)
        sender.flush()
        self.batches += 1

    def used(self) -> set[str]:
        """Return the versions that made the lists that stand in Redis now."""
        with self._stage.system.redis() as client:
            keys = [shelf_key(visitor, "home") for visitor in self._stage.sampler.visitors()]
            values = [value for value in client.mget(keys) if value is not None]
        return {msgspec.json.decode(value, type=ShelfValue).shelves for value in values}


def change_all_the_time(stage: Stage, times: float) -> None:
    """Change facts and shelves while the TaskManager dies; `verify` judges the lists of each version."""
    shop, started_s = Shop(stage), time.monotonic()
    with shop.changing():
        kill_task_manager(stage, times)
        stage.traffic.join()
    stage.check("facts changed all the time", shop.batches >= (time.monotonic() - started_s) / EVERY_S / 2)
    stage.check("lists of both versions were made", shop.used() >= set(shop.names))


SCENARIOS = (
    Scenario(
        "S1", "100 facts a second and shelves change, TaskManager kill -9", change_all_the_time, "kills", 2, 5, 40
    ),
)
