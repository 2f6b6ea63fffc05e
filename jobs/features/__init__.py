"""Feast definitions → a plan (plain data, checked) → Flink SQL → rows in Feast's online store."""
