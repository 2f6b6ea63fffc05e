"""Read the files that a person gives: text in its many spellings, tables, and events.

Every command that takes such a file reads it here, so that one set of rules holds: `text` opens it, `tables` cuts it,
`events` makes events of the contract of it. Models may import this room.
"""
