"""Measure how good lists are: metrics, baselines, and the report of `liveshelf evaluate`."""
