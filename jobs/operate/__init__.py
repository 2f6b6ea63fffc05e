"""Operate a running system: submit, keep, rebuild, look, and answer for what was done."""
