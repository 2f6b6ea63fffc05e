"""Turn the rows of each set into contract events: one function per set, from its files to `Row`s in file order."""

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from pathlib import Path

import msgspec

from jobs.contract.events import SCHEMA_VERSION, Event
from jobs.files.events import Row

DAY_MS = 86_400_000
DATASETS = Path(__file__).parent / "datasets"


@dataclass(frozen=True)
class Shop:
    """A set: its files (first in `datasets/`, or in the user's `--data-dir` when it may not be shipped)."""

    files: tuple[str, ...]
    rows: Callable[[Sequence[Path], Counter[str]], Iterator[Row]]
    shipped: bool = True
    in_time_order: bool = False  # its rows can be passed on as they are read


def table(path: Path, delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, row) of a gzipped table with a header."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter=delimiter)
        for row in reader:
            yield reader.line_num, row


def _event(event_id: str, event_type: str, time_ms: int, visitor_id: str, **fields: str | int) -> Event:
    return {
        "schema_version": SCHEMA_VERSION,
        "event_id": event_id,
        "event_type": event_type,
        "event_time_ms": time_ms,
        "visitor_id": visitor_id,
        **fields,
    }


ESHOP_CATEGORIES = {"1": "trousers", "2": "skirts", "3": "blouses", "4": "sale"}
ESHOP_PAUSE_MS = 1_200_000


def eshop2008(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[Row]:
    """Yield the clicks of a clothing shop, in US dollars.

    The set has no clock, only the day and the order of a session's clicks. Here a session's n clicks lie evenly in its
    day (UTC), 20 minutes apart, or closer where they wouldn't fit (no pause reaches the session gap of 30 minutes).
    Its start is drawn from the session's number, so that a day's sessions overlap and every read gives the same times.
    `country` is the set's own number of a country (29: Poland).
    """
    (path,) = paths
    for session, lines in groupby(table(path), key=lambda line: line[1]["session_id"]):
        clicks = list(lines)
        first = clicks[0][1]
        day = datetime(int(first["year"]), int(first["month"]), int(first["day"]), tzinfo=UTC)
        for line, row in clicks:
            order = int(row["order"])
            time_ms = int(day.timestamp()) * 1000 + eshop_time_of_day_ms(session, order, len(clicks))
            event = _event(
                f"eshop-{session}-{order}", "view", time_ms, f"s{session}",
                item_id=row["page2_clothing_model"],
                category=ESHOP_CATEGORIES[row["page1_main_category"]],
                price_minor=int(row["price"]) * 100,
                currency="USD",
                country=row["country"],
            )  # fmt: skip
            yield Row(path, line, event)


def eshop_time_of_day_ms(session: str, order: int, clicks: int) -> int:
    """Return when in its day click number `order` (from 1) of a session of `clicks` clicks happens, in ms."""
    pause_ms = min(ESHOP_PAUSE_MS, (DAY_MS - 60_000) // clicks)
    room_ms = DAY_MS - pause_ms * (clicks - 1)
    return zlib.crc32(session.encode()) % room_ms + pause_ms * (order - 1)


# ISO 3166 of the countries that Online Retail spells out; what is no country ("Unspecified", "European Community",
# "Channel Islands") has none.
_ISO_COUNTRY = {
    "Australia": "AU", "Austria": "AT", "Bahrain": "BH", "Belgium": "BE", "Brazil": "BR", "Canada": "CA",
    "Cyprus": "CY", "Czech Republic": "CZ", "Denmark": "DK", "EIRE": "IE", "Finland": "FI", "France": "FR",
    "Germany": "DE", "Greece": "GR", "Hong Kong": "HK", "Iceland": "IS", "Israel": "IL", "Italy": "IT",
    "Japan": "JP", "Lebanon": "LB", "Lithuania": "LT", "Malta": "MT", "Netherlands": "NL", "Norway": "NO",
    "Poland": "PL", "Portugal": "PT", "RSA": "ZA", "Saudi Arabia": "SA", "Singapore": "SG", "Spain": "ES",
    "Sweden": "SE", "Switzerland": "CH", "USA": "US", "United Arab Emirates": "AE", "United Kingdom": "GB",
}  # fmt: skip


def onlineretail(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[Row]:
    """Yield invoice lines of a UK gift shop as purchases, in pounds; the minute is read as UTC.

    A line without a customer belongs to the visitor `invoice-<number>`. Cancellations and lines without a positive
    quantity or price are no purchases: skipped and counted.
    """
    (path,) = paths
    lines_of: Counter[str] = Counter()
    for line, row in table(path):
        invoice, quantity, price = row["InvoiceNo"], int(Decimal(row["Quantity"])), Decimal(row["UnitPrice"])
        lines_of[invoice] += 1
        reason = _no_purchase(invoice, quantity, price)
        if reason:
            skipped[reason] += 1
            continue
        customer = row["CustomerID"].removesuffix(".0")
        time = datetime.fromisoformat(row["InvoiceDate"]).replace(tzinfo=UTC)
        event = _event(
            f"retail-{invoice}-{lines_of[invoice]}", "purchase", int(time.timestamp()) * 1000,
            f"c{customer}" if customer else f"invoice-{invoice}",
            session_id=invoice,
            item_id=row["StockCode"],
            price_minor=int((price * 100).to_integral_value(ROUND_HALF_UP)),
            currency="GBP",
            quantity=quantity,
        )  # fmt: skip
        if customer:
            event["user_id"] = customer
        if row["Country"] in _ISO_COUNTRY:
            event["country"] = _ISO_COUNTRY[row["Country"]]
        yield Row(path, line, event)


def _no_purchase(invoice: str, quantity: int, price: Decimal) -> str:
    if invoice.startswith("C"):
        return "cancellation"
    if quantity <= 0:
        return "quantity_not_positive"
    return "price_not_positive" if price <= 0 else ""


_OTTO_TYPES = {"clicks": "view", "carts": "add_to_cart", "orders": "purchase"}


def otto(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[Row]:
    """Yield clicks, carts and orders of the OTTO shop, one session a line; a session is a visitor."""
    (path,) = paths
    with gzip.open(path) as lines:
        for line, text in enumerate(lines, start=1):
            session = msgspec.json.decode(text)
            for number, action in enumerate(session["events"], start=1):
                event_id, visitor_id = f"otto-{session['session']}-{number}", f"s{session['session']}"
                event = _event(
                    event_id, _OTTO_TYPES[action["type"]], action["ts"], visitor_id, item_id=str(action["aid"])
                )
                yield Row(path, line, event)


def serenade_toy(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[Row]:
    """Yield clicks of bol.com, all three parts (no session is in two of them); a session is a visitor."""
    yield from _session_clicks(paths, "serenade")


def yoochoose64(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[Row]:
    """Yield clicks of 23 to 30 September 2014 with category, training and test part; a session is a visitor."""
    yield from _session_clicks(paths, "yoochoose")


def _session_clicks(paths: Sequence[Path], prefix: str) -> Iterator[Row]:
    for path in paths:
        part = path.name.split(".")[0]
        for line, row in table(path, "\t"):
            time_ms = round(float(row["Time"]) * 1000)
            event = _event(f"{prefix}-{part}-{line}", "view", time_ms, f"s{row['SessionId']}", item_id=row["ItemId"])
            if "CatId" in row:
                event["category"] = row["CatId"]
            yield Row(path, line, event)


_RETAILROCKET_TYPES = {"view": "view", "addtocart": "add_to_cart", "transaction": "purchase"}


def retailrocket(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[Row]:
    """Yield views, carts and transactions of 10 to 18 September 2015."""
    (path,) = paths
    for line, row in table(path):
        event = _event(
            f"retailrocket-{line}", _RETAILROCKET_TYPES[row["Type"]], int(row["Time"]) * 1000, f"u{row['UserId']}",
            item_id=row["ItemId"],
            category=row["CatId"],
        )  # fmt: skip
        yield Row(path, line, event)


def trivago100k(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[Row]:
    """Yield a hotel search's events: looking at an item and clicking out are views, all else is a search.

    What was searched, filtered or sorted by becomes `query`; a search for an item names it in `item_id` too. Free text
    where an item's number belongs is skipped and counted. The id is the line's: three lines repeat a session's step.
    """
    (path,) = paths
    for line, row in table(path):
        action, reference = row["action_type"], row["reference"]
        names_item = action == "clickout item" or action == "search for item" or action.startswith("interaction item")
        if names_item and not reference.isdecimal():
            skipped["text_instead_of_item"] += 1
            continue
        fields = {"session_id": row["session_id"], "device": row["device"]}
        if names_item:
            fields["item_id"] = reference
        is_view = names_item and action != "search for item"
        if not is_view:
            fields["query"] = reference
        time_ms, kind = int(row["timestamp"]) * 1000, "view" if is_view else "search"
        yield Row(path, line, _event(f"trivago-{line}", kind, time_ms, f"u{row['user_id']}", **fields))


SHOPS: dict[str, Shop] = {
    "eshop2008": Shop(("eshop2008.csv.gz",), eshop2008),
    "onlineretail": Shop(("onlineretail.csv.gz",), onlineretail, in_time_order=True),
    "otto": Shop(("otto_sample.jsonl.gz",), otto),
    "serenade_toy": Shop(tuple(f"serenade_toy/{part}.tsv.gz" for part in ("train", "valid", "test")), serenade_toy),
    "retailrocket": Shop(("retailrocket/events.csv.gz",), retailrocket, shipped=False, in_time_order=True),
    "trivago100k": Shop(("trivago100k/events.csv.gz",), trivago100k, shipped=False),
    "yoochoose64": Shop(("yoochoose64/train_full.tsv.gz", "yoochoose64/test.tsv.gz"), yoochoose64, shipped=False),
}
