"""Run the job's own SQL over past events, and write each view's rows to its `batch_source`, for training sets.

The rows are the ones that the features job would have written, one for each change. So a training set that
`get_historical_features` makes from them holds what the online store held at each moment.

It runs on Flink's streaming engine with an input that ends, because the functions need watermarks.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.contract import events
from jobs.contract.consent import Verdict
from jobs.features import sql
from jobs.features.offline import HistoryFile
from jobs.features.plan import FeaturePlan, ViewPlan
from jobs.jvm.build import contract_jar
from jobs.jvm.java import JAVA_HOME

ARROW = {
    "Int64": pa.int64(),
    "Int32": pa.int32(),
    "Float64": pa.float64(),
    "Float32": pa.float32(),
    "Bool": pa.bool_(),
    "String": pa.string(),
    "Array(String)": pa.list_(pa.string()),
    "Array(Int64)": pa.list_(pa.int64()),
    "Array(Float64)": pa.list_(pa.float64()),
}


Judge = Callable[[events.Event], Verdict]


def everybody(_event: events.Event) -> Verdict:
    """Let every event count."""
    return "counts"


def write_history(
    plan: FeaturePlan,
    source: Iterable[events.Event],
    targets: dict[str, HistoryFile],
    cap: int,
    verdict: Judge = everybody,
) -> dict[str, int]:
    """Compute every view over `source` (contract events), write Parquet files, and return how many rows each view has.

    Args:
        plan: what to compute.
        source: accepted events. Their order matters for events of one time only: what comes first, counts first.
        targets: view name → file, with the names that the view's `batch_source` gives its times.
        cap: the setting max_window_events.
        verdict: how an event counts by its visitor's consent.
    """
    rows: dict[str, list[tuple[str, int, list[Any]]]] = {operator.key: [] for operator in plan.operators()}
    with tempfile.TemporaryDirectory() as folder:
        _write_input(plan, source, Path(folder, "events.json"), verdict)
        for key, entity, time_ms, payload in _rows(plan, Path(folder, "events.json"), cap):
            rows[key].append((entity, time_ms, json.loads(payload)))
    for operator in plan.operators():
        first = 0
        for view in operator.views:
            _write_view(view, rows[operator.key], first, targets[view.name])
            first += len(view.outputs)
    return {view.name: len(rows[operator.key]) for operator in plan.operators() for view in operator.views}


def _write_input(plan: FeaturePlan, source: Iterable[events.Event], path: Path, verdict: Judge) -> None:
    """Write one JSON line an event, in event-time order and each visitor's id once, as the job counts them.

    Events of one time keep the order of `source`: an event's number in it stands for its offset, in one partition.
    A suppressed event is left out. A forgotten one is marked, so that it counts only in what holds no person.
    """
    seen: set[tuple[str, str]] = set()
    with path.open("w") as lines:
        for number, event in sorted(enumerate(source), key=lambda numbered: numbered[1]["event_time_ms"]):
            if event["event_type"] == events.HEARTBEAT or (found := verdict(event)) == "suppressed":
                continue
            whose = event["visitor_id"], event["event_id"]
            if whose not in seen:
                seen.add(whose)
                place = dict(zip(sql.PLACE, (0, number), strict=True))
                row = {name: event.get(name) for name in sql.event_fields(plan)} | place
                row["consent"] = None if found == "counts" else found
                lines.write(json.dumps(row) + "\n")


def _write_view(view: ViewPlan, rows: list[tuple[str, int, list[Any]]], first: int, target: HistoryFile) -> None:
    """Write a view's file. Its values begin at place `first` of a row's values."""
    times = [target.timestamp, *([target.created] if target.created else [])]
    columns: dict[str, list[Any]] = {name: [] for name in (view.entity, *times, *(o.name for o in view.outputs))}
    created = datetime.now(UTC)
    for entity, time_ms, values in rows:
        columns[view.entity].append(entity)
        columns[target.timestamp].append(datetime.fromtimestamp(time_ms / 1000, UTC))
        if target.created:
            columns[target.created].append(created)
        for output, value in zip(view.outputs, values[first : first + len(view.outputs)], strict=True):
            columns[output.name].append(
                [each for each in value if each is not None] if isinstance(value, list) else value
            )
    stamp = pa.timestamp("us", tz="UTC")
    types = {view.entity: pa.string()} | dict.fromkeys(times, stamp) | {o.name: ARROW[o.dtype] for o in view.outputs}
    if not target.path.parent.exists():
        target.path.parent.mkdir(parents=True)
        (target.path.parent / ".gitignore").write_text("*\n")  # visitors' rows; the folder may have any name
    pq.write_table(pa.table({name: pa.array(values, types[name]) for name, values in columns.items()}), target.path)


def _rows(plan: FeaturePlan, path: Path, cap: int) -> Iterator[tuple[str, str, int, str]]:
    """Yield (operator, entity, event time in ms, payload), from a Flink inside this process."""
    os.environ["JAVA_HOME"] = str(JAVA_HOME)
    from pyflink.datastream import StreamExecutionEnvironment
    from pyflink.table import StreamTableEnvironment

    from jobs.features.rows import feature_rows

    environment = StreamExecutionEnvironment.get_execution_environment()
    environment.set_parallelism(1)
    environment.add_jars(contract_jar().as_uri())
    table_env = StreamTableEnvironment.create(environment)
    table_env.get_config().set("table.local-time-zone", "UTC")
    fields = ", ".join(f"`{name}` {events.SQL_TYPE[events.FIELD[name].kind]}" for name in sql.event_fields(plan))
    fields += ", kafka_partition INT, kafka_offset BIGINT, consent STRING"
    table_env.execute_sql(
        f"CREATE TEMPORARY TABLE counted ({fields}, ts AS TO_TIMESTAMP_LTZ(event_time_ms, 3), "
        "WATERMARK FOR ts AS ts - INTERVAL '0.001' SECOND) "
        f"WITH ('connector' = 'filesystem', 'path' = '{path.as_uri()}', 'format' = 'json')"
    )
    feature_rows(table_env, plan, cap)
    query = "SELECT operator, entity, event_time_ms, payload FROM feature_rows"
    with table_env.sql_query(query).execute().collect() as found:
        for row in found:
            yield row[0], row[1], row[2], row[3]
