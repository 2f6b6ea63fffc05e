"""How good a list is: metrics, baselines, and the report of `liveshelf evaluate`."""
