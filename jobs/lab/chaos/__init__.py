"""`liveshelf chaos`: hurt a real system with named faults; `verify` and a sampler of Redis judge each scenario."""
