"""One person's data: collect it (`known`), erase it (`erase`), and prove the erasure (`receipt`)."""
