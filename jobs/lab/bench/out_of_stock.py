"""Measure how soon what is sold out leaves all lists of a running system, and how soon it is back.

    python -m jobs.lab.bench.out_of_stock

It needs a system of LIVESHELF_STATE_DIR with lists, a catalogue, and an active version of shelves whose gate reads
`item.stock`. Of each visitor the first item that a page of all shelves shows is set to 0, then back. The time runs from
before the record is sent until a reader, which looks at one page after the other, doesn't show the item on any shelf.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from jobs.cluster import runtime
from jobs.connect import addresses, fact_topics, kafka_send
from jobs.contract.items import FactContract, Fields, encode
from jobs.operate import show
from jobs.operate.facts import contracts_of
from jobs.settings import Settings
from liveshelf import Shelf, ShelfReader

VISITORS, GROUP = 1000, 50
LIMIT_S = 30.0
OUT_OF_STOCK: Fields = {"stock": 0}


class Measured(NamedTuple):
    """Seconds of each visitor until the item was gone, and until it was back; who waited in vain isn't among them."""

    gone_s: list[float]
    back_s: list[float]
    visitors: int


class Shop(NamedTuple):
    """Where offers are said, and what is known of them; where lists are read, and on which shelves."""

    bootstrap: str
    offers: FactContract
    reader: ShelfReader
    shelves: Sequence[str]

    def page(self, visitor_id: str) -> Mapping[str, Shelf]:
        return self.reader.page(visitor_id, self.shelves)

    def first(self, visitor_id: str) -> str:
        """Return the first item that the visitor sees, "" for none."""
        return next((items[0] for shelf in self.page(visitor_id).values() if (items := shelf.items)), "")

    def shows(self, visitor_id: str, item_id: str) -> bool:
        return any(item_id in shelf.items for shelf in self.page(visitor_id).values())


def main() -> None:
    settings = Settings()
    running = runtime.attach(settings, ("kafka", "redis"))
    (offers,) = (each for each in contracts_of(settings) if each.topic == settings.offers_topic)
    visitors = show.some_visitors(settings, running, count=VISITORS)
    with addresses.redis_client(running.redis_url) as client:
        shop = Shop(running.kafka_bootstrap, offers, ShelfReader(client), show.shelf_names(settings))
        report(measure(shop, visitors), len(shop.shelves))


def measure(shop: Shop, visitors: Sequence[str]) -> Measured:
    """Sell out the first item of each visitor, a group at a time, and bring it back."""
    offers = {item: known.fields for item, known in fact_topics.read(shop.bootstrap, shop.offers).items()}
    measured = Measured([], [], len(visitors))
    with closing(kafka_send.connect(shop.bootstrap, shop.offers.topic, fast=True)) as sender:

        def say(items: Iterable[str], changed: Fields) -> None:
            for item in items:
                sender.send(item.encode(), encode(offers[item] | changed), time.time_ns() // 1_000_000)
            sender.flush()

        for start in range(0, len(visitors), GROUP):
            firsts = {visitor: shop.first(visitor) for visitor in visitors[start : start + GROUP]}
            sold = {visitor: item for visitor, item in firsts.items() if item in offers}
            for seconds, changed, is_shown in ((measured.gone_s, OUT_OF_STOCK, False), (measured.back_s, {}, True)):
                began_s = time.monotonic()
                say(set(sold.values()), changed)
                seconds += waited(shop, sold, is_shown, began_s)
    return measured


def waited(shop: Shop, items: Mapping[str, str], is_shown: bool, began_s: float) -> list[float]:
    """Return after how long each visitor's item was shown, or wasn't any more."""
    pending, seconds = dict(items), []
    while pending and time.monotonic() - began_s < LIMIT_S:
        for visitor, item in list(pending.items()):
            if shop.shows(visitor, item) == is_shown:
                seconds.append(time.monotonic() - began_s)
                del pending[visitor]
    return seconds


def report(measured: Measured, shelves: int, say: Callable[[str], object] = print) -> None:
    say(f"{measured.visitors:,} visitors with a list, {shelves} shelves")
    for what, seconds in (("gone", measured.gone_s), ("back", measured.back_s)):
        ordered = sorted(seconds)
        if not ordered:
            say(f"{what}: nothing was sold out, or nothing changed: is there a gate on item.stock?")
            continue
        points = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1]
        say(f"{what} of {len(ordered):,}: p50 {points[0]:.2f} s, p99 {points[1]:.2f} s, worst {points[2]:.2f} s")


if __name__ == "__main__":
    main()
