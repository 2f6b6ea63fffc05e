"""The catalogue: what item facts say, for a person's commands and for the workers that rank.

`change` works out what a file or a command changes, and `load` writes it. `columns` holds facts as arrays, and
`follower` keeps them up to date.
"""
