"""Build the part of the features job's graph that a backfill runs, too: from counted events to rows of values."""

from collections.abc import Sequence

from pyflink.datastream import DataStream
from pyflink.table import StreamTableEnvironment

from jobs.features import sql
from jobs.features.plan import FeaturePlan


def feature_rows(
    table_env: StreamTableEnvironment,
    plan: FeaturePlan,
    cap: int,
    types: dict[str, str] | None = None,
    mark: str = "",
    facts: Sequence[DataStream] = (),
) -> None:
    """Make the view `feature_rows` of all operators' rows, from the table `counted`.

    `cap` is the setting max_window_events. With the columns' `types`, operators obey the records of `controls`, too.
    `mark` is the secret's for ids (`jobs/flow/id_secret.py`). A run whose state isn't kept needs no secret.
    `facts` are rows of item facts, which join the others.
    """
    for name, java in sql.FUNCTIONS.items():
        table_env.execute_sql(f"CREATE TEMPORARY SYSTEM FUNCTION {name} AS '{java}' LANGUAGE JAVA")
    table_env.execute_sql(f"CREATE TEMPORARY VIEW facts AS {sql.facts(plan)}")
    rows = []
    for operator in plan.operators():
        events = sql.operator_events(operator, types, bool(mark))
        table_env.execute_sql(f"CREATE TEMPORARY VIEW {operator.key}_events AS {events}")
        rows.append(table_env.to_data_stream(table_env.sql_query(sql.operator_rows(operator, cap, mark))))
    # One stream, so that there is one Python operator: the planner would push it below a UNION, once an operator.
    others = [*rows[1:], *facts]
    every = rows[0].union(*others) if others else rows[0]
    table_env.create_temporary_view("feature_rows", every)
