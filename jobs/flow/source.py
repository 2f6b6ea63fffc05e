"""The part of the graph that both jobs share: from the topic to events and refusals, as SQL made from the contract."""

from jobs.connect import addresses
from jobs.flow.job_config import JobConfig

MAX_LETTER_BYTES = 32 << 20  # the broker takes 4 MiB records, and JSON may need six bytes for one
DISCOVERY_INTERVAL = "10 s"  # of partitions that are added; with Flink's own five minutes a backlog grows meanwhile
KEYED = (
    "CREATE TEMPORARY SYSTEM FUNCTION key_of AS 'liveshelf.KeyOf' LANGUAGE JAVA",
    "CREATE TEMPORARY SYSTEM FUNCTION digest_of AS 'liveshelf.DigestOf' LANGUAGE JAVA",
)
PARSED = "CREATE TEMPORARY SYSTEM FUNCTION parse_event AS 'liveshelf.ParseEvent' LANGUAGE JAVA"


def kafka_options(config: JobConfig, topic: str, **options: str) -> str:
    """Return the WITH clause of a Kafka table."""
    every = {"connector": "kafka", "topic": topic} | addresses.flink_table(config.kafka_bootstrap) | options
    return "WITH (" + ", ".join(f"'{key}' = '{value}'" for key, value in every.items()) + ")"


def source_table(config: JobConfig, group: str, delay_ms: int | None, options: dict[str, str] | None = None) -> str:
    """Return the DDL of `records`: a record of the topic, parsed once; with a watermark if `delay_ms` is given.

    The `ts` of a refused record is 1970, so that a broken clock can't move the watermark.
    """
    parse = f"parse_event(`value`, CAST({config.max_clock_skew_s * 1000} AS BIGINT))"
    columns = [
        "`value` BYTES",
        "kafka_partition INT METADATA FROM 'partition' VIRTUAL",
        "kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL",
        "record_time TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL",
        "proc AS PROCTIME()",
        f"event AS {parse}",
    ]
    if delay_ms is not None:
        columns.append(f"ts AS TO_TIMESTAMP_LTZ({parse}.event_time_ms, 3)")
        columns.append(f"WATERMARK FOR ts AS ts - {interval(delay_ms)}")
    read = {
        "value.format": "raw",
        "properties.group.id": group,
        # The broker answers after 5 ms, or earlier with so many bytes. At 1,000 events a second, an answer to each
        # event took 17 % of a core more, and lists came later where no core was idle.
        "properties.fetch.min.bytes": "1048576",
        "properties.fetch.max.wait.ms": "5",
        "properties.isolation.level": "read_committed",
        "properties.max.partition.fetch.bytes": "4194304",
        "scan.startup.mode": "earliest-offset",
        "scan.topic-partition-discovery.interval": DISCOVERY_INTERVAL,
    } | (options or {})
    return f"CREATE TEMPORARY TABLE records ({', '.join(columns)}) {kafka_options(config, config.events_topic, **read)}"


CONTROL_COLUMNS = "visitor_id, kafka_partition, kafka_offset, COALESCE(`value`, X'') AS control"


def consent_table(config: JobConfig, group: str) -> str:
    """Return the DDL of `consents`, the topic `consent`. In a bounded run (a benchmark) it ends with the events."""
    columns = (
        "visitor_id STRING, `value` BYTES, kafka_partition INT METADATA FROM 'partition' VIRTUAL, "
        "kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL"
    )
    read = keyed_reading(config, group, "visitor_id") | {"scan.topic-partition-discovery.interval": DISCOVERY_INTERVAL}
    return f"CREATE TEMPORARY TABLE consents ({columns}) {kafka_options(config, config.consent_topic, **read)}"


def keyed_reading(config: JobConfig, group: str, key: str) -> dict[str, str]:
    """Return how a compacted topic is read, from its beginning, with the records' keys as column `key`."""
    bounded = {"scan.bounded.mode": "latest-offset"} if "scan.bounded.mode" in config.source_options else {}
    return bounded | {
        "key.format": "raw",
        "key.fields": key,
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        "properties.group.id": group,
        "properties.fetch.max.wait.ms": "100",
        "properties.isolation.level": "read_committed",
        "scan.startup.mode": "earliest-offset",
    }


def interval(ms: int) -> str:
    """Return a duration as an SQL literal, from days to milliseconds: the precision of one unit doesn't hold all."""
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"INTERVAL '{days} {hours:02}:{minutes:02}:{seconds:02}.{rest:03}' DAY(3) TO SECOND(3)"


OF_KEYS = ", `key` STRING, key_base64 BYTES"  # of letters about records whose keys say what they are about


def dead_letter_table(config: JobConfig, name: str, topic: str, more: str = "") -> str:
    """Return the DDL of a topic of records that weren't counted, with everything that a replay needs.

    `more` are columns beside those of an event's letter.
    """
    columns = (
        "reason STRING, field STRING, original STRING, original_base64 BYTES, topic STRING, `partition` INT, "
        f"`offset` BIGINT, refused_at_ms BIGINT{more}"
    )
    options = kafka_options(
        config,
        topic,
        format="json",
        **{
            "properties.max.request.size": str(MAX_LETTER_BYTES),
            "properties.buffer.memory": str(2 * MAX_LETTER_BYTES),
            "properties.linger.ms": "5",
        },
    )
    return f"CREATE TEMPORARY TABLE {name} ({columns}) {options}"


def dead_letter_select(config: JobConfig, reason: str, field: str, where: str, source: str = "sequenced") -> str:
    """Return the query for `dead_letter_table`. Bytes that aren't UTF-8 go as base64, so that none changes."""
    text = "DECODE(`value`, 'UTF-8')"
    valid = f"({reason} IS DISTINCT FROM 'not_utf8')"
    return (
        f"SELECT {reason}, {field}, CASE WHEN {valid} THEN {text} END, CASE WHEN NOT {valid} THEN `value` END, "
        f"'{config.events_topic}', kafka_partition, kafka_offset, "
        f"CAST(UNIX_TIMESTAMP() AS BIGINT) * 1000 FROM {source} WHERE {where}"
    )
