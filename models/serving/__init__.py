"""Serve a model in a worker: its bundle, the check of its graph, its signature, and the registry of versions."""
