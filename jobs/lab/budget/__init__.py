"""Say what a shop of a size needs, for `liveshelf plan`: measured costs times the size.

`measured.json` holds the costs, each with its command, machine and date. `coefficients.py` reads it, `terms.py` is the
arithmetic, and `text.py` prints it.
"""
