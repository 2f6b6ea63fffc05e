"""Build the part of the features job's graph that item facts flow through: topics → check → letters and rows of values.

It has no state but the places in the topics and the letters' sink. Its rows join those of the operators before the one
Python step.
"""

from pyflink.datastream import DataStream
from pyflink.table import StreamTableEnvironment

from jobs.contract import items
from jobs.features.plan import FACTS, FeaturePlan
from jobs.flow import source
from jobs.flow.job_config import JobConfig

PARSED = "CREATE TEMPORARY SYSTEM FUNCTION parse_fact AS 'liveshelf.ParseFact' LANGUAGE JAVA"
UID_FORMAT = "table.exec.uid.format"
OF_OTHERS = "<id>_<transformation>"  # Flink's default
COLUMNS = (
    "fact_key BYTES, `value` BYTES, topic STRING METADATA VIRTUAL, "
    "kafka_partition INT METADATA FROM 'partition' VIRTUAL, "
    "kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL, record_time TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL"
)
CHECKED = (
    "SELECT fact_key, `value`, topic, kafka_partition, kafka_offset, fact.refusal AS refusal, "
    "fact.refusal_field AS refusal_field, fact.item_id AS item_id, fact.time_ms AS time_ms, fact.payload AS payload "
    "FROM fact_records"
)
# In the form of the operators' rows, whose `operator` is never null. A tombstone has no payload. A record's version is
# its offset.
ROWS = (
    f"SELECT COALESCE(CONCAT('{FACTS}', topic), '') AS operator, item_id AS entity, time_ms AS event_time_ms, "
    "kafka_offset AS seq, payload FROM facts_checked WHERE refusal IS NULL"
)


def fact_rows(table_env: StreamTableEnvironment, plan: FeaturePlan, config: JobConfig, group: str) -> list[DataStream]:
    """Return the stream of rows, none if the plan has no views of facts, and send refused records to their topic."""
    if not plan.facts:
        return []
    table_env.execute_sql(PARSED)
    table_env.execute_sql(fact_table(plan, config, group))
    # The source bears the views' digest. So one whose views changed isn't found in a savepoint, and begins anew.
    table_env.get_config().set(UID_FORMAT, f"facts_{plan.facts_digest()}_{OF_OTHERS}")
    checked = table_env.to_data_stream(table_env.sql_query(CHECKED))
    table_env.get_config().set(UID_FORMAT, OF_OTHERS)
    table_env.create_temporary_view("facts_checked", checked)
    table_env.execute_sql(source.dead_letter_table(config, "fact_letters", config.items_dead_topic, source.OF_KEYS))
    letters = table_env.create_statement_set()
    letters.add_insert_sql(f"INSERT INTO fact_letters {LETTERS}")
    letters.attach_as_datastream()
    return [table_env.to_data_stream(table_env.sql_query(ROWS))]


def fact_table(plan: FeaturePlan, config: JobConfig, group: str) -> str:
    """Return the DDL of `fact_records`, all topics of facts that views read. In a bounded run it ends."""
    payloads = {operator.key.removeprefix(FACTS): operator.fields for operator in plan.fact_operators()}
    contracts = [contract for contract in config.facts if contract.topic in payloads]
    as_json = items.as_json(contracts, payloads).replace("'", "''")
    parsed = f"fact AS parse_fact(topic, fact_key, `value`, record_time, '{as_json}')"
    read = source.keyed_reading(config, group, "fact_key")
    topics = ";".join(each.topic for each in plan.facts)
    return f"CREATE TEMPORARY TABLE fact_records ({COLUMNS}, {parsed}) {source.kafka_options(config, topics, **read)}"


def _text(column: str) -> str:
    """Return a letter's two columns for bytes: as text, or as base64 where they aren't UTF-8, so that none changes."""
    text = f"DECODE({column}, 'UTF-8')"
    exact = f"(ENCODE({text}, 'UTF-8') IS NOT DISTINCT FROM {column})"
    return f"CASE WHEN {exact} THEN {text} END, CASE WHEN NOT {exact} THEN {column} END"


LETTERS = (
    f"SELECT refusal, refusal_field, {_text('`value`')}, topic, kafka_partition, kafka_offset, "
    f"CAST(UNIX_TIMESTAMP() AS BIGINT) * 1000, {_text('fact_key')} FROM facts_checked WHERE refusal IS NOT NULL"
)
