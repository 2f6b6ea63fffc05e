"""`liveshelf why`: what a list was made from, replayed through the oracle's code with the versions that it names.

The path: find (list, log record, events, facts) → reasons (places, items that aren't there) → tell (words).
"""
