"""Recorded trainings, their pictures, and how the packaged bundles were made."""
