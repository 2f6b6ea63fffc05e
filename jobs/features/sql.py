"""A plan as Flink SQL: one keyed operator an entity in the JVM, all rows in one shape for one Python hop.

Each operator ends in `SELECT operator, entity, event_time_ms, seq, payload`: `seq` orders rows of one entity with the
same event time, `payload` is a JSON array of the features in the plan's order. What an operator does is a process table
function of ours (`jobs/jvm`), because a chain of OVER windows cost ten times as much.
"""

import re

from jobs import events
from jobs.features.plan import FeaturePlan, Operator, Output, ViewPlan


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


FUNCTIONS = {
    "trailing_features": "liveshelf.TrailingFeatures",
    "sliding_features": "liveshelf.SlidingFeatures",
}


def operator_events(operator: Operator) -> str:
    """The events of an operator: its entity, the row time, and the columns in the order of `feature_list`."""
    columns = ", ".join(f"`{column}`" for column in _columns(operator))
    return f"SELECT {operator.entity} AS entity, ts, {columns} FROM facts WHERE {operator.entity} IS NOT NULL"


def operator_rows(operator: Operator) -> str:
    """The rows of an operator, from the view `{key}_events` (see `operator_events`)."""
    function = "sliding_features" if operator.slide_ms else "trailing_features"
    return (
        f"SELECT CAST('{operator.key}' AS STRING) AS operator, entity, event_time_ms, seq, payload FROM {function}("
        f"events => TABLE {operator.key}_events PARTITION BY entity, features => '{feature_list(operator)}', "
        f"on_time => DESCRIPTOR(ts), uid => '{operator.key}')"
    )


def feature_list(operator: Operator) -> str:
    """An operator's features as its function reads them (`jobs/jvm/Feature.java`): function, column, frame, milliseconds."""
    return "; ".join(
        f"{output.function} {_column(output)} {_frame(view)} {output.window_ms or view.gap_ms}"
        for view in operator.views
        for output in view.outputs
    )


def _frame(view: ViewPlan) -> str:
    return f"every_{view.slide_ms}" if view.slide_ms else view.frame


def _column(output: Output) -> str:
    """The column that is read: `is_single` counts events, whatever is in them."""
    return "event_time_ms" if output.function == "is_single" else output.column


def _columns(operator: Operator) -> list[str]:
    return list(dict.fromkeys(_column(output) for view in operator.views for output in view.outputs))
