"""`liveshelf demo`: the whole system on this machine, on real clicks, watched or counted.

`run` is the story; `system` starts and stops, `stage` meets every click before it is sent, `watcher` looks from outside
how long a list takes, `page` keeps the shop's page open, `board` draws, `counts` reads from Kafka what happened.
"""
