"""Measure how well items are listed by their facts that training never saw, on real clicks.

python -m models.runs.new_items FOLDER_OF_SETS

| set            | facts                    | which items are new                                             |
|----------------|--------------------------|-----------------------------------------------------------------|
| `eshop`        | category, colour, price  | each tenth item; training sees no click on it                   |
| `retailrocket` | category                 | those that are first seen after the 70 % of sessions that teach |
| `yoochoose64`  | category                 | likewise                                                        |

What is added to their biases is chosen on the next 15 % of the sessions, and the last 15 % are looked at once.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from models.clicks.dataset import Encoder, Event, Session, read
from models.clicks.sessions import Question, cut, read_sessions
from models.session.choose import choose_memory
from models.session.epochs import Training, new_model
from models.session.newcomers import Chosen, choose_newcomers
from models.session.recipe import Recipe, split_by_time
from models.session.words import ItemFacts

ASKED = 10_000  # questions of a part at most
GAP_S = 1800.0
TYPES = {"view": "view", "addtocart": "add_to_cart", "transaction": "purchase"}


def eshop(folder: Path) -> tuple[list[Session], ItemFacts, set[str]]:
    """Return sessions, facts, and the items that are taken for new."""
    (file,) = (folder / "eshop2008").glob("*.csv.gz")
    parts = read("eshop", file)
    items = sorted(parts.facts)
    held_out = np.random.default_rng(1).permutation(len(items))[: len(items) // 10]
    return parts.ship + parts.test, parts.facts, {items[place] for place in held_out}


def retailrocket(folder: Path) -> tuple[list[Session], ItemFacts, set[str]]:
    """Return visits of which pauses are at most half an hour."""
    table = pd.read_csv(folder / "retailrocket" / "events.csv.gz", dtype={"ItemId": str, "CatId": str})
    table = table.sort_values("Time", kind="stable")
    sessions: list[Session] = []
    for _, rows in table.groupby("UserId", sort=False):
        clicks = [
            Event(item, TYPES[kind], float(time))
            for item, kind, time in zip(rows["ItemId"], rows["Type"], rows["Time"], strict=True)
        ]
        sessions += cut(clicks, GAP_S)
    return sorted(sessions, key=lambda session: session[-1].time_s), _categories(table), set()


def yoochoose64(folder: Path) -> tuple[list[Session], ItemFacts, set[str]]:
    """Return the sessions of the training file."""
    file = folder / "yoochoose64" / "train_full.tsv.gz"
    return read_sessions(file), _categories(pd.read_csv(file, sep="\t", dtype={"ItemId": str, "CatId": str})), set()


def _categories(table: pd.DataFrame) -> ItemFacts:
    last = table.groupby("ItemId")["CatId"].last()
    return {item: {"category": category} for item, category in last.items()}


SETS = {"eshop": eshop, "retailrocket": retailrocket, "yoochoose64": yoochoose64}


def measured(sessions: list[Session], facts: ItemFacts, held_out: set[str], seed: int = 1) -> Iterator[Chosen | None]:
    """Train without the items that are held out, and yield what new items are worth on the second and third part."""
    parts = split_by_time(sessions)
    teach = [[event for event in session if event.item not in held_out] for session in parts.teach]
    teach = [session for session in teach if session]
    encoder, recipe = Encoder(teach), Recipe.for_sessions(teach)
    model = new_model(encoder, recipe, seed)
    for _ in Training(model, teach, encoder, recipe, seed):
        pass
    choose_memory(model.eval(), encoder.numbers(teach), _some(parts.choose, seed), encoder.index)
    chosen = choose_newcomers(model, encoder, facts, _some(parts.choose, seed), seed)
    yield chosen
    if chosen is not None:
        yield choose_newcomers(model, encoder, facts, _some(parts.test, seed), seed, shifts=[chosen.shift])


def _some(questions: list[Question], seed: int) -> list[Question]:
    if len(questions) <= ASKED:
        return questions
    places = np.random.default_rng(seed).choice(len(questions), ASKED, replace=False)
    return [questions[place] for place in np.sort(places)]


def main() -> None:
    """Print a line for each part of each set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, help="folder with eshop2008, retailrocket and yoochoose64")
    given = parser.parse_args()
    for name, load in SETS.items():
        for part, chosen in zip(("choosing", "test"), measured(*load(given.sets)), strict=False):
            print(f"{name}, {part}: {chosen.told() if chosen else 'no words'}", flush=True)


if __name__ == "__main__":
    main()
