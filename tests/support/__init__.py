"""Helpers that tests of several levels share. Nothing here is a test."""
