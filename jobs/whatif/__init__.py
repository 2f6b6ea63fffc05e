"""`liveshelf shelves diff`: the last logged lists, made again under the edited file, and what that changes.

The path: read (the log, the events before and after its lists, facts) → replay (the operator's own evaluation) → count.
Nothing is written.
"""
