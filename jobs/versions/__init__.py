"""Versions in a folder, one of which is active: of models and of shelves."""
