"""A Feast stream feature view as plain values with units."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from jobs.errors import DefinitionError

UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One feature: `function` over `column`; `window_ms` is None for a session's."""

    feature: str
    column: str
    function: str
    window_ms: int | None
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """One view: a session view has `gap_ms`, a sliding view `slide_ms`, a view as of each event neither.

    A view of item facts has a `topic` of its own; its aggregates are the fields of an item's newest record.
    """

    name: str
    keys: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    delay_ms: int
    ttl_ms: int | None = None
    gap_ms: int | None = None
    slide_ms: int | None = None
    topic: str = ""


def fact_views(definitions: Iterable) -> list[View]:
    """Return the views of item facts among Feast's `FeatureView`s: those that read a Kafka topic."""
    of_kafka = [view for view in definitions if type(view.stream_source).__name__ == "KafkaSource"]
    return [
        View(
            name=view.name,
            keys=tuple(view.join_keys),
            aggregates=tuple(Aggregate(f.name, f.name, "newest", None, str(f.dtype)) for f in view.features),
            delay_ms=0,
            ttl_ms=_ms(view.ttl) or None if view.ttl else None,
            topic=view.stream_source.kafka_options.topic,
        )
        for view in of_kafka
    ]


def plain_views(definitions: Iterable) -> list[View]:
    """Return the online views among Feast's `StreamFeatureView`s that aggregate something.

    Raises DefinitionError if one can't be read, or if their watermark delays differ: an event is late for all or none.
    """
    online = [view for view in definitions if view.aggregations and getattr(view, "online", True)]
    views = [plain_view(view) for view in online]
    if len({view.delay_ms for view in views}) > 1:
        delays = ", ".join(f"{view.name} {view.delay_ms} ms" for view in views)
        raise DefinitionError(
            f"the views' sources differ in watermark_delay_threshold: {delays}",
            "give them one watermark_delay_threshold",
        )
    return views


def plain_view(definition) -> View:
    """Read one `StreamFeatureView`, or anything with its attributes. Raises DefinitionError with name and fault."""
    tags = dict(definition.tags or {})
    session = tags.get("window") == "session"
    dtypes = {column.name: str(column.dtype) for column in definition.schema}
    return View(
        name=definition.name,
        keys=tuple(definition.join_keys),
        aggregates=tuple(_aggregate(definition.name, one, session, dtypes) for one in definition.aggregations),
        delay_ms=_delay_ms(definition),
        ttl_ms=_ms(definition.ttl) or None if definition.ttl else None,
        gap_ms=duration_ms(tags.get("gap", "30m"), definition.name) if session else None,
        slide_ms=None if session else _slide_ms(definition, tags),
    )


def duration_ms(text: str, view: str) -> int:
    """Read "30m" as milliseconds. Raises DefinitionError naming the view."""
    parts = re.fullmatch(r"(\d+)\s*(ms|s|m|h|d)", text.strip())
    if not parts:
        raise DefinitionError(f"{view}: {text!r} isn't a duration", "write a number and ms, s, m, h or d, as in 30m")
    return int(parts[1]) * UNIT_MS[parts[2]]


def _aggregate(view: str, aggregation, session: bool, dtypes: dict[str, str]) -> Aggregate:
    name = aggregation.name or aggregation.resolved_name(aggregation.time_window)
    if not session and not aggregation.time_window:
        raise DefinitionError(f"{view}.{name} has no time_window", "give it one, or tag the view as a session view")
    window_ms = None if session else _ms(aggregation.time_window)
    return Aggregate(name, aggregation.column, aggregation.function, window_ms, dtypes.get(name, ""))


def _slide_ms(definition, tags: dict[str, str]) -> int | None:
    if "slide" in tags:
        return duration_ms(tags["slide"], definition.name)
    # Feast sets slide_interval to time_window where none is given.
    slides = {
        _ms(aggregation.slide_interval)
        for aggregation in definition.aggregations
        if aggregation.slide_interval and aggregation.slide_interval != aggregation.time_window
    }
    if len(slides) > 1:
        what = f"{definition.name} slides by {sorted(slides)} ms at once"
        raise DefinitionError(what, "give each slide its own view")
    return slides.pop() if slides else None


def _delay_ms(definition) -> int:
    """Read the watermark delay. A registered view has a `stream_source` with the delay in its `kafka_options`."""
    source = getattr(definition, "stream_source", None) or definition.source
    delay = getattr(source, "kafka_options", source).watermark_delay_threshold
    return _ms(delay) if delay else 0


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
