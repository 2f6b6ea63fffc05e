"""Clicks as training sees them: files of sessions, and the arrays that are made of them."""
