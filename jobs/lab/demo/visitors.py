"""Count sessions, and how many clicks the lists foresaw: in event time, with no clock and no network."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

LAST_CLICKS = 5


@dataclass
class Score:
    """Clicks that a list held before they came: `hits` of the visitor's list, `popular_hits` of the popularity list.

    Both are of the same `judged` clicks. `in_time` of those were judged by a list that answered the visitor's click
    before; the others by an older list or by none.
    """

    judged: int = 0
    hits: int = 0
    popular_hits: int = 0
    in_time: int = 0

    @property
    def hit_rate(self) -> float:
        return self.hits / self.judged if self.judged else 0.0

    @property
    def popular_hit_rate(self) -> float:
        return self.popular_hits / self.judged if self.judged else 0.0

    @property
    def in_time_rate(self) -> float:
        return self.in_time / self.judged if self.judged else 0.0


class Click(NamedTuple):
    """A clicked item; `foreseen`: it was in the list that stood before the click (None: a session's first click)."""

    item: str
    foreseen: bool | None


@dataclass(frozen=True)
class Visitor:
    """A visitor's session: the event time of its last click, its number of clicks and the last of them."""

    last_ms: int
    clicks: int
    last_clicks: tuple[Click, ...]


class Visitors:
    """Sessions by the pause between clicks that arrive in event-time order."""

    def __init__(self, gap_ms: int, popular: Sequence[str]) -> None:
        self.score = Score()
        self._gap_ms, self._popular = gap_ms, frozenset(popular)
        self._known: OrderedDict[str, Visitor] = OrderedDict()  # whoever clicked last comes last

    def click(self, visitor_id: str, item: str, time_ms: int, standing: Sequence[str], answers_ms: int) -> None:
        """Judge a click by the items that stood, in a list that answers the visitor's events up to `answers_ms`.

        No list is an empty one from time 0: a miss. A session's first click isn't judged.
        """
        before = self._known.pop(visitor_id, None)
        if before is None or time_ms - before.last_ms > self._gap_ms:
            self._known[visitor_id] = Visitor(time_ms, 1, (Click(item, None),))
            return
        foreseen = item in standing
        self.score.judged += 1
        self.score.hits += foreseen
        self.score.popular_hits += item in self._popular
        self.score.in_time += answers_ms >= before.last_ms
        last = (*before.last_clicks, Click(item, foreseen))[-LAST_CLICKS:]
        self._known[visitor_id] = Visitor(time_ms, before.clicks + 1, last)

    def last_ms(self, visitor_id: str) -> int:
        """Return the event time of the visitor's last click, 0 before the first."""
        return self._known[visitor_id].last_ms if visitor_id in self._known else 0

    def snapshot(self) -> tuple[Score, dict[str, Visitor]]:
        """Return the score, and the sessions that are open at the newest click."""
        newest_ms = next(reversed(self._known.values())).last_ms if self._known else 0
        open_now = {}
        for name, visitor in reversed(self._known.items()):
            if newest_ms - visitor.last_ms > self._gap_ms:
                break
            open_now[name] = visitor
        return replace(self.score), open_now

    def get(self, visitor_id: str) -> Visitor:
        """Return a visitor's last session, open or not."""
        return self._known[visitor_id]
