"""What a worker needs to serve a model: the bundle, its graph, its signature, and the registry of versions."""
