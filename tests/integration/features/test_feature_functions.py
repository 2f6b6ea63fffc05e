"""Compare every function over every frame, computed in the JVM, with the oracle and with values worked out by hand.

The rows come from `liveshelf history`. It runs the job's own SQL over a file, and keeps each row that the job would
have written.
"""

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.connect.kafka_read import Record
from jobs.verify.classify import Entry
from jobs.verify.features import newest_rows
from jobs.verify.views import Aggregate, View

START_MS = 1_785_000_000_000 // 60_000 * 60_000
DEFINITIONS = """
from datetime import timedelta
from feast import Entity, Field, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Array, Float64, Int64, String

visitor = Entity(name="visitor", join_keys=["visitor_id"], value_type=ValueType.STRING)
KIND = dict.fromkeys(["price_minor", "quantity", "purchased_pieces"], Int64)
KIND |= {"rating": Float64, "item_id": String, "event_id": String}
NUMBERS = ["sum", "count", "min", "max", "mean", "std", "count_distinct", "first", "last", "span"]
WORDS = ["count", "min", "max", "count_distinct", "first", "last"]
SLIDING = ["sum", "count", "mean", "std", "count_distinct"]


def dtype(function, column):
    if function in ("count", "count_distinct", "is_single"):
        return Int64
    if function in ("mean", "std"):
        return Float64
    return Array(KIND[column]) if function.startswith("last_") else KIND[column]


def view(name, windows_s, asked, slide_s=None, **more):
    aggregations = [
        Aggregation(
            column=column, function=function, name=f"{function}_{column}_{window_s}",
            time_window=timedelta(seconds=window_s) if window_s else None,
            slide_interval=timedelta(seconds=slide_s) if slide_s else None,
        )
        for window_s in windows_s for function, column in asked
    ]
    return StreamFeatureView(
        name=name, entities=[visitor], timestamp_field="event_timestamp", ttl=timedelta(days=1),
        aggregations=aggregations,
        source=KafkaSource(
            name=f"{name}_events", topic="events", timestamp_field="event_timestamp",
            message_format=JsonFormat(schema_json=""), watermark_delay_threshold=timedelta(seconds=1),
            batch_source=FileSource(name=f"{name}_history", path=f"{name}.parquet", timestamp_field="event_timestamp"),
        ),
        schema=[
            Field(name="visitor_id", dtype=String),
            *(Field(name=a.name, dtype=dtype(a.function, a.column)) for a in aggregations),
        ],
        **more,
    )


asked = [(f, c) for c in ("price_minor", "rating") for f in NUMBERS] + [(f, "item_id") for f in WORDS]
asked += [("is_single", "event_id"), ("mean", "quantity"), ("sum", "purchased_pieces"), ("mean", "purchased_pieces")]
lasts = [("last_3", "item_id"), ("last_2", "rating")]
session = view("session", [0], asked + lasts, tags={"window": "session", "gap": "90s"})
trailing = view("trailing", [60, 240], asked)
sliding = view("sliding", [60, 240], [(f, c) for c in ("price_minor", "rating") for f in SLIDING] + [
    ("count", "item_id"), ("count_distinct", "item_id")], slide_s=20)
"""
ASKED = [
    *(
        (f, c)
        for c in ("price_minor", "rating")
        for f in ("sum", "count", "min", "max", "mean", "std", "count_distinct", "first", "last", "span")
    ),
    *((f, "item_id") for f in ("count", "min", "max", "count_distinct", "first", "last")),
    ("is_single", "event_id"),
    ("mean", "quantity"),
    ("sum", "purchased_pieces"),
    ("mean", "purchased_pieces"),
]
SLID = [
    *((f, c) for c in ("price_minor", "rating") for f in ("sum", "count", "mean", "std", "count_distinct")),
    ("count", "item_id"),
    ("count_distinct", "item_id"),
]
CAP = 2


def view_of(name: str, asked: list[tuple[str, str]], windows_s: tuple[int, ...], **frame: int) -> View:
    aggregates = tuple(
        Aggregate(f"{function}_{column}_{window_s}", column, function, window_s * 1000 or None)
        for window_s in windows_s
        for function, column in asked
    )
    return View(name, ("visitor_id",), aggregates, delay_ms=1000, **frame)


VIEWS = {
    "session": view_of("session", [*ASKED, ("last_3", "item_id"), ("last_2", "rating")], (0,), gap_ms=90_000),
    "trailing": view_of("trailing", ASKED, (60, 240)),
    "sliding": view_of("sliding", SLID, (60, 240), slide_ms=20_000),
}


def event(number: int, second: float, visitor: str, kind: str = "view", **fields: object) -> dict[str, object]:
    return {
        "schema_version": 1,
        "event_id": f"e-{number}",
        "event_type": kind,
        "visitor_id": visitor,
        "event_time_ms": START_MS + int(second * 1000),
        **fields,
    }


def random_events(count: int, seed: int) -> list[dict[str, object]]:
    """Four visitors, some events at one instant, pauses on both sides of the session's gap, values that come again."""
    chance, second, made = random.Random(seed), 0.0, []
    for number in range(count):
        second += chance.choice((0, 0, 0.5, 3, 20, 20, 40, 91))
        visitor, item = f"v-{chance.randrange(4)}", f"i-{chance.randrange(6)}"
        if chance.random() < 0.3:
            made.append(event(number, second, visitor, "rating", item_id=item, rating=chance.choice((0.5, 1.1, 3.3))))
        elif chance.random() < 0.2:
            made.append(event(number, second, visitor, "search", query='é"\\'))
        else:
            made.append(
                event(
                    number,
                    second,
                    visitor,
                    item_id=item,
                    price_minor=chance.choice((5, 100, 100, 900_000_000)),
                    currency="EUR",
                )
            )
    return made


BY_HAND = [
    event(9_000, 0, "hand", item_id="a", price_minor=100, currency="EUR"),
    event(9_001, 30, "hand", item_id="b", price_minor=300, currency="EUR"),
    event(
        9_002, 90, "hand", item_id='"\\é', price_minor=200, currency="EUR"
    ),  # the first leaves the minute, the second not
    event(9_003, 181, "hand", item_id="a", price_minor=700, currency="EUR"),  # 91 s later: another session
    event(9_004, 300, "buyer", item_id="a", quantity=9),  # a view buys nothing
    event(9_005, 310, "buyer", "purchase", item_id="a", quantity=3),
    event(9_006, 320, "buyer", "purchase", item_id="b"),
]


@pytest.fixture(scope="module")
def events() -> list[dict[str, object]]:
    return sorted([*random_events(250, seed=7), *BY_HAND], key=lambda each: each["event_time_ms"])


Rows = dict[str, dict[str, list[tuple[int, dict]]]]  # view → visitor → (event time, values) of each row, oldest first


@pytest.fixture(scope="module")
def rows(events, tmp_path_factory) -> Rows:
    return history(events, tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def capped_rows(events, tmp_path_factory) -> Rows:
    return history(events, tmp_path_factory.mktemp("capped"), LIVESHELF_MAX_WINDOW_EVENTS=str(CAP))


def history(events: list[dict[str, object]], folder: Path, **settings: str) -> Rows:
    (folder / "definitions.py").write_text(DEFINITIONS)
    store = Path("feature_repo/feature_store.yaml")
    (folder / "feature_store.yaml").write_bytes(store.read_bytes())
    (folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    told = os.environ | {"LIVESHELF_FEATURE_REPO": str(folder), "LIVESHELF_STATE_DIR": str(folder / "state")} | settings
    command = [str(Path(sys.executable).with_name("liveshelf")), "history", str(folder / "events.jsonl")]
    done = subprocess.run(command, env=told, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, list]] = {name: defaultdict(list) for name in VIEWS}
    for name in VIEWS:
        for row in pq.read_table(folder / f"{name}.parquet").to_pylist():
            time_ms = round(row["event_timestamp"].timestamp() * 1000)
            found[name][row["visitor_id"]].append((time_ms, row))
    return found


def same(found: object, expected: object) -> bool:
    if isinstance(expected, float):
        return found is not None and found == pytest.approx(expected, rel=1e-9, abs=1e-6)
    return found == expected


@pytest.mark.parametrize("name", VIEWS)
def test_every_feature_is_the_oracles_at_every_moment(name: str, rows, events):
    compare(name, rows, events)


@pytest.mark.parametrize("name", VIEWS)
def test_with_cap_on_windows_every_feature_is_the_oracles_too(name: str, capped_rows, events):
    compare(name, capped_rows, events, CAP)


def compare(name: str, rows: Rows, events: list[dict[str, object]], cap: int = 5000) -> None:
    view = VIEWS[name]
    entries = [Entry(Record(0, place, 0, None, b""), "counted", each) for place, each in enumerate(events)]
    moments = sorted({each["event_time_ms"] for each in events} | {START_MS + 10**9})
    compared = 0
    for moment_ms in moments[::7] + moments[-1:]:
        for (visitor,), expected in newest_rows(view, entries, moment_ms, cap).items():
            due_ms = moment_ms + (1 if view.slide_ms else 0)
            time_ms, values = [row for row in rows[name][visitor] if row[0] <= due_ms][-1]
            assert time_ms == expected.event_time_ms
            wrong = {f: (values[f], v) for f, v in expected.values.items() if not same(values[f], v)}
            assert not wrong, f"{visitor} at {moment_ms}: (found, expected) {wrong}"
            compared += len(expected.values)
    assert compared > 1000


def test_a_session_begins_anew_after_the_gap(rows):
    """A session begins anew after the gap and its values are those of the hand."""
    values = [row for _, row in rows["session"]["hand"]]
    assert [row["sum_price_minor_0"] for row in values] == [100, 400, 600, 700]
    assert [row["last_3_item_id_0"] for row in values] == [["a"], ["a", "b"], ["a", "b", '"\\é'], ["a"]]
    assert [row["is_single_event_id_0"] for row in values] == [1, 0, 0, 1]
    assert [row["span_price_minor_0"] for row in values] == [0, 200, 200, 0]
    assert [row["mean_rating_0"] for row in values] == [None] * 4


def test_a_purchase_without_a_quantity_is_of_one_piece(rows):
    values = [row for _, row in rows["session"]["buyer"]]
    assert [row["sum_purchased_pieces_0"] for row in values] == [0, 3, 4]
    assert [row["mean_purchased_pieces_0"] for row in values] == [None, 3, 2]
    assert [row["mean_quantity_0"] for row in values] == [9, 6, 6]  # null where absent, so it isn't in the mean


def test_a_trailing_window_holds_an_event_exactly_its_length_ago(rows):
    """A trailing window holds an event exactly its length ago and none before."""
    values = [row for _, row in rows["trailing"]["hand"]]
    assert [row["sum_price_minor_60"] for row in values] == [100, 400, 500, 700]
    assert [row["first_item_id_60"] for row in values] == ["a", "a", "b", "a"]
    assert [row["max_price_minor_240"] for row in values] == [100, 300, 300, 700]
    assert [row["std_price_minor_240"] for row in values][:2] == [None, pytest.approx(20_000**0.5)]


def test_a_capped_window_holds_its_newest_events_whatever_its_length(capped_rows):
    values = [row for _, row in capped_rows["trailing"]["hand"]]
    # Of 60 s the times put out more than the cap of 2; of 240 s the cap does.
    assert [row["sum_price_minor_60"] for row in values] == [100, 400, 500, 700]
    assert [row["sum_price_minor_240"] for row in values] == [100, 400, 500, 900]
    assert [row["first_item_id_240"] for row in values] == ["a", "a", "b", '"\\é']
    assert [row["count_distinct_item_id_0"] for _, row in capped_rows["session"]["hand"]] == [1, 2, 2, 1]
    assert [row["count_item_id_0"] for _, row in capped_rows["session"]["hand"]] == [1, 2, 3, 1]


def test_a_sliding_window_changes_at_the_ends_of_slides_only(rows):
    found = [((time_ms - START_MS) // 1000, row["sum_price_minor_60"]) for time_ms, row in rows["sliding"]["hand"]]
    assert found[:7] == [(20, 100), (40, 400), (80, 300), (100, 200), (160, 0), (200, 700), (260, 0)]
    distinct = [
        ((time_ms - START_MS) // 1000, row["count_distinct_item_id_240"]) for time_ms, row in rows["sliding"]["hand"]
    ]
    # "a" came at 20 and again at 200: it leaves 240 s after the second time.
    assert distinct == [(20, 1), (40, 2), (80, 2), (100, 3), (160, 3), (200, 3), (260, 3), (280, 2), (340, 1), (440, 0)]
