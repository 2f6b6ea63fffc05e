"""The catalogue: what item facts say, for a person's commands and for the workers that rank.

`change` works out what a file or a command changes; `columns` holds facts as arrays; `follower` keeps them up to date.
"""
