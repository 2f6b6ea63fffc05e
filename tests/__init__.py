"""All tests. A package, so that every test imports `tests.support` by its name."""
