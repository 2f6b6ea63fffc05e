"""Measure both jobs' events a second by parallelism, in turn on one cluster with four slots.

    python -m jobs.lab.bench.slots [--events 100000]

On few cores it says how much of them a slot leaves idle, and no more: broker, Redis and JVM share them.
"""

import argparse
import dataclasses
import sys

from jobs.lab.bench import throughput
from jobs.lab.bench.memory import machine
from jobs.lab.bench.workplace import workplace
from jobs.operate.running_jobs import JOBS
from jobs.settings import Settings

PARALLELISMS = (1, 2, 4)
WARM = 20_000  # events of the runs that come first


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> None:
    """Print a line for each job and parallelism."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    count = parser.parse_args().events
    sys.stdout.write(f"{machine()}\n")
    with workplace(Settings(), slots=max(PARALLELISMS)) as place:
        stream = throughput.fill(place, count)
        for job in JOBS:
            for parallelism in PARALLELISMS:
                settings = place.settings.model_copy(update={"parallelism": parallelism})
                wide = dataclasses.replace(place, settings=settings)
                rates = throughput.rates(wide, stream, job, (WARM, WARM, count), tell)
                cpu = f"{rates.cpu_us_per_event:.0f} µs of processor time an event in the job"
                sys.stdout.write(f"{job} at parallelism {parallelism}: {rates.events_per_s:,.0f} events/s, {cpu}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
