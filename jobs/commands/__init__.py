"""What each command of `liveshelf` does with its arguments; the work itself is elsewhere in `jobs/`."""
