"""The lists of one shelf in a batch: candidates → lifts → pick → wider → instead → why. No Flink and no network.

Shapes: B lists, U candidates of each, P places. An item's number is its place among all items; -1 is no item.
"""

from collections.abc import Callable, Sequence

import numpy as np

from jobs.contract.shelf import WHY_INSTEAD, WHYS
from jobs.contract.shelf_plan import Shelf, ShelfPlan
from jobs.rankings.arrays import Ids, Ints, Mask
from jobs.rankings.candidates.mixed import Mixed
from jobs.rankings.candidates.sources import Scored, Sources, Wanted
from jobs.rankings.ranked_list import ShelfPart
from jobs.rankings.select import SCORE_DECIMALS
from jobs.shelves import pick
from jobs.shelves.items import Items
from jobs.shelves.pick import Picked
from jobs.shelves.rules import ShelfRules

REASONS = 4  # items of a session that may be the reason
OF_SESSION = ("session", "together", "lifted_in")


class OneShelf:
    """Makes the lists of one shelf with one bundle and one snapshot of facts."""

    def __init__(self, plan: ShelfPlan, shelf: Shelf, items: Items, sources: Sources, names: Ids) -> None:
        """`names` are the ids of all items, object [M]."""
        self.rules = ShelfRules(plan, shelf, items)
        self._plan, self._shelf, self._items, self._sources, self._names = plan, shelf, items, sources, names
        self.stand_ins = [plan.shelf(name) for name in _stand_ins(plan, shelf)]

    def pick(
        self, wanted: Wanted, list_ids: Sequence[str], ask_again: Callable[[Sequence[int]], Scored]
    ) -> tuple[list[Picked], Mixed, set[int]]:
        """Return the lists, their candidates, and which lists (places) came out short and were made anew.

        `ask_again` gives what the model offers at most for some questions.
        """
        lists, candidates = self._picked(wanted, list_ids)
        short = self._short(wanted, lists)
        if short:
            scored = ask_again([wanted.rows[place] for place in short])
            again, found = self._picked(wanted.of(short, scored), [list_ids[place] for place in short])
            candidates = candidates.with_rows(short, found)
            for place, each in zip(short, again, strict=True):
                lists[place] = each
        self._fill(wanted, lists)
        return lists, candidates, set(short)

    def parts(
        self,
        wanted: Wanted,
        lists: Sequence[Picked],
        candidates: Mixed,
        wide: set[int],
        abouts: Sequence[Sequence[str]],
        latest: Ints,
    ) -> list[ShelfPart]:
        """Return what each list says beside items and scores. `latest` are items by which others may be explained.

        It holds indices of the model, int64 [B, REASONS], the latest first, 0 for none.
        """
        numbers = np.full((len(lists), max(1, *(len(each.numbers) for each in lists))), -1, np.int64)
        for row, each in enumerate(lists):
            numbers[row, : len(each.numbers)] = each.numbers
        kinds = [WHYS.index(source.kind) for source in self._shelf.take]
        origins = candidates.origin_of(numbers, kinds, self._allowed(wanted, candidates), self._shelf.size).tolist()
        reasons, anchors = self._reasons(latest, numbers), wanted.batch.anchors.tolist()
        parts = []
        for place, each in enumerate(lists):
            why = self._why(each.how, origins[place])
            because = _because(why, reasons[place], anchors[place])
            seen = list(dict.fromkeys(number for number in because if number >= 0))
            parts.append(
                ShelfPart(
                    about=list(abouts[place]),
                    why=why,
                    seen=self.ids(seen),
                    because=[seen.index(number) if number >= 0 else -1 for number in because],
                    spare=max(0, len(each.numbers) - self._shelf.size),
                    is_wide=place in wide,
                )
            )
        return parts

    def ids(self, numbers: Sequence[int]) -> list[str]:
        found: list[str] = self._names[numbers].tolist() if numbers else []
        return found

    def _picked(self, wanted: Wanted, list_ids: Sequence[str]) -> tuple[list[Picked], Mixed]:
        found = self._sources.mixed(self._shelf, wanted, self._items)
        if self._shelf.place:
            found = found.only(self._is_of_place(wanted, found.numbers))
        if self._shelf.lift:
            found = found.lifted(self.rules.lifts(np.maximum(found.numbers, 0), wanted.batch))
        lists = pick.pick(self.rules, self._plan.one_of, found.numbers, found.scores, wanted.batch, list_ids)
        return lists, found

    def _is_of_place(self, wanted: Wanted, numbers: Ints) -> Mask:
        """Return bool [B, U]: which items have the values that make a list's place."""
        is_of_place = np.ones(numbers.shape, bool)
        for column, feature in enumerate(self._shelf.place):
            facts = self._items.facts(feature.name)
            codes = [facts.coder.code(place[column]) if facts.coder else -1 for place in wanted.places]
            is_of_place &= facts.values[np.maximum(numbers, 0)] == np.array(codes)[:, None]
        return is_of_place

    def _short(self, wanted: Wanted, lists: Sequence[Picked]) -> list[int]:
        """Return the places of the lists for which the model is asked again: it has more to say of their sessions."""
        if wanted.session is None or not self._shelf.takes("session"):
            return []
        has_more = (wanted.session.offer.numbers[wanted.rows] >= 0).any(axis=1)
        return [place for place, each in enumerate(lists) if len(each.numbers) < self._shelf.places and has_more[place]]

    def _fill(self, wanted: Wanted, lists: list[Picked]) -> None:
        """Fill lists that are too short up with what other shelves offer."""
        short = [place for place, each in enumerate(lists) if len(each.numbers) < self._shelf.least]
        if not short or not self.stand_ins:
            return
        part = wanted.of(short, wanted.session)
        others = [self._sources.mixed(shelf, part, self._items).numbers for shelf in self.stand_ins]
        again = pick.fill(self.rules, self._plan.one_of, [lists[place] for place in short], others, part.batch)
        for place, each in zip(short, again, strict=True):
            lists[place] = each

    def _allowed(self, wanted: Wanted, candidates: Mixed) -> Mask | None:
        """Return which candidates may stand in the list, for shelves with lifts."""
        if not self._shelf.lift:
            return None
        return self.rules.allowed(np.maximum(candidates.numbers, 0), wanted.batch) & (candidates.numbers >= 0)

    def _why(self, how: Sequence[int], origins: Sequence[int]) -> list[int]:
        found = []
        for each, origin in zip(how, origins, strict=False):
            if each == pick.OWN:
                found.append(origin)
            elif each < pick.INSTEAD:
                found.append(WHYS.index("explored" if each == pick.EXPLORED else "pinned"))
            else:
                step = each - pick.INSTEAD
                found.append(WHY_INSTEAD * (step + 1) + WHYS.index(self.stand_ins[step].take[0].kind))
        return found

    def _reasons(self, latest: Ints, numbers: Ints) -> list[list[int]]:
        """Return for each item (numbers int64 [B, P]) the latest one that it follows, -1 for none."""
        follow = self._sources.followers(latest.ravel()).reshape(*latest.shape, -1)  # [B, REASONS, F]
        hits = (follow[:, :, None, :] == numbers[:, None, :, None]).any(axis=-1)  # [B, REASONS, P]
        hits &= (latest > 0)[:, :, None] & (numbers >= 0)[:, None, :]
        first = np.take_along_axis(latest, hits.argmax(axis=1), axis=1) - 1
        reasons: list[list[int]] = np.where(hits.any(axis=1), first, -1).tolist()
        return reasons


def rounded(scores: Sequence[float]) -> list[float]:
    return [round(score, SCORE_DECIMALS) for score in scores]


def _stand_ins(plan: ShelfPlan, shelf: Shelf) -> list[str]:
    """Return the shelves that stand in, in order: those of `instead`, each followed by its own."""
    found: list[str] = []
    for name in shelf.instead:
        if name not in found:
            found.append(name)
            found += [each for each in _stand_ins(plan, plan.shelf(name)) if each not in found]
    return [name for name in found if name != shelf.name]


def _because(why: Sequence[int], reasons: Sequence[int], anchor: int) -> list[int]:
    """Return for each item the number of the item that explains it, -1 for none; `anchor` is the item in view."""
    found = []
    for each, reason in zip(why, reasons, strict=False):
        kind = WHYS[each % WHY_INSTEAD]
        if kind == "together" and anchor >= 0:
            found.append(anchor)
        else:
            found.append(reason if kind in OF_SESSION else -1)
    return found
