"""The lake: what the topics held, hour by hour, as Parquet files."""
