"""A job of one row and one Python step, which prints the report of the Python that ran it (see `workers.py`)."""

import sys

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import DataTypes, StreamTableEnvironment
from pyflink.table.udf import udf


def main(expression: str) -> None:
    """Print what the Python expression returns on a TaskManager; the entry point of `flink run -py`."""
    configuration = Configuration()
    # What is missing there doesn't come by trying again.
    for name, value in (("pipeline.name", "liveshelf probe"), ("restart-strategy.type", "none")):
        configuration.set_string(name, value)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    environment.set_parallelism(1)
    table_env = StreamTableEnvironment.create(environment)
    # `eval` travels by its name. A function of ours would travel as bytecode, which another Python may not understand.
    look = udf(eval, result_type=DataTypes.STRING(), deterministic=False)
    table_env.create_temporary_system_function("look", look)
    literal = expression.replace("'", "''")
    with table_env.execute_sql(f"SELECT look(code) FROM (VALUES ('{literal}')) AS probe(code)").collect() as rows:
        for row in rows:
            print(row[0])


if __name__ == "__main__":
    main(sys.argv[1])
