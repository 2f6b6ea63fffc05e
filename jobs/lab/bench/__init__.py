"""What liveshelf does in a second, beside what the tutorials' way does, on a real cluster with one slot."""
