"""Write a plan as Flink SQL: one keyed operator an entity in the JVM, and all rows in one shape for one Python step.

Each operator ends in `SELECT operator, entity, event_time_ms, seq, payload`. `seq` orders rows of one entity with the
same event time. `payload` is a JSON array of the features in the plan's order. An operator is a process table function
of ours (`jobs/jvm`), because a chain of OVER windows cost ten times as much.

A job that is `keyed` hashes ids under its secret (`jobs/flow/id_secret.py`): in the keys of state, and where a digest
stands for an id. One that isn't goes on from a savepoint of a release that had no secret.
"""

import re
from collections.abc import Mapping

from jobs.contract import events
from jobs.features.plan import FeaturePlan, Operator, Output, ViewPlan
from jobs.flow import id_secret, source


def sequenced(plan: FeaturePlan) -> str:
    """Return the query for every record, with the newest event time that its partition has shown up to it.

    The order of its own partition decides whether a record is late, not the operator's watermark. So a replay after a
    crash, another parallelism and the oracle all decide alike.
    """
    fields = ", ".join(f"event.`{name}` AS `{name}`" for name in event_fields(plan))
    consent = "consent_of(event.visitor_id, kafka_partition, kafka_offset, event.event_time_ms)"
    return (
        f"SELECT `value`, kafka_partition, kafka_offset, ts, event.refusal AS refusal, "
        f"event.refusal_field AS refusal_field, {fields}, {consent} AS consent, "
        "MAX(event.event_time_ms) OVER w AS newest_ms FROM records "
        "WINDOW w AS (PARTITION BY kafka_partition ORDER BY proc ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    )


TAKEN = f"refusal IS NULL AND event_type <> '{events.HEARTBEAT}' AND consent IS DISTINCT FROM 'suppressed'"
KEPT = f"{TAKEN} AND consent IS NULL"  # events of which a letter may be kept as it is


def late(plan: FeaturePlan) -> str:
    """Return the condition that a row of `sequenced` is late.

    Its second part is for a partition that was declared idle and came back. CURRENT_WATERMARK is null before the first
    watermark; then a row is on time.
    """
    return f"((event_time_ms <= newest_ms - {plan.delay_ms} OR ts <= CURRENT_WATERMARK(ts)) IS TRUE)"


def counted(plan: FeaturePlan, horizon_s: int, keyed: bool) -> str:
    """Return the query for the events that count: accepted, on time, their visitor's first with an id in `horizon_s`.

    The horizon is in event time. The state holds a digest of visitor and id: it outlives an erasure, and an id may tell
    whose it was. Without a visitor in it, who guesses the ids of a shop's orders could send them first.
    """
    names = ", ".join(f"`{name}`" for name in (*event_fields(plan), *PLACE, "consent"))
    digest = f"{f'digest_of({PERSON}, event_id)' if keyed else 'MD5(event_id)'} AS id_digest"
    horizon_ms = f"CAST({horizon_s * 1000} AS BIGINT)"
    on_time = f"SELECT *, {digest}, CURRENT_WATERMARK(ts) AS passed FROM sequenced WHERE {TAKEN} AND NOT {late(plan)}"
    bucket = f"PARTITION BY SUBSTR(id_digest, 1, {BUCKET_DIGITS})"
    window = f"({bucket} ORDER BY proc ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    is_first = f"first_within(id_digest, event_time_ms, {horizon_ms}, passed) OVER {window}"
    return f"SELECT ts, {names} FROM (SELECT *, {is_first} AS is_first FROM ({on_time})) WHERE is_first"


def facts(plan: FeaturePlan) -> str:
    """Return the query for counted events with the derived columns that definitions may aggregate."""
    fields = event_fields(plan)
    names = ", ".join(f"`{name}`" for name in (*fields, *PLACE, "consent"))
    derived = [column for column in events.DERIVED if column.name in plan_columns(plan)]
    return f"SELECT ts, {names}{''.join(f', {column.sql} AS {column.name}' for column in derived)} FROM counted"


def plan_columns(plan: FeaturePlan) -> set[str]:
    """Return the columns that the plan's views read, entities included."""
    return {column for view in plan.views for column in (*view.columns(), view.entity)}


def event_fields(plan: FeaturePlan) -> list[str]:
    """Return the contract's fields that the views read, and those that their derived columns are made of."""
    wanted = plan_columns(plan) | {"event_id", "event_type", "event_time_ms", PERSON}
    sources = " ".join(column.sql for column in events.DERIVED if column.name in wanted)
    return [field.name for field in events.FIELDS if field.name in wanted or re.search(rf"\b{field.name}\b", sources)]


PERSON = "visitor_id"
PLACE = ("kafka_partition", "kafka_offset")
BUCKET_DIGITS = 4  # hexadecimal: 65,536 keys of state, where each id by itself would be one
FUNCTIONS = {
    "trailing_features": "liveshelf.TrailingFeatures",
    "sliding_features": "liveshelf.SlidingFeatures",
}


def operator_events(operator: Operator, types: Mapping[str, str] | None = None, keyed: bool = False) -> str:
    """Return the query for an operator's events: entity, row time, the columns in the order of `feature_list`, place.

    The last column is the entity's key if the job is `keyed`.

    The place (partition and offset) orders events of one time, so that neither parallelism nor a shuffle does. Slides
    need no order, so they get a place only where it is needed for consent.
    A visitor's operator also gets the records of `controls` if the columns' `types` are given. The other operators hold
    no visitor's id: where visitors are counted, a digest tells them apart.
    """
    columns = _columns(operator)
    if operator.entity != PERSON:
        place = () if operator.slide_ms else PLACE
        own = (_counted_only(operator, column, keyed) for column in columns)
        listed = ", ".join([*own, *place, *_key(operator.entity, keyed)])
        return f"SELECT {operator.entity} AS entity, ts, {listed} FROM facts WHERE {operator.entity} IS NOT NULL"
    listed = ", ".join(
        [*(f"`{column}`" for column in (*columns, *PLACE)), "CAST(NULL AS BYTES) AS control", *_key(PERSON, keyed)]
    )
    query = f"SELECT {PERSON} AS entity, ts, {listed} FROM facts WHERE consent IS NULL"
    if types is None:
        return query
    empty = [f"CAST(NULL AS {types[column]})" for column in columns]
    told = ", ".join([PERSON, "ts", *empty, *PLACE, "control", *_key(PERSON, keyed)])
    return f"{query} UNION ALL SELECT {told} FROM controls"


def keeps_ids(operator: Operator) -> bool:
    """Return True if an operator of something else keeps visitors' ids as they are, and not only their digests."""
    return bool(_functions_of_ids(operator) - {"count_distinct"})


def _functions_of_ids(operator: Operator) -> set[str]:
    return {each.function for view in operator.views for each in view.outputs if _column(each) == PERSON}


def _key(entity: str, keyed: bool) -> list[str]:
    return [f"key_of(CAST({entity} AS STRING)) AS entity_key"] if keyed else []


def _counted_only(operator: Operator, column: str, keyed: bool) -> str:
    if column != PERSON or keeps_ids(operator):
        return f"`{column}`"
    return f"{'digest_of' if keyed else 'MD5'}(`{column}`) AS `{column}`"


CONTROLS = f"""
SELECT visitor_id, kafka_partition, kafka_offset, control, TO_TIMESTAMP_LTZ({events.MAX_TIME_MS}, 3) AS ts
FROM (SELECT {source.CONTROL_COLUMNS} FROM consents WHERE visitor_id IS NOT NULL)
"""


def column_types() -> dict[str, str]:
    """Return the SQL type of every column that a definition may read."""
    contract = {field.name: events.SQL_TYPE[field.kind] for field in events.FIELDS}
    return contract | {column.name: column.sql_type for column in events.DERIVED}


def operator_rows(operator: Operator, cap: int, mark: str = "") -> str:
    """Return the query for an operator's rows, from the view `{key}_events` (see `operator_events`).

    `cap` is the setting max_window_events. Slides hold sums and no events, so they have no cap. `mark` is that of the
    secret for ids, "" without one.
    """
    function, capped = ("sliding_features", "") if operator.slide_ms else ("trailing_features", f"cap => {cap}, ")
    return (
        f"SELECT CAST('{operator.key}' AS STRING) AS operator, entity, event_time_ms, seq, payload FROM {function}("
        f"events => TABLE {operator.key}_events PARTITION BY {'(entity_key, entity)' if mark else 'entity'}, "
        f"features => '{feature_list(operator)}', {capped}"
        f"on_time => DESCRIPTOR(ts), uid => '{id_secret.uid(operator.key, mark)}')"
    )


def feature_list(operator: Operator) -> str:
    """Return an operator's features as `Feature.java` reads them: function, column, frame, milliseconds."""
    return "; ".join(
        f"{output.function} {_column(output)} {_frame(view)} {output.window_ms or view.gap_ms}"
        for view in operator.views
        for output in view.outputs
    )


def _frame(view: ViewPlan) -> str:
    return f"every_{view.slide_ms}" if view.slide_ms else view.frame


def _column(output: Output) -> str:
    """Return the column that is read. `is_single` counts events, so it reads a column that is never null."""
    return "event_time_ms" if output.function == "is_single" else output.column


def _columns(operator: Operator) -> list[str]:
    return list(dict.fromkeys(_column(output) for view in operator.views for output in view.outputs))
