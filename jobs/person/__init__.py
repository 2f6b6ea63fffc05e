"""One person: what is known (`known`), taking it away (`erase`), and the proof of it (`receipt`)."""
