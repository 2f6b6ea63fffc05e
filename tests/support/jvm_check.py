"""What `liveshelf.ParseEvent` says of records: `python -m tests.support.jvm_check RECORDS VERDICTS SKEW_MS`.

A process of its own, so that the planner's JVM ends with it. RECORDS has a line {"place", "value"} a record (value in
base64, null for none); VERDICTS gets one {"place", "refusal", "refusal_field", each field of the contract} a record.
"""

import os
import sys
from pathlib import Path

from jobs.contract import events
from jobs.flow.source import PARSED
from jobs.jvm.build import contract_jar
from jobs.jvm.java import JAVA_HOME


def main(records: Path, verdicts: Path, skew_ms: int) -> None:
    os.environ["JAVA_HOME"] = str(JAVA_HOME)
    from pyflink.table import EnvironmentSettings, TableEnvironment

    table_env = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    table_env.get_config().set("pipeline.jars", contract_jar().as_uri())
    table_env.get_config().set("parallelism.default", "1")
    table_env.execute_sql(PARSED)
    files = "WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = '{}')".format
    table_env.execute_sql(f"CREATE TEMPORARY TABLE records (place INT, `value` BYTES) {files(records.as_uri())}")
    names = ["refusal", "refusal_field", *(field.name for field in events.FIELDS)]
    types = ["STRING", "STRING", *(events.SQL_TYPE[field.kind] for field in events.FIELDS)]
    columns = ", ".join(f"`{name}` {kind}" for name, kind in zip(names, types, strict=True))
    table_env.execute_sql(f"CREATE TEMPORARY TABLE verdicts (place INT, {columns}) {files(verdicts.as_uri())}")
    parsed = f"SELECT place, parse_event(`value`, CAST({skew_ms} AS BIGINT)) AS event FROM records"
    fields = ", ".join(f"event.`{name}`" for name in names)
    table_env.execute_sql(f"INSERT INTO verdicts SELECT place, {fields} FROM ({parsed})").wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
