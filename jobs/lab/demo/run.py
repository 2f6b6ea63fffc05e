"""The demo's story: start, replay August, judge each click, count what happened, stop."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import psutil
from rich.console import Console
from rich.live import Live

from jobs.cluster.runtime import Runtime
from jobs.connect.kafka_admin import end_offsets
from jobs.contract.events import Event
from jobs.lab.demo.board import Board
from jobs.lab.demo.counts import counts, wait_processed
from jobs.lab.demo.page import Page, opened, shown
from jobs.lab.demo.stage import Stage
from jobs.lab.demo.system import (
    LIST_SIZE,
    Say,
    demo_settings,
    load_catalogue,
    publish_shelves,
    start_features,
    system,
)
from jobs.lab.demo.visitors import Visitors
from jobs.lab.demo.watcher import Watcher
from jobs.lab.repeating import repeating
from jobs.lab.replay.produce import replay
from jobs.lab.replay.sources import read
from jobs.settings import Settings
from models.serving.bundle import Bundle, load_bundle
from models.serving.registry import serving_folder

SHOP, SINCE = "eshop2008", "2008-08-01"  # the packaged model was trained on April to July
WATERMARK_DELAY_S = 1.0
PROGRESS_S = 5.0
REFUSED_S = 2.0  # between two questions to Kafka for the board
MAKE = ("make", "gmake")


def run(settings: Settings, watched: bool) -> dict[str, object]:
    """Play the demo; what came of it, the promised keys first.

    `watched` draws a board on the terminal, otherwise lines of progress go to stderr. Interrupted, it stops everything
    and passes KeyboardInterrupt on. Raises ServiceError, DefinitionError or ModelError.
    """
    began_s = began_at_s()
    settings = demo_settings(settings)

    def say(line: str) -> None:
        print(f"[{time.time() - began_s:5.1f} s] {line}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(1) as beside:
        material = beside.submit(_material, settings)
        with system(settings, say) as running:
            result = _play(settings, running, *material.result(), watched, say, began_s)
    return result | {"seconds": round(time.time() - began_s, 1)}


def began_at_s() -> float:
    """Return when the command was given, in seconds since 1970: the start of `make`, or else of this process."""
    own = psutil.Process(os.getpid())
    callers = [process for process in own.parents()[:2] if process.name() in MAKE]
    return min(process.create_time() for process in (own, *callers))


def _material(settings: Settings) -> tuple[list[Event], Bundle]:
    return list(read(SHOP, since=SINCE)), load_bundle(serving_folder(settings.model_dir))


def _play(
    settings: Settings, running: Runtime, events: list[Event], bundle: Bundle, watched: bool, say: Say, began_s: float
) -> dict[str, object]:
    visitors = Visitors(settings.ranker.session_gap_s * 1000, bundle.popular[:LIST_SIZE])
    with Watcher(running.redis_url, settings.ranker.shelf) as watcher:
        page: Page | None = None

        def features() -> None:
            nonlocal page
            say("the first click has its list")
            load_catalogue(settings, running, say)
            page = opened(settings, say)
            start_features(settings, running, say)
            publish_shelves(settings, running, say)
            page = page and shown(page, say)

        stage = Stage(running.redis_url, settings.ranker.shelf, visitors, watcher, features)
        say(f"replaying {len(events):,} clicks of {SHOP} since {SINCE}")
        board = Board(
            stage, watcher, bundle.names, len(events), _refused(settings, running), lambda: page.url if page else ""
        )
        with _drawn(board) if watched else _told(stage, say):
            replay(
                running.kafka_bootstrap,
                settings.events_topic,
                events,
                watermark_delay_s=WATERMARK_DELAY_S,
                shift_to_now=True,
                on_event=stage.meet,
            )
        say("all clicks are sent; waiting until the jobs have read them and written what follows")
        end = wait_processed(settings, running)
        say("all is processed; counting")
        totals = counts(settings, running, end)
        if page and page.watching():
            say("somebody looks at the shop's page: the demo ends when it is closed")
            page.wait_until_left()
    score, latency = visitors.score, watcher.percentiles_ms() or (0.0, 0.0)
    return totals._asdict() | {
        "hit_rate_20": round(score.hit_rate, 4),
        "popularity_hit_rate_20": round(score.popular_hit_rate, 4),
        "seconds_to_first_list": round((stage.first_list_at_s or time.time()) - began_s, 1),
        "clicks_judged": score.judged,
        "judged_in_time": round(score.in_time_rate, 4),
        "event_to_redis_ms": {"p50": round(latency[0], 1), "p99": round(latency[1], 1)},
    }


@contextmanager
def _drawn(board: Board) -> Iterator[None]:
    with Live(get_renderable=board.render, console=Console(stderr=True), screen=True, refresh_per_second=4):
        yield


def _told(stage: Stage, say: Say) -> AbstractContextManager[None]:
    """Tell a line of progress every few seconds, from a thread of its own."""

    def tell() -> None:
        now = stage.snapshot()
        rates = f"{now.score.hit_rate:.1%} of next clicks were in the list, {now.score.popular_hit_rate:.1%}"
        say(f"{now.clicks:,} clicks, {now.events_per_s:.0f}/s; {rates} in the popularity list")

    return repeating(tell, PROGRESS_S, "demo-progress")


def _refused(settings: Settings, running: Runtime) -> Callable[[], int]:
    """Return a function that asks Kafka for the number of dead letters, at most every `REFUSED_S`."""
    asked_s, count = -REFUSED_S, 0

    def refused() -> int:
        nonlocal asked_s, count
        if time.monotonic() - asked_s > REFUSED_S:
            count = sum(end_offsets(running.kafka_bootstrap, settings.dead_topic).values())
            asked_s = time.monotonic()
        return count

    return refused
