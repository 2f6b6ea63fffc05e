"""`liveshelf chaos`: a real system under named faults, each scenario judged by `verify` and a sampler that reads throughout."""
