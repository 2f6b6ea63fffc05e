"""What the shop's people do at the panel: say an item's stock, and pin items with new versions of shelves."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from jobs.catalogue.change import assignments
from jobs.catalogue.load import say_of
from jobs.contract.items import FactContract
from jobs.contract.shelf_plan import Pin, Shelf, ShelfPlan
from jobs.errors import DefinitionError
from jobs.operate import audit
from jobs.settings import Settings
from jobs.shelves.load import FILE, from_text
from jobs.shelves.versions import ShelfVersions

LINES = """
# The storefront's panel, {at} UTC.
from liveshelf.shelves import Pin
{shelf} = {shelf}.but(pins={pins})
"""


class Panel:
    """Writes as the commands `items set` and `shelves publish --activate` do, and into the audit log as they do."""

    def __init__(self, settings: Settings, bootstrap: str, contracts: Sequence[FactContract]) -> None:
        self._settings, self._bootstrap, self._contracts = settings, bootstrap, contracts
        self.versions = ShelfVersions(settings.shelves_folder)

    def set_stock(self, item_id: str, stock: int) -> None:
        """Say how many pieces there are; raise SettingsError for what no stock can be, and ServiceError."""
        stated = assignments(self._contracts, ["--stock", str(stock)])
        with audit.recorded(self._settings.state_dir, "items set", item=item_id, **stated) as outcome:
            outcome["written"] = len(say_of(self._bootstrap, self._contracts, item_id, stated))

    def pin(self, shelf: str, item_id: str, at: int, is_pinned: bool) -> str:
        """Pin an item to a place of a shelf, or take its pin away; return the version that is active then.

        Feast's import would take ten seconds, so the active plan is edited. Its file gets the lines that say the same.
        Raises DefinitionError.
        """
        before = self.versions.active().version
        plan = pinned(self.versions.plan(before), shelf, item_id, at, is_pinned)
        text = said(self._source(before), shelf, item_id, at, is_pinned)
        with audit.recorded(self._settings.state_dir, "shelves publish") as outcome:
            version = outcome["version"] = self.versions.publish(plan, self._draft(text))
        with audit.recorded(self._settings.state_dir, "shelves activate", version=version) as outcome:
            self.versions.activate(version)
            outcome |= {"version": version, "before": before}
        return version

    def _source(self, version: str) -> str:
        return (self.versions.place(version) / FILE).read_text(encoding="utf-8-sig")

    def _draft(self, text: str) -> Path:
        draft = self._settings.state_dir / "storefront" / FILE
        draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        return draft


def pinned(plan: ShelfPlan, shelf: str, item_id: str, at: int, is_pinned: bool) -> ShelfPlan:
    """Return the plan with an item at a place of a shelf, or without its pin. One place has one pin, and one item."""
    before = _shelf(plan, shelf)
    if not 1 <= at <= before.size:
        raise DefinitionError(f"{shelf} has no place {at}", f"a place from 1 to {before.size}")
    pins = [pin for pin in before.pins if pin.item != item_id and pin.at != at]
    pins += [Pin(item_id, at)] if is_pinned else []
    after = msgspec.structs.replace(before, pins=sorted(pins, key=lambda pin: pin.at))
    return msgspec.structs.replace(plan, shelves=[after if each is before else each for each in plan.shelves])


def said(text: str, shelf: str, item_id: str, at: int, is_pinned: bool) -> str:
    """Return the text of a file of shelves with the lines that say the same; raise DefinitionError if that can't be."""
    if not re.search(rf"^{re.escape(shelf)}\s*=", text, re.MULTILINE):
        raise DefinitionError(f"{FILE} has no variable called {shelf}", "call a shelf's variable like the shelf")
    others = f"[pin for pin in {shelf}.pins if pin.at != {at} and pin.item != {item_id!r}]"
    pins = f"(*{others}, Pin({item_id!r}, at={at}))" if is_pinned else f"tuple({others})"
    text += LINES.format(at=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()), shelf=shelf, pins=pins)
    from_text(text)
    return text


def _shelf(plan: ShelfPlan, name: str) -> Shelf:
    try:
        return plan.shelf(name)
    except KeyError:
        names = ", ".join(each.name for each in plan.shelves)
        raise DefinitionError(f"there is no shelf {name!r}", f"one of {names}") from None
