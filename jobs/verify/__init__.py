"""`liveshelf verify`: a topic, recomputed in plain Python, against what stands in the online store and in Redis.

The path: slice (Kafka → records) → classify (records → what becomes of each) → features and lists (the oracle's values)
→ online, shelf and conservation (comparisons) → report. Nothing here runs in Flink, and nothing is shared with
`jobs/features` or `jobs/rankings`: a mistake there can't hide by being made twice.
"""
