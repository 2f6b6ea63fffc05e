"""Show the system, measure it and hurt it: replay, demo, bench and chaos. The product imports nothing of it."""
