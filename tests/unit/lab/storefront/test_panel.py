"""A pin from the panel: the edited plan is what the edited file compiles to."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.contract.items import contracts
from jobs.contract.shelf_plan import Pin, ShelfPlan
from jobs.errors import DefinitionError, SettingsError
from jobs.lab.storefront.app import Shop
from jobs.lab.storefront.panel import Panel, pinned, said
from jobs.settings import Settings
from jobs.shelves.compile import compiled
from jobs.shelves.known import known
from jobs.shelves.load import from_text

SHOP = """from liveshelf.shelves import Event, Session, Shelf, Shop, item
shop = Shop(gate=item.stock > 0)
home = Shelf("home", when=Event("view"), take=Session(), size=20)
cart = home.but(name="cart", when=Event("add_to_cart"), size=6)
"""
KNOWN = known(contracts("items", "offers"), [], [])


def plan_of(text: str) -> ShelfPlan:
    made = compiled(from_text(text), KNOWN)
    assert [str(each) for each in made.problems if not each.is_warning] == []
    return made.plan


def steps(*changes: tuple[str, str, int, bool]) -> tuple[ShelfPlan, str]:
    """Return the plan and the text after some changes of the panel."""
    plan, text = plan_of(SHOP), SHOP
    for change in changes:
        plan, text = pinned(plan, *change), said(text, *change)
    return plan, text


def test_a_pin_is_in_the_plan_and_in_its_file() -> None:
    plan, text = steps(("home", "P82", 1, True))
    assert plan.shelf("home").pins == [Pin("P82", 1)]
    assert plan_of(text) == plan
    assert plan_of(SHOP) != plan


def test_a_pin_taken_away_leaves_the_shelf_as_before() -> None:
    plan, text = steps(("home", "P82", 1, True), ("home", "P82", 1, False))
    assert plan == plan_of(SHOP) == plan_of(text)


def test_a_place_and_an_item_have_one_pin() -> None:
    changes = [("home", "P82", 1, True), ("home", "A1", 2, True), ("home", "A2", 1, True), ("home", "A1", 3, True)]
    plan, text = steps(*changes, ("cart", "P82", 1, True))
    assert plan.shelf("home").pins == [Pin("A2", 1), Pin("A1", 3)]
    assert plan.shelf("cart").pins == [Pin("P82", 1)]
    assert plan_of(text) == plan


def test_what_cant_be_pinned_is_named() -> None:
    plan = plan_of(SHOP)
    with pytest.raises(DefinitionError, match="home has no place 21"):
        pinned(plan, "home", "P82", 21, True)
    with pytest.raises(DefinitionError, match="there is no shelf 'hmoe'"):
        pinned(plan, "hmoe", "P82", 1, True)
    with pytest.raises(DefinitionError, match="no variable called home"):
        said(SHOP.replace("home = Shelf(", "start = Shelf("), "home", "P82", 1, True)


def test_an_id_is_written_as_text_and_never_run() -> None:
    item = 'x", at=1)); raise SystemExit(("'
    plan, text = steps(("home", item, 1, True))
    assert plan.shelf("home").pins == [Pin(item, 1)]
    assert msgspec.json.encode(plan_of(text)) == msgspec.json.encode(plan)


def test_a_stock_that_no_record_may_hold_is_refused(tmp_path: Path) -> None:
    panel = Panel(Settings(state_dir=tmp_path), "nowhere:1", contracts("items", "offers"))
    with pytest.raises(SettingsError, match=r"--stock is .1180591620717411303424., not a whole number"):
        panel.set_stock("A13", 2**70)


@pytest.mark.parametrize("body", [b'{"item":"\xff","stock":1}', b"[" * 4000, b'{"item":"A1"}'])
def test_a_question_that_cant_be_read_is_answered(body: bytes) -> None:
    nothing: Any = None
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/panel/stock", "query_string": b"", "headers": []}
    asyncio.run(Shop("key", "token", nothing, nothing, nothing, nothing).app()(scope, receive, send))
    assert sent[0]["status"] == 400
