"""The session model: a GRU over a visitor's clicks, how it is trained, and how it becomes an ONNX graph."""

import os

# Before torch loads OpenMP: a thread that waits for the others then sleeps after some microseconds. On a machine with
# other work a thread that spins holds up the one that it waits for (models/TRIALS.md, "Threads that wait").
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
