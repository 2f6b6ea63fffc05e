"""A training of a second: `python -m tests.support.small_training OUT [--resume] [--die-at LINE]`."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.clicks.dataset import Event, Session
from models.session.recipe import Recipe
from models.session.train import train_bundle

RECIPE = Recipe(epochs=3, batch_rows=16, hidden=16, dropout=0.3)


def sessions(count: int = 150, items: int = 90, seed: int = 1) -> list[Session]:
    """Walks of 2 to 5 clicks in a ring of items, oldest first."""
    rng = np.random.default_rng(seed)
    return [
        [Event(f"sku-{(start + place) % items}", "view", row * 60.0 + place) for place in range(rng.integers(2, 6))]
        for row, start in enumerate(rng.integers(0, items, count).tolist())
    ]


def train(out: Path, tell: Callable[[str], None] = lambda _: None, **how: object) -> None:
    """Train on `sessions` with dropout, so that the state of each generator counts."""
    given = {"clicks": sessions(), "recipe": RECIPE, "minutes": 600.0} | how
    train_bundle(given.pop("clicks"), out, "small", {"file": "made"}, tell=tell, **given)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--die-at", default="", help="the beginning of a line; SIGKILL comes when it is told")
    given = parser.parse_args()

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        if given.die_at and line.startswith(given.die_at):
            os.kill(os.getpid(), signal.SIGKILL)

    train(given.out, tell, resume=given.resume)


if __name__ == "__main__":
    main()
