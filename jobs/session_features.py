"""The features job: topic → checks and dead letters → event-time windows in the JVM → Feast's online store.

Records of item facts go from their topics through a check to the same store.

Submitted with `liveshelf submit features`, or with the `flink run` line that its `--dry-run` prints.
"""

import argparse
from pathlib import Path

from pyflink.common import Duration, WatermarkStrategy
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import DataTypes, Schema, StatementSet, StreamTableEnvironment
from pyflink.table.udf import udf

from jobs.connect.users import GROUPS
from jobs.features import sql
from jobs.features.fact_rows import fact_rows
from jobs.features.operator import WriteFeatures, WriterConfig
from jobs.features.plan import FeaturePlan, load
from jobs.features.rows import feature_rows
from jobs.flow import source
from jobs.flow.job_config import JobConfig, base_configuration

GROUP = GROUPS["features"]
BUNDLE_MS = 200
# At 1,000 events a second, flushing each task's rows every millisecond took 6 % of a core.
FLUSH_MS = 20


def build(table_env: StreamTableEnvironment, plan: FeaturePlan, config: JobConfig) -> StatementSet:
    """Return the job's statements: dead letters and late events first, then the features.

    The order is part of the state, because operators are named by it (`uid.generation`). So added parts come last.

    A stream that several statements read becomes a DataStream once (`_once`). Otherwise the planner would prune columns
    for each reader, and then read, parse and deduplicate once for each of them.
    """
    table_env.execute_sql(source.PARSED)
    table_env.execute_sql("CREATE TEMPORARY SYSTEM FUNCTION consent_of AS 'liveshelf.ConsentOf' LANGUAGE JAVA")
    table_env.execute_sql(source.source_table(config, GROUP, plan.delay_ms, config.source_options))
    _once(table_env, "sequenced", sql.sequenced(plan), row_time="ts")
    _letters(table_env, config, plan).attach_as_datastream()
    table_env.execute_sql("CREATE TEMPORARY SYSTEM FUNCTION first_within AS 'liveshelf.FirstWithin' LANGUAGE JAVA")
    for function in source.KEYED if config.keyed else ():
        table_env.execute_sql(function)
    _once(table_env, "counted", sql.counted(plan, config.dedup_horizon_s, config.keyed), row_time="ts")
    _controls(table_env, config)
    facts = fact_rows(table_env, plan, config, GROUP)
    feature_rows(table_env, plan, config.max_window_events, sql.column_types(), config.secret_mark, facts)
    write = udf(
        WriteFeatures(WriterConfig(plan, config.redis_url, config.feature_store_yaml)),
        result_type=DataTypes.BIGINT(),
        func_type="pandas",
        deterministic=False,
    )
    table_env.create_temporary_system_function("write_features", write)
    table_env.execute_sql("CREATE TEMPORARY TABLE written (rows_written BIGINT) WITH ('connector' = 'blackhole')")
    statements = table_env.create_statement_set()
    statements.add_insert_sql(
        "INSERT INTO written SELECT write_features(operator, entity, event_time_ms, seq, payload) FROM feature_rows"
    )
    return statements


def _letters(table_env: StreamTableEnvironment, config: JobConfig, plan: FeaturePlan) -> StatementSet:
    """Send refused records and late events to their topics, each with its reason and its bytes."""
    table_env.execute_sql(source.dead_letter_table(config, "dead_letters", config.dead_topic))
    table_env.execute_sql(source.dead_letter_table(config, "late_letters", config.late_topic))
    dead = source.dead_letter_select(config, "refusal", "refusal_field", "refusal IS NOT NULL")
    late = source.dead_letter_select(config, "'late'", "'event_time_ms'", f"{sql.KEPT} AND {sql.late(plan)}")
    letters = table_env.create_statement_set()
    letters.add_insert_sql(f"INSERT INTO dead_letters {dead}")
    letters.add_insert_sql(f"INSERT INTO late_letters {late}")
    return letters


def _controls(table_env: StreamTableEnvironment, config: JobConfig) -> None:
    """Make the view `controls` of consent records. It never holds event time back.

    Its source counts as idle except at the moment of a record, whatever `idle_timeout_s` says about the events.
    """
    table_env.execute_sql(source.consent_table(config, GROUP))
    idle = WatermarkStrategy.no_watermarks().with_idleness(Duration.of_millis(1))
    stream = table_env.to_data_stream(table_env.sql_query(sql.CONTROLS)).assign_timestamps_and_watermarks(idle)
    schema = Schema.new_builder().watermark("ts", "SOURCE_WATERMARK()").build()
    table_env.create_temporary_view("controls", stream, schema)


def _once(table_env: StreamTableEnvironment, name: str, query: str, row_time: str | None = None) -> None:
    """Make the view `name` of a query's rows, computed once for all its readers.

    `row_time` names the column that is the view's row time. It may lie in the future; windows wait until then.
    """
    schema = Schema.new_builder()
    if row_time:
        schema = schema.column_by_expression("proc", "PROCTIME()").watermark(row_time, "SOURCE_WATERMARK()")
    stream = table_env.to_data_stream(table_env.sql_query(query))
    table_env.create_temporary_view(name, stream, schema.build())


def main() -> None:
    """Run the job; the entry point of `flink run -py`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    config = JobConfig.load(arguments.config)
    environment = StreamExecutionEnvironment.get_execution_environment(
        base_configuration(config, "liveshelf features", BUNDLE_MS, 2 * config.dedup_horizon_s, FLUSH_MS)
    )
    if config.jars:
        environment.add_jars(*config.jars)
    table_env = StreamTableEnvironment.create(environment)
    build(table_env, load(arguments.plan), config).attach_as_datastream()
    environment.execute("liveshelf features")


if __name__ == "__main__":
    main()
