"""liveshelf: real-time, session-based personalization for shops, on Flink."""
