"""Connections to Kafka, Redis and Flink: addresses, users, and the few ways in which they are used."""
