"""Draw the demo on a terminal, four times a second."""

import time
from collections.abc import Callable, Mapping

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jobs.contract.printable import printable
from jobs.lab.demo.stage import Snapshot, Stage
from jobs.lab.demo.visitors import Click, Visitor
from jobs.lab.demo.watcher import RECENT, Watcher

SHOWN_VISITORS = 3
SHOWN_ITEMS = 6
# A session of seven clicks passes in half a second here: its last state stays as long as a person needs to read it.
STAYS_S = 8.0
FORESEEN = {None: ("· ", "dim"), True: ("✓ ", "bold green"), False: ("  ", "")}


class Board:
    """Draws `stage`; `refused` returns the number of events refused so far, `total` is the number of all clicks.

    `page` returns the address of the shop's page, "" while there is none.
    """

    def __init__(
        self,
        stage: Stage,
        watcher: Watcher,
        names: Mapping[str, str],
        total: int,
        refused: Callable[[], int],
        page: Callable[[], str],
    ) -> None:
        self._stage, self._watcher, self._names, self._total, self._refused = stage, watcher, names, total, refused
        self._page = page
        self._chosen: dict[str, float] = {}  # visitor → since when

    def render(self) -> RenderableType:
        now = self._stage.snapshot()
        self._choose(now.open)
        visitors = Columns(
            [self._visitor(visitor) for visitor in self._chosen], equal=True, expand=True, padding=(0, 0)
        )
        foot = Text("✓ the item stood in the visitor's list before the click    Ctrl-C leaves", style="dim")
        url = self._page()
        page = [Text.assemble("the shop's page, for clicks of your own: ", (url, "bold"))] if url else []
        return Group(self._head(now), visitors, foot, *page)

    def _head(self, now: Snapshot) -> Panel:
        latency = self._watcher.percentiles_ms(RECENT)
        p50, p99 = (f"{percentile:.0f} ms" for percentile in latency) if latency else ("…", "…")
        table = Table.grid(padding=(0, 3), expand=True)
        for _ in range(4):
            table.add_column(justify="left")
        table.add_row(
            _fact("clicks", f"{now.clicks:,} of {self._total:,}"),
            _fact("events/s", f"{now.events_per_s:.0f}"),
            _fact("sessions open", f"{len(now.open):,}"),
            _fact("refused", f"{self._refused():,}"),
        )
        table.add_row(
            _fact("event → Redis p50", p50),
            _fact("p99", p99),
            _fact("next click in the list", f"{now.score.hit_rate:.1%}", "bold green"),
            _fact("in the popularity list", f"{now.score.popular_hit_rate:.1%}"),
        )
        return Panel(table, title="liveshelf: August 2008 in a clothing shop, replayed", border_style="cyan")

    def _choose(self, open_now: Mapping[str, Visitor]) -> None:
        """Keep the shown visitors while their session lasts, and long enough to be read; then take those who clicked
        most.
        """
        now_s = time.monotonic()
        self._chosen = {
            name: since_s for name, since_s in self._chosen.items() if name in open_now or now_s - since_s < STAYS_S
        }
        busiest = sorted(open_now, key=lambda name: open_now[name].clicks, reverse=True)
        for name in busiest:
            if len(self._chosen) >= SHOWN_VISITORS:
                break
            self._chosen.setdefault(name, now_s)

    def _visitor(self, name: str) -> Panel:
        visitor, standing = self._stage.visitor(name), self._stage.standing(name)
        clicks = [self._click(click) for click in visitor.last_clicks]
        items = standing.items[:SHOWN_ITEMS] if standing else []
        ranked = [Text(f"{place}. {self._named(item)}", no_wrap=True) for place, item in enumerate(items, 1)]
        parts = [Text("clicked", style="dim"), *clicks, Text("now sees", style="dim"), *ranked]
        return Panel(Group(*parts), title=Text(f"{printable(name)}, {visitor.clicks} clicks"), border_style="blue")

    def _click(self, click: Click) -> Text:
        mark, style = FORESEEN[click.foreseen]
        return Text(mark + self._named(click.item), style=style, no_wrap=True, overflow="ellipsis")

    def _named(self, item: str) -> str:
        return printable(self._names.get(item, item))


def _fact(name: str, value: str, style: str = "bold") -> Text:
    return Text.assemble((f"{name}  ", "dim"), (value, style))
