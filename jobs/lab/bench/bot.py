"""Measure the cost of a bot's event in the features operator, by the number of events in the bot's longest window.

    python -m jobs.lab.bench.bot --events 1000 10000 100000
    python -m jobs.lab.bench.bot --events 1000 10000 100000 --cap 1000000      # as if there were no cap: minutes

It measures the CPU time of the state alone (`jobs/jvm/src/liveshelf/TrailingState.java`), without Flink: other work on
the machine matters little. `shipped` are the visitor's features of feature_repo. `hard` are those from which an old
event can't be subtracted exactly.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from jobs.features import lint, sql
from jobs.features.definitions import from_files
from jobs.jvm import build
from jobs.jvm.java import JAVA
from jobs.settings import Settings

HARD = (
    ("min", "price_minor"),
    ("max", "price_minor"),
    ("std", "price_minor"),
    ("sum", "rating"),
    ("first", "item_id"),
    ("last", "item_id"),
    ("span", "event_time_s"),
    ("last_20", "item_id"),
    ("count_distinct", "item_id"),
)
WINDOWS_MS = (300_000, 3_600_000, 86_400_000)


def main() -> None:
    settings = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--cap", type=int, default=settings.max_window_events)
    asked = parser.parse_args()
    known = from_files(settings)
    plan = lint.checked(settings, known)
    features = {
        "shipped": next(sql.feature_list(each) for each in plan.operators() if each.key == sql.PERSON),
        "hard": "; ".join(f"{function} {column} range {ms}" for ms in WINDOWS_MS for function, column in HARD),
    }
    with tempfile.TemporaryDirectory() as folder:
        classpath = build.compiled_beside(Path(folder), Path(__file__).with_name("BotBench.java"))
        print(f"cap {asked.cap:,}\nfeatures   events   µs/event   state, bytes   copy, µs")
        for name, text in features.items():
            command = [str(JAVA), "-cp", classpath, "liveshelf.BotBench", text, str(asked.cap), *map(str, asked.events)]
            for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
                events, *measured = line.split()
                print(f"{name:8} {int(events):8,} {measured[0]:>10} {int(measured[1]):14,} {measured[2]:>10}")


if __name__ == "__main__":
    main()
