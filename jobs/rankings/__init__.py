"""Make a list: session → context → candidates → rules → select → publish. `operator.py` reads in this order."""
