"""The rankings job: topic → each visitor's last 50 events in the JVM → one Python step: GRU, rules, Redis, the log.

Consent records come in beside the events of their visitors (see `Histories.java`). The job works on arrival, not in
event time: a list is there at once, and a late event corrects the next one. Submitted with `liveshelf submit rankings`,
or with the `flink run` line that its `--dry-run` prints.
"""

import argparse
from pathlib import Path

from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import DataTypes, StatementSet, StreamTableEnvironment
from pyflink.table.udf import udf

from jobs.connect.users import CANARY_GROUP, GROUPS
from jobs.contract import events
from jobs.flow import id_secret, source
from jobs.flow.job_config import JobConfig, base_configuration
from jobs.rankings.operator import RankConfig, RankSessions
from jobs.rankings.shadow import ShadowSessions

# One packed string a row: as ARRAY columns, histories took most of the hop's time on their way to Pandas.
PACKED = "CONCAT_WS(CHR(31), CAST(event_time_ms AS STRING), event_type, COALESCE(item_id, ''), event_id, '')"
VISITOR_KEY = ", key_of(visitor_id) AS visitor_key"


def visits(keyed: bool) -> str:
    """Return the query for events and consent records of all visitors, with their keys if the state is `keyed`."""
    key = VISITOR_KEY if keyed else ""
    return (
        f"SELECT visitor_id, kafka_partition, kafka_offset, event_time_ms, {PACKED} AS packed, "
        f"CAST(NULL AS BYTES) AS control, event_type, record_time{key} FROM accepted UNION ALL "
        "SELECT visitor_id, kafka_partition, kafka_offset, CAST(NULL AS BIGINT), CAST(NULL AS STRING), control, "
        f"CAST(NULL AS STRING), CAST(NULL AS TIMESTAMP_LTZ(3)){key} "
        f"FROM (SELECT {source.CONTROL_COLUMNS} FROM consents WHERE visitor_id IS NOT NULL)"
    )


def histories(mark: str) -> str:
    """Return the query for each visitor's last events whenever one arrives. `mark` is the secret's for ids."""
    key = "(visitor_key, visitor_id)" if mark else "visitor_id"
    return (
        "SELECT visitor_id, kafka_partition, kafka_offset, event_time_ms, history, consent, event_type, arrived_ms "
        f"FROM histories(visits => TABLE visits PARTITION BY {key}, uid => '{id_secret.uid('histories', mark)}')"
    )


ACCEPTED = f"""
SELECT event.visitor_id AS visitor_id, event.event_id AS event_id, event.event_type AS event_type,
  event.item_id AS item_id, event.event_time_ms AS event_time_ms, kafka_partition, kafka_offset, record_time
FROM records WHERE event.refusal IS NULL AND event.event_type <> '{events.HEARTBEAT}'
"""


def build(table_env: StreamTableEnvironment, config: JobConfig) -> StatementSet:
    """Return the job's one statement: rank histories, write lists to Redis on the way, and log them at the end."""
    table_env.execute_sql(source.PARSED)
    group = CANARY_GROUP if config.shadow else GROUPS["rankings"]
    table_env.execute_sql(source.source_table(config, group, None, config.source_options))
    table_env.execute_sql(source.consent_table(config, group))
    table_env.execute_sql(f"CREATE TEMPORARY VIEW accepted AS {ACCEPTED}")
    for function in source.KEYED if config.keyed else ():
        table_env.execute_sql(function)
    table_env.execute_sql(f"CREATE TEMPORARY VIEW visits AS {visits(config.keyed)}")
    table_env.execute_sql("CREATE TEMPORARY SYSTEM FUNCTION histories AS 'liveshelf.Histories' LANGUAGE JAVA")
    table_env.execute_sql("CREATE TEMPORARY SYSTEM FUNCTION each_of AS 'liveshelf.EachOf' LANGUAGE JAVA")
    sessions = ShadowSessions if config.shadow else RankSessions
    rank = udf(
        sessions(
            RankConfig(config.ranker, config.redis_url, config.project, config.kafka_bootstrap, tuple(config.facts))
        ),
        result_type=DataTypes.STRING(),
        func_type="pandas",
        deterministic=False,
    )
    table_env.create_temporary_system_function("rank_sessions", rank)
    options = {
        "key.format": "raw",
        "key.fields": "visitor_id",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        # A list is 1 to 10 kB, and with Kafka's 16 kB the broker takes a request for a few of them. Lists are in Redis
        # before they are logged, so nobody waits for the log.
        "properties.batch.size": "262144",
        "properties.linger.ms": "50",
    }
    log = source.kafka_options(config, config.rankings_topic, **options)
    table_env.execute_sql(f"CREATE TEMPORARY TABLE rankings (visitor_id STRING, list STRING) {log}")
    ranked = (
        "SELECT visitor_id, rank_sessions(visitor_id, kafka_partition, kafka_offset, history, event_time_ms, consent, "
        "event_type, arrived_ms) AS lists "
        f"FROM ({histories(config.secret_mark)})"
    )
    statements = table_env.create_statement_set()
    # Not CREATE VIEW: the planner would read the query again inside the next one, and fails on a key of two columns.
    table_env.create_temporary_view("answers", table_env.sql_query(ranked))
    statements.add_insert_sql("INSERT INTO rankings SELECT visitor_id, list FROM each_of(answers => TABLE answers)")
    return statements


def main() -> None:
    """Run the job; the entry point of `flink run -py`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    config = JobConfig.load(parser.parse_args().config)
    name = "liveshelf canary" if config.shadow else "liveshelf rankings"
    configuration = base_configuration(config, name, config.bundle_ms, config.history_ttl_s)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    if config.jars:
        environment.add_jars(*config.jars)
    build(StreamTableEnvironment.create(environment), config).execute()


if __name__ == "__main__":
    main()
