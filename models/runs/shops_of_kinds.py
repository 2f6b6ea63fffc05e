"""Make three shops that differ in kind from the real sets, and train on each: does the default trainer hold there?

python -m models.runs.shops_of_kinds FOLDER_OF_SETS OUT [--minutes 40]

| shop     | made of                | what is special                                                          |
|----------|------------------------|--------------------------------------------------------------------------|
| `few`    | `yoochoose1_64`        | 300 items, every fourth next item one of the session's                   |
| `gifts`  | `onlineretail`         | invoices of a year: 5 % repeats, 20 lines an invoice, the range changes  |
| `many`   | `yoochoose1_64`        | 37,000 items with few clicks each, 45 % repeats                          |

Clicks and their order are real. A share of repeats is reached by leaving repeats out, or by going back to an item of
the session, the later ones more often. `many` has three shops of the same sessions in one, each with its own items.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from models.clicks.sessions import read_sessions

Sessions = list[list[str]]


def repeats(sessions: Sessions) -> float:
    """Return the share of next items that the session has already."""
    again = sum(item in session[:place] for session in sessions for place, item in enumerate(session) if place)
    return again / max(1, sum(len(session) - 1 for session in sessions))


def with_repeats(sessions: Sessions, share: float, rng: np.random.Generator) -> Sessions:
    """Return sessions of which about `share` of the next items are the session's own."""
    now = repeats(sessions)
    if now > share:  # leaving out x of the repeats leaves (1 - x) r of 1 - x r
        kept = share * (1 - now) / (now * (1 - share))
        return [
            [item for place, item in enumerate(session) if item not in session[:place] or rng.random() < kept]
            for session in sessions
        ]
    going_back = (share - now) / (1 - share)  # for each next item so many more
    made = []
    for session in sessions:
        path = session[:1]
        for item in session[1:]:
            path.append(item)
            if rng.random() < going_back:
                path.append(path[-1 - min(int(rng.geometric(0.4)), len(path) - 1)])
        made.append(path)
    return made


def few(folder: Path, rng: np.random.Generator) -> Sessions:
    """Return sessions of the 300 items that were clicked most."""
    sessions = _yoochoose(folder)
    counts = pd.Series([item for session in sessions for item in session]).value_counts()
    known = set(counts.index[:300])
    left = [[item for item in session if item in known] for session in sessions]
    return with_repeats([session for session in left if len(session) > 1], 0.25, rng)


def gifts(folder: Path, rng: np.random.Generator) -> Sessions:
    """Return invoices in order of time, their lines in the order of the file; cancellations are left out."""
    table = pd.read_csv(folder / "onlineretail" / "online_retail.csv.gz", dtype=str)
    table = table[~table["InvoiceNo"].str.startswith("C") & ~table["StockCode"].str.contains(r"\s")]
    table = table.sort_values("InvoiceDate", kind="stable")
    invoices = [list(rows) for _, rows in table.groupby("InvoiceNo", sort=False)["StockCode"]]
    return with_repeats(invoices, 0.05, rng)


def many(folder: Path, rng: np.random.Generator) -> Sessions:
    """Return the sessions of three shops in one."""
    real = _yoochoose(folder)
    shops = rng.integers(0, 3, len(real))
    sessions = [[f"{item}-{shop}" for item in session] for session, shop in zip(real, shops, strict=True)]
    return with_repeats(sessions, 0.45, rng)


def _yoochoose(folder: Path) -> Sessions:
    sessions = read_sessions(folder / "yoochoose1_64" / "train_sessions.txt.gz")
    return [[event.item for event in session] for session in sessions]


SHOPS = {"few": few, "gifts": gifts, "many": many}


def main() -> None:
    """Write each shop's sessions and train on them; the trainer prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, help="folder with yoochoose1_64 and onlineretail")
    parser.add_argument("out", type=Path, help="folder of the sessions and bundles")
    parser.add_argument("--shops", nargs="*", default=list(SHOPS), choices=list(SHOPS))
    parser.add_argument("--minutes", default="40")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.shops:
        sessions = SHOPS[name](given.sets, np.random.default_rng(1))
        file = given.out / f"{name}.txt"
        file.write_text("\n".join(" ".join(session) for session in sessions) + "\n")
        items = len({item for session in sessions for item in session})
        print(f"{name}: {len(sessions):,} sessions, {items:,} items, {repeats(sessions):.1%} repeats", flush=True)
        arguments = ["--sessions", str(file), "--out", str(given.out / name), "--minutes", given.minutes]
        subprocess.run([Path(sys.executable).with_name("liveshelf"), "train", *arguments], check=True)


if __name__ == "__main__":
    main()
