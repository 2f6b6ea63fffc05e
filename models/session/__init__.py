"""The session model: a GRU over a visitor's clicks, how it is trained, and how it becomes an ONNX graph."""

import os

# Before torch loads OpenMP: its threads then sleep while they wait for each other, instead of spinning. On a machine
# with other work a thread that spins holds up the one that it waits for (models/TRIALS.md, "Threads that wait").
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
