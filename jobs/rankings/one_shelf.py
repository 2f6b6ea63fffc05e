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
        origins = candidates.origin_of(numbers, kinds, self._allowed(wanted, candidates), self._shelf.size)
        whys = self._whys(lists, origins)
        reasons = _because(whys, self._reasons(latest, numbers), wanted.batch.anchors).tolist()
        sayings = np.concatenate([latest - 1, wanted.batch.anchors[:, None]], axis=1).tolist()  # what reasons point at
        parts = []
        for place, (each, why) in enumerate(zip(lists, whys.tolist(), strict=True)):
            length = len(each.numbers)
            named = {
                reason: seen
                for seen, reason in enumerate(dict.fromkeys(each for each in reasons[place][:length] if each >= 0))
            }
            parts.append(
                ShelfPart(
                    about=list(abouts[place]),
                    why=why[:length],
                    seen=self.ids([sayings[place][reason] for reason in named]),
                    because=[named.get(reason, -1) for reason in reasons[place][:length]],
                    spare=max(0, length - self._shelf.size),
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
        return [place for place, each in enumerate(lists) if len(each.numbers) < self._shelf.enough and has_more[place]]

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

    def _whys(self, lists: Sequence[Picked], origins: Ints) -> Ints:
        """Return int64 [B, P]: how each item came into its list, as in `WHYS`."""
        whys = origins.astype(np.int64)
        for row, each in enumerate(lists):
            if any(each.how):  # 0 is the shelf's own
                whys[row, : len(each.how)] = [
                    self._why(how, int(origin)) for how, origin in zip(each.how, whys[row], strict=False)
                ]
        return whys

    def _why(self, how: int, origin: int) -> int:
        if how < pick.INSTEAD:
            return (origin, WHYS.index("explored"), WHYS.index("pinned"))[how]
        step = how - pick.INSTEAD
        return WHY_INSTEAD * (step + 1) + WHYS.index(self.stand_ins[step].take[0].kind)

    def _reasons(self, latest: Ints, numbers: Ints) -> Ints:
        """Return int64 [B, P]: by which of the latest items an item (numbers [B, P]) is explained, -1 for none."""
        follow = self._sources.followers(latest.ravel()).reshape(*latest.shape, -1)  # [B, REASONS, F]
        hits = (follow[:, :, None, :] == numbers[:, None, :, None]).any(axis=-1)  # [B, REASONS, P]
        hits &= (latest > 0)[:, :, None] & (numbers >= 0)[:, None, :]
        reasons: Ints = np.where(hits.any(axis=1), hits.argmax(axis=1), -1)
        return reasons


def _stand_ins(plan: ShelfPlan, shelf: Shelf) -> list[str]:
    """Return the shelves that stand in, in order: those of `instead`, each followed by its own."""
    found: list[str] = []
    for name in shelf.instead:
        if name not in found:
            found.append(name)
            found += [each for each in _stand_ins(plan, plan.shelf(name)) if each not in found]
    return [name for name in found if name != shelf.name]


def _because(whys: Ints, reasons: Ints, anchors: Ints) -> Ints:
    """Return int64 [B, P]: the reason of each item, REASONS for the item in view (anchors int64 [B]), -1 for none."""
    kinds = whys % WHY_INSTEAD
    by_anchor = (kinds == WHYS.index("together")) & (anchors >= 0)[:, None]
    of_session = np.isin(kinds, [WHYS.index(kind) for kind in OF_SESSION])
    found: Ints = np.where(by_anchor, REASONS, np.where(of_session, reasons, -1))
    return found
