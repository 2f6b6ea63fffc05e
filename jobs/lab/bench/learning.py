"""Compare a model that learns on with a frozen one, on yoochoose64 day by day.

    python -m jobs.lab.bench.learning DATA/yoochoose64 OUT [--picture models/pictures/learning.png]

Both begin with the first two days. Each day's sessions go through `learn_once`, as in `liveshelf learn`: a new version
is trained, judged by the newest 15 %, and activated if it isn't worse. Then both models answer the next day. Days are
UTC; the last one is the published test part.
"""

import argparse
import datetime
import itertools
import json
from pathlib import Path

from jobs.operate import extras
from models.clicks.dataset import Session
from models.clicks.sessions import Question, questions_of, read_sessions
from models.quality.measure import measure_bundle
from models.serving.bundle import Bundle
from models.serving.registry import Registry

with extras.of_program("python -m jobs.lab.bench.learning"):
    from jobs.learn.loop import learn_once
    from models.session.train import train_bundle

FIRST_DAYS = 2
LEAST_SESSIONS = 100  # 29 September has 6 sessions outside the test part


def by_day(sessions: list[Session]) -> list[tuple[str, list[Session]]]:
    """Return sessions by the day on which they ended."""
    days = itertools.groupby(
        sessions, lambda each: datetime.datetime.fromtimestamp(each[-1].time_s, datetime.UTC).date()
    )
    found = [(str(day), list(each)) for day, each in days]
    return [(day, each) for day, each in found if len(each) >= LEAST_SESSIONS]


def measured(bundle: Bundle, questions: list[Question]) -> dict[str, float]:
    report = measure_bundle(bundle, questions)
    return {name: report[name] for name in ("recall@20", "mrr@20", "pairs")}


def run(folder: Path, out: Path) -> list[dict]:
    """Return a row for each day after the first that was learned from."""
    days = by_day(read_sessions(folder / "train_full.tsv.gz"))
    test = questions_of(read_sessions(folder / "test.tsv.gz"))
    registry = Registry(out / "versions")
    first = [session for _, sessions in days[:FIRST_DAYS] for session in sessions]
    train_bundle(first, out / "first", "days", {"file": "train_full.tsv.gz"}, minutes=600)
    frozen = registry.bundle(registry.activate(registry.publish(out / "first")).version)
    asked = [*((day, questions_of(sessions)) for day, sessions in days[FIRST_DAYS + 1 :]), ("test", test)]
    rows = []
    for (day, sessions), (asked_day, questions) in zip(days[FIRST_DAYS:], asked, strict=True):
        outcome = learn_once(registry, sessions, day, print, out / "mlflow")
        active = registry.bundle(registry.active().version)
        rows.append({
            "learned": day, "published": bool(outcome.version), "problem": outcome.problem, "seconds": outcome.seconds,
            "asked": asked_day, "frozen": measured(frozen, questions), "learning": measured(active, questions),
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return rows


def draw(rows: list[dict], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for panel, metric in zip(panels, ("recall@20", "mrr@20"), strict=True):
        for name, style in (("learning", "o-"), ("frozen", "s--")):
            panel.plot([row["asked"] for row in rows], [row[name][metric] for row in rows], style, label=name)
        panel.set_title(metric)
        panel.grid(alpha=0.3)
    panels[0].legend()
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    rows = run(given.folder, given.out)
    if given.picture:
        draw(rows, given.picture)
    total = {name: sum(row[name]["recall@20"] for row in rows) for name in ("learning", "frozen")}
    print(f"recall@20 in sum over {len(rows)} days: {total}")


if __name__ == "__main__":
    main()
