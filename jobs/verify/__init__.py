"""`liveshelf verify`: recompute a topic in plain Python, and compare it with the online store and with Redis.

The path: Kafka's records → classify (is it refused, late, a duplicate, or does it count?) → parts, features and lists
(the oracle's values) → online, shelf and conservation (the comparisons) → report.

Nothing here runs in Flink, and nothing is shared with `jobs/features` or `jobs/rankings`. So a mistake there can't hide
by being made here too.
"""
