"""Make small worlds of clicks at random: catalogues of 20 to 50,000 items, with what shops' files hold."""

import random
from typing import NamedTuple

from models.clicks.dataset import Event, Session

LONGEST_ID = 128  # UTF-16 code units, as the event contract says


class World(NamedTuple):
    """Sessions, oldest first, and what is special about them."""

    sessions: list[Session]
    about: str


def _plain(number: int) -> str:
    return f"sku-{number}"


def _digits(number: int) -> str:
    return f"{number:07}"


def _words(number: int) -> str:
    return f"Größe «{number}» 靴/é%#?&+=\\'{number}"


def _emoji(number: int) -> str:
    return f"👟{number}\u200d🇵🇱"


def _long(number: int) -> str:
    return f"{number}-".ljust(LONGEST_ID, "x")


def _json(number: int) -> str:
    return f'{{"id":[{number},null]}}</script>'


IDS = (_plain, _digits, _words, _emoji, _long, _json)


def world(seed: int) -> World:
    """Return a world; the same seed gives the same one."""
    rng = random.Random(seed)
    items = round(20 * 2500 ** rng.random())
    skew, repeats, name = rng.choice((0.0, 1.0, 3.0)), rng.choice((0.0, 0.45, 0.9)), rng.choice(IDS)
    twice, single = rng.random() < 0.3, rng.random() < 0.3
    clock = 0.0
    sessions: list[Session] = []
    for _ in range(rng.randint(100, 400)):
        clicked: list[int] = []
        for _ in range(rng.choice((1, 2, 2, 3, 5, 8, 60))):
            again = bool(clicked) and rng.random() < repeats
            clicked.append(rng.choice(clicked) if again else int(items * rng.random() ** (1 + skew)))
        kinds = rng.choices(("view", "click", "purchase"), k=len(clicked))
        clock += rng.choice((0.0, 1.0, 86_400.0))
        places = enumerate(zip(clicked, kinds, strict=True))
        sessions.append([Event(name(item), kind, clock + at) for at, (item, kind) in places])
        if twice:  # the same visit under other ids
            sessions.append([event._replace(item=f"{event.item[: LONGEST_ID - 1]}'") for event in sessions[-1]])
    if single:  # what is left of the catalogue was clicked once and alone: only these make it large
        sessions += [[Event(name(item), "view", clock * rng.random())] for item in range(items)]
        sessions.sort(key=lambda session: session[0].time_s)
    about = f"{items} items, skew {skew}, repeats {repeats}, {name.__name__}, twice {twice}, single {single}"
    return World(sessions, about)
