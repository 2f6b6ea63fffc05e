"""The catalogue of a recorded shop: what its set tells of each item, and what had to be made up."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.contract.items import Value
from jobs.lab.replay.shops import DATASETS, ESHOP_CATEGORIES, table

MADE_UP = "titles and stock are made up, as the set tells neither"
MOST_PIECES = 40

# The set's own numbers of colours.
ESHOP_COLOURS = {
    "1": "beige", "2": "black", "3": "blue", "4": "brown", "5": "burgundy", "6": "gray", "7": "green",
    "8": "navy blue", "9": "of many colors", "10": "olive", "11": "pink", "12": "red", "13": "violet", "14": "white",
}  # fmt: skip
ESHOP_WORDS = {"trousers": "trousers", "skirts": "skirt", "blouses": "blouse", "sale": "bargain"}

Row = tuple[str, dict[str, Value | None]]


def eshop2008(path: Path = DATASETS / "eshop2008.csv.gz") -> Iterator[Row]:
    """Yield the 217 items of the clothing shop, by id: category, colour and price as its last click tells them.

    An item is on offer if the shop has it in its category "sale". Its title is made of colour, kind and id, its stock
    (1 to 40 pieces) of its id.
    """
    last = {row["page2_clothing_model"]: row for _, row in table(path)}
    for item_id, row in sorted(last.items()):
        category, colour = ESHOP_CATEGORIES[row["page1_main_category"]], ESHOP_COLOURS[row["colour"]]
        yield (
            item_id,
            {
                "title": f"{colour} {ESHOP_WORDS[category]} {item_id}",
                "category": category,
                "colour": colour,
                "price_minor": int(row["price"]) * 100,
                "currency": "USD",
                "stock": 1 + zlib.crc32(item_id.encode()) % MOST_PIECES,
                "status": "active",
                "on_offer": category == "sale",
            },
        )


CATALOGUES: dict[str, Callable[[], Iterator[Row]]] = {"eshop2008": eshop2008}
