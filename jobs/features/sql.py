"""A plan as Flink SQL: every view a chain of row-time windows in the JVM, all rows in one shape for one Python hop.

Each view ends in `SELECT view, entity, event_time_ms, seq, payload`: `seq` orders rows of one entity with the same event
time, `payload` is a JSON array of the outputs in the plan's order.
"""

import re

from jobs import events
from jobs.features.plan import FeaturePlan, Output, ViewPlan
from jobs.features.source import interval

SQL_DERIVED = {column.name: column for column in events.DERIVED}
# A row and the one before it. Not LAG: its frame is RANGE, so rows of equal time all see the last of them as their own
# predecessor, and a session that begins with two events of one second was joined to the one before.
PAIR = "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW"
SUMMED = ("sum", "mean", "std")


def sequenced(plan: FeaturePlan) -> str:
    """Every record with the newest event time that its partition has shown up to it.

    Whether a record is late is decided by its own partition's order, not by the operator's watermark, so a replay after
    a crash, another parallelism and the oracle all decide alike.
    """
    fields = ", ".join(f"event.`{name}` AS `{name}`" for name in event_fields(plan))
    return (
        f"SELECT `value`, kafka_partition, kafka_offset, ts, event.refusal AS refusal, "
        f"event.refusal_field AS refusal_field, {fields}, MAX(event.event_time_ms) OVER w AS newest_ms FROM records "
        "WINDOW w AS (PARTITION BY kafka_partition ORDER BY proc ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    )


TAKEN = f"refusal IS NULL AND event_type <> '{events.HEARTBEAT}'"


def late(plan: FeaturePlan) -> str:
    """Whether a row of `sequenced` is late. The second rule holds for a partition that was declared idle and came back.

    CURRENT_WATERMARK is null before the first watermark: what isn't known to be late is on time.
    """
    return f"((event_time_ms <= newest_ms - {plan.delay_ms} OR ts <= CURRENT_WATERMARK(ts)) IS TRUE)"


def counted(plan: FeaturePlan) -> str:
    """The events that count: accepted, on time, the first with its id."""
    names = ", ".join(f"`{name}`" for name in event_fields(plan))
    return (
        f"SELECT ts, {names} FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY proc ASC) AS copy "
        f"FROM sequenced WHERE {TAKEN} AND NOT {late(plan)}) WHERE copy = 1"
    )


def facts(plan: FeaturePlan) -> str:
    """Counted events with the derived columns that definitions may aggregate."""
    fields = event_fields(plan)
    names = ", ".join(f"`{name}`" for name in fields)
    derived = [column for column in events.DERIVED if column.name in plan_columns(plan)]
    return f"SELECT ts, {names}{''.join(f', {column.sql} AS {column.name}' for column in derived)} FROM counted"


def plan_columns(plan: FeaturePlan) -> set[str]:
    """The columns that the plan's views read, entities included."""
    return {column for view in plan.views for column in (*view.columns(), view.entity)}


def event_fields(plan: FeaturePlan) -> list[str]:
    """The contract's fields that the graph carries: what the views read and what their derived columns are made of."""
    wanted = plan_columns(plan) | {"event_id", "event_type", "event_time_ms"}
    sources = " ".join(column.sql for column in events.DERIVED if column.name in wanted)
    return [field.name for field in events.FIELDS if field.name in wanted or re.search(rf"\b{field.name}\b", sources)]


def view_sql(view: ViewPlan) -> str:
    """The query of one view over `facts` (or, for a slide, over its `…_changes`, see `change_sql`)."""
    return {"session": _session, "range": _range, "slide": _slide}[view.frame](view)


def _payload(view: ViewPlan, expressions: dict[str, str]) -> str:
    values = ", ".join(expressions[output.name] for output in view.outputs)
    return f"JSON_ARRAY({values} NULL ON NULL)"


def _row(view: ViewPlan, time_ms: str, seq: str, expressions: dict[str, str], source: str) -> str:
    return (
        f"SELECT CAST('{view.key}' AS STRING) AS view_name, {view.entity} AS entity, {time_ms} AS event_time_ms, {seq} AS seq, "
        f"{_payload(view, expressions)} AS payload FROM ({source})"
    )


def _session(view: ViewPlan) -> str:
    """Pause → session number → the session's aggregates; sequences of the last N events need a frame of their own."""
    key, kept = view.entity, ", ".join(["ts", "event_time_ms", view.entity, *_others(view)])
    paused = (
        f"SELECT {kept}, MIN(event_time_ms) OVER (PARTITION BY {key} ORDER BY ts {PAIR}) AS before_ms FROM facts "
        f"WHERE {key} IS NOT NULL"
    )
    numbered = (
        f"SELECT {kept}, SUM(CASE WHEN event_time_ms - before_ms > {view.gap_ms} THEN 1 ELSE 0 END) "
        f"OVER (PARTITION BY {key} ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session_number "
        f"FROM ({paused})"
    )
    parts = _parts([output for output in view.outputs if not output.n])
    parts["seq"] = "COUNT(*)"
    per = f"PARTITION BY {key}, session_number ORDER BY ts"
    source, passed = _aggregated(
        numbered, f"{kept}, session_number", parts, f"{per} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    )
    for output in (output for output in view.outputs if output.n):
        frame = f"{per} ROWS BETWEEN {output.n - 1} PRECEDING AND CURRENT ROW"
        source, passed = _aggregated(source, passed, {_part(output, "list"): f"ARRAY_AGG(`{output.column}`)"}, frame)
    return _row(view, "event_time_ms", "seq", {output.name: _finish(output) for output in view.outputs}, source)


def _range(view: ViewPlan) -> str:
    """One row-time frame after another, each passing on what the ones before it found."""
    kept = ", ".join(["ts", "event_time_ms", view.entity, *_others(view)])
    source, passed = f"SELECT {kept} FROM facts WHERE {view.entity} IS NOT NULL", kept
    for window_ms in view.windows_ms():
        parts = _parts([output for output in view.outputs if output.window_ms == window_ms])
        frame = f"PARTITION BY {view.entity} ORDER BY ts RANGE BETWEEN {interval(window_ms)} PRECEDING AND CURRENT ROW"
        source, passed = _aggregated(source, passed, parts, frame)
    return _row(view, "event_time_ms", "CAST(0 AS BIGINT)", {output.name: _finish(output) for output in view.outputs}, source)


def _aggregated(source: str, passed: str, parts: dict[str, str], frame: str) -> tuple[str, str]:
    """`source` with `parts` over one frame beside its columns; explicit names, for two nested `*` collide in the planner."""
    over = ", ".join(f"{expression} OVER w AS {name}" for name, expression in parts.items())
    return f"SELECT {passed}, {over} FROM ({source}) WINDOW w AS ({frame})", ", ".join([passed, *parts])


def _others(view: ViewPlan) -> list[str]:
    return [f"`{column}`" for column in view.columns() if column != "event_time_ms"]


def _part(output: Output, what: str) -> str:
    return f"{what}__{output.column}__{output.window_ms}" if what != "list" else f"list__{output.column}__{output.n}"


def _parts(outputs: list[Output]) -> dict[str, str]:
    """The SQL aggregates that the outputs are made of, each once."""
    parts: dict[str, str] = {}
    for output in outputs:
        column = f"`{output.column}`"
        for what in _needs(output.function):
            parts[_part(output, what)] = {
                "sum": f"SUM({column})",
                "count": f"COUNT({column})",
                "min": f"MIN({column})",
                "max": f"MAX({column})",
                "square": f"SUM(CAST({column} AS DOUBLE) * {column})",
                "distinct": f"COUNT(DISTINCT {column})",
                "first": f"FIRST_VALUE({column})",
                "last": f"LAST_VALUE({column})",
                "rows": "COUNT(*)",
            }[what]
    return parts


def _needs(function: str) -> tuple[str, ...]:
    return {
        "mean": ("sum", "count"),
        "std": ("sum", "square", "count"),
        "span": ("min", "max"),
        "count_distinct": ("distinct",),
        "is_single": ("rows",),
    }.get(function, (function,))


def _finish(output: Output) -> str:
    """An output from its parts."""
    part = {
        what: _part(output, what)
        for what in ("sum", "count", "min", "max", "square", "distinct", "first", "last", "rows", "list")
    }
    total, count = f"CAST({part['sum']} AS DOUBLE)", part["count"]
    if output.n:
        return part["list"]
    return {
        "sum": f"COALESCE({part['sum']}, 0)",
        "mean": f"CASE WHEN {count} > 0 THEN {total} / {count} END",
        "std": f"CASE WHEN {count} > 1 THEN SQRT(GREATEST(0E0, "
        f"({part['square']} - {total} * {total} / {count}) / ({count} - 1))) END",
        "span": f"{part['max']} - {part['min']}",
        "count_distinct": part["distinct"],
        "is_single": f"CASE WHEN {part['rows']} = 1 THEN 1 ELSE 0 END",
    }.get(output.function, part.get(output.function, ""))


def change_sql(view: ViewPlan) -> str:
    """What enters and leaves a sliding view's sums, and when: (entity, at_time, at_ms, one delta a column and window).

    Flink's `HOP` fires every key at every slide (1,440 times a day and event for 24 h by 1 min, each merging 1,440
    slices). Here an event is added at the end of its slide and taken away one window later, and a feature is written
    only when it changes. A value that counts once (`count_distinct`) counts from its first appearance till one window
    after its last: a reappearance within the window takes the planned leaving back.
    """
    at = f"((event_time_ms / {view.slide_ms}) + 1) * {view.slide_ms}"
    changes = [_event_changes(view, at)] if delta_columns(view) else []
    changes += [_distinct_changes(view, at, column) for column in distinct_columns(view)]
    return f"SELECT *, TO_TIMESTAMP_LTZ(at_ms - 1, 3) AS at_time FROM ({' UNION ALL '.join(changes)})"


def delta_columns(view: ViewPlan) -> list[tuple[str, str, str]]:
    """(name, SQL type, expression over one event) of what a sliding view sums, without its window."""
    deltas: dict[str, tuple[str, str, str]] = {}
    for output in view.outputs:
        column = output.column
        for what in _needs(output.function):
            name = f"{what}__{column}"
            expression = {
                "sum": f"COALESCE(`{column}`, 0)",
                "square": f"COALESCE(CAST(`{column}` AS DOUBLE) * `{column}`, 0E0)",
                "count": f"CASE WHEN `{column}` IS NOT NULL THEN 1 ELSE 0 END",
            }.get(what)
            if expression:
                kind = "DOUBLE" if what == "square" else _column_type(column) if what == "sum" else "BIGINT"
                deltas[name] = (name, kind, f"CAST({expression} AS {kind})")
    return list(deltas.values())


def distinct_columns(view: ViewPlan) -> list[str]:
    return sorted({output.column for output in view.outputs if output.function == "count_distinct"})


def _column_type(column: str) -> str:
    if column in SQL_DERIVED:
        return SQL_DERIVED[column].sql_type
    return events.SQL_TYPE[events.FIELD[column].kind]


def change_columns(view: ViewPlan) -> list[tuple[str, str]]:
    """(name, SQL type) of all deltas of a sliding view: one a sum and window, one a distinct column and window."""
    columns = [(f"{name}__{window}", kind) for window in view.windows_ms() for name, kind, _ in delta_columns(view)]
    columns += [(f"distinct__{column}__{window}", "BIGINT") for window in view.windows_ms() for column in distinct_columns(view)]
    return columns


def _expanded(view: ViewPlan, steps: list[str], values: dict[str, dict[int, str]], source: str, keep: str = "") -> str:
    """One row of `source` as one row a step: step k (from 1) happens at `steps[k - 1]` and changes column c by `values[c][k]`.

    The array holds columns: an array of constants would be planned as a join, with both sides kept as state.
    """
    cells = []
    for name, kind in change_columns(view):
        cases = " ".join(f"WHEN {k} THEN {value}" for k, value in values.get(name, {}).items())
        cells.append(f"{f'CASE k {cases} ELSE CAST(0 AS {kind}) END' if cases else f'CAST(0 AS {kind})'} AS {name}")
    return (
        f"SELECT {view.entity} AS entity, at_ms, {', '.join(cells)} "
        f"FROM {source} CROSS JOIN UNNEST(ARRAY[{', '.join(steps)}]) WITH ORDINALITY AS step (at_ms, k){keep}"
    )


def _event_changes(view: ViewPlan, at: str) -> str:
    """Step 1: the event enters all windows; step 1 + i: it leaves window i."""
    columns = {
        output.column for output in view.outputs if output.function in (*SUMMED, "count")
    }
    kept = ", ".join(f"`{name}`" for name in sorted({view.entity, "event_time_ms", *columns}))
    source = f"(SELECT {kept} FROM facts WHERE {view.entity} IS NOT NULL)"
    windows = view.windows_ms()
    values = {
        f"{name}__{window}": {1: expression, i: f"-({expression})"}
        for name, _, expression in delta_columns(view)
        for i, window in enumerate(windows, 2)
    }
    return _expanded(view, [at, *(f"{at} + {window}" for window in windows)], values, source)


def _distinct_changes(view: ViewPlan, at: str, column: str) -> str:
    """Step 1: the value appears; step 1 + i: it leaves window i; step 1 + n + i: the leaving planned before is taken back."""
    windows = view.windows_ms()
    pairs = (
        f"SELECT {view.entity}, {at} AS at_now, MIN({at}) OVER w AS at_first, COUNT(*) OVER w AS n FROM facts "
        f"WHERE {view.entity} IS NOT NULL AND `{column}` IS NOT NULL "
        f"WINDOW w AS (PARTITION BY {view.entity}, `{column}` ORDER BY ts {PAIR})"
    )
    before = f"SELECT {view.entity}, at_now, CASE WHEN n > 1 THEN at_first END AS at_before FROM ({pairs})"
    source = f"(SELECT * FROM ({before}) WHERE at_before IS NULL OR at_before <> at_now)"
    one, none, values = "CAST(1 AS BIGINT)", "CAST(0 AS BIGINT)", {}
    for i, window in enumerate(windows, 2):
        new = f"CASE WHEN at_before IS NULL OR at_now - at_before >= {window} THEN {one} ELSE {none} END"
        values[f"distinct__{column}__{window}"] = {1: new, i: "CAST(-1 AS BIGINT)", len(windows) + i: one}
    steps = ["at_now", *(f"at_now + {window}" for window in windows), *(f"at_before + {window}" for window in windows)]
    back = " ".join(f"WHEN {len(windows) + i} THEN at_now - at_before < {window}" for i, window in enumerate(windows, 2))
    return _expanded(view, steps, values, source, f" WHERE CASE k {back} ELSE TRUE END")


def _slide(view: ViewPlan) -> str:
    """Running sums of the changes, one row an entity and slide in which something changed.

    `{view}_timed` is `change_sql` with `at_time` as its row time: in the future, and held back until then.
    """
    names = [name for name, _ in change_columns(view)]
    tiles = (
        f"SELECT entity AS {view.entity}, window_time AS ts, MAX(at_ms) AS event_time_ms, "
        + ", ".join(f"SUM({name}) AS d_{name}" for name in names)
        + f" FROM TABLE(TUMBLE(TABLE {view.key}_timed, DESCRIPTOR(at_time), {interval(view.slide_ms)})) "
        "GROUP BY entity, window_start, window_end, window_time"
    )
    frame = f"PARTITION BY {view.entity} ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    totals = {name: f"SUM(d_{name})" for name in names}
    source, _ = _aggregated(tiles, f"ts, event_time_ms, {view.entity}", totals, frame)
    return _row(view, "event_time_ms", "CAST(0 AS BIGINT)", {output.name: _finish(output) for output in view.outputs}, source)
