"""The parts of a view: features that count from the topic's beginning, and features that began to count later."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from jobs.flow.began import Beginning
from jobs.verify.classify import Entry
from jobs.verify.features import EVERY, Key, Row, newest_rows
from jobs.verify.sample import Sample
from jobs.verify.views import Aggregate, View

Began = Mapping[str, Beginning]  # by "view:feature"; features that aren't in it are of the first part
FIRST = Beginning(0, {})


@dataclass(frozen=True)
class Part:
    """The features of a view that began to count together. The job computes and writes them together too."""

    view: View
    began: Beginning

    @property
    def rows_together(self) -> tuple:
        """Return what views have in common whose rows the job writes together: entity, slide and part."""
        return self.view.keys, self.view.slide_ms, self.began.part

    def counts(self, entry: Entry) -> bool:
        return entry.record.offset >= (self.began.offsets or {}).get(entry.record.partition, 0)


@dataclass
class Expected:
    """The rows that the oracle expects of a view.

    `times_ms` holds the times of an entity's rows where its parts have different ones: each part writes its row by
    itself, and the view's time is that of the row that was written last.
    `unknown` are features of which nobody knows where they began to count.
    """

    rows: dict[Key, Row] = field(default_factory=dict)
    times_ms: dict[Key, set[int]] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()

    def only(self, entities: Collection[Key]) -> "Expected":
        """Return the same for some of the entities."""
        return replace(self, rows={key: row for key, row in self.rows.items() if key in entities})


def parts_of(view: View, began: Began) -> list[Part]:
    """Divide a view's features into the parts that began to count together, the oldest part first."""
    groups: dict[int, list[Aggregate]] = defaultdict(list)
    beginnings: dict[int, Beginning] = {}
    for aggregate in view.aggregates:
        beginning = began.get(f"{view.name}:{aggregate.feature}", FIRST)
        beginnings[beginning.part] = beginning
        groups[beginning.part].append(aggregate)
    return [Part(replace(view, aggregates=tuple(groups[part])), beginnings[part]) for part in sorted(groups)]


def expected_rows(
    views: Iterable[View],
    began: Began,
    counted: list[Entry],
    watermark_ms: int,
    cap: int,
    sample: Sample = EVERY,
) -> dict[str, Expected]:
    """Return each view's expected rows; arguments as in `newest_rows`.

    A part that began later sees only the events from there on. All events decide which ones are late or duplicates.
    """
    parts = {view.name: parts_of(view, began) for view in views}
    windows_ms: dict[tuple, set[int]] = defaultdict(set)
    for part in (part for of_view in parts.values() for part in of_view if part.view.slide_ms):
        windows_ms[part.rows_together] |= {aggregate.window_ms for aggregate in part.view.aggregates}
    expected = {}
    for name, of_view in parts.items():
        rows_by_part = [
            newest_rows(
                part.view,
                [entry for entry in counted if part.counts(entry)] if part.began.offsets else counted,
                watermark_ms,
                cap,
                sample,
                windows_ms[part.rows_together],
            )
            for part in of_view
        ]
        expected[name] = _together(of_view, rows_by_part)
    return expected


def _together(parts: list[Part], rows_by_part: list[dict[Key, Row]]) -> Expected:
    """One row an entity: a part without a row for it has written nothing, so its features are null."""
    if len(parts) == 1 and parts[0].began.offsets is not None:
        return Expected(rows_by_part[0])
    unknown = frozenset(
        aggregate.feature for part in parts if part.began.offsets is None for aggregate in part.view.aggregates
    )
    nulls = {aggregate.feature: None for part in parts for aggregate in part.view.aggregates}
    together = Expected(unknown=unknown)
    for rows in rows_by_part:
        for key, row in rows.items():
            before = together.rows.get(key, Row(row.event_time_ms, nulls, row.reach_ms))
            newest_ms, reach_ms = max(before.event_time_ms, row.event_time_ms), min(before.reach_ms, row.reach_ms)
            together.rows[key] = Row(newest_ms, before.values | row.values, reach_ms)
            together.times_ms.setdefault(key, set()).add(row.event_time_ms)
    return together
