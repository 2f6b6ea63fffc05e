"""Real events into Kafka: sets and files become contract events, get harder to digest, and are produced at a pace."""
