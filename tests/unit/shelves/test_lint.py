"""Wrong files of shelves: each error names the shelf, the field and the way out."""

import pytest

from jobs.contract.items import contracts
from jobs.errors import DefinitionError
from jobs.settings import SHIPPED_FEATURE_REPO
from jobs.shelves.compile import compiled
from jobs.shelves.known import Defined, Known, known
from jobs.shelves.load import from_text, load

DAY_MS = 86_400_000
FACTS = contracts(
    "items", "offers", {"trends": {"trend": "float", "trend_visitors": "int", "trend_category_visitors": "int"}}
)
ACTIVITY = [
    Defined("item_activity", f"{name}_24h", "Int64", "sum", column, DAY_MS)
    for name, column in (("views", "is_view"), ("carts", "is_add_to_cart"), ("purchases", "is_purchase"))
] + [Defined("item_activity", "visitors_24h", "Int64", "count_distinct", "visitor_id", DAY_MS)]
CATEGORIES = [
    Defined("category_activity", f"visitors_{hours}h", "Int64", "count_distinct", "visitor_id", hours * 3_600_000)
    for hours in (1, 24)
]
KNOWN: Known = known(
    FACTS,
    [Defined("item_activity", "views_1h", "Int64", "sum", "is_view", 3_600_000), *ACTIVITY],
    [
        Defined("visitor_session", "view_count", "Int64", "sum"),
        Defined("visitor_session", "last_category", "String", "last"),
    ],
    CATEGORIES,
)
HEAD = "from liveshelf.shelves import *\n"
POPULAR = 'popular = Shelf("popular", of=place(), when=Tick(), take=Popular())\n'


def errors(text: str) -> list[str]:
    """Return the errors of a file's text, each in two lines."""
    try:
        found = compiled(from_text(HEAD + text), KNOWN).problems
    except DefinitionError as error:
        return [str(error)]
    return [str(problem) for problem in found]


def home(*fields: str) -> str:
    given = {"when": 'Event("view")', "take": "Session()"} | dict(field.split("=", 1) for field in fields)
    return f'home = Shelf("home", {", ".join(f"{name}={value}" for name, value in given.items())})'


WRONG = {
    "unknown feature": (
        home("lift=(Lift(item.on_sale, 1.3),)"),
        "home.lift: item.on_sale isn't a feature of entity item",
        "did you mean item.on_offer? (offers)",
    ),
    "unknown feature of the visitor": (
        home("where=visitor.veiw_count > 3"),
        "home.where: visitor.veiw_count isn't a feature of entity visitor",
        "did you mean visitor.view_count? (visitor_session)",
    ),
    "unknown feature of the cart": (
        'cart = Shelf("cart", when=Event("add_to_cart"), about="cart", take=Session(), where=basket.item > 1)',
        "cart.where: basket.item isn't a feature of the cart",
        "did you mean basket.items?",
    ),
    "count that workers don't hold": (
        home("lift=(Lift(item.views_1h > 10, 1.3),)"),
        "home.lift: item.views_1h (item_activity) isn't among what the ranking workers hold",
        "use a fact: brand, category",
    ),
    "text compared with a number": (
        home("where=item.stock == 'none'"),
        "home.where: item.stock == 'none': a number is compared with a text",
        "compare it with a number",
    ),
    "order of texts": (
        home("where=item.category > 'shoes'"),
        "home.where: item.category > 'shoes': texts have no order",
        "use == or !=",
    ),
    "number as a condition": (
        home("where=item.stock & item.on_offer"),
        "home.where: item.stock is a number, and no condition by itself",
        "compare it, such as item.stock > 0",
    ),
    "nothing compared": (
        home("where=item.brand != None"),
        "home.where: a value is compared with None",
        "leave it out: what isn't known is never true",
    ),
    "length of time compared": (
        home("where=item.created > days(14)"),
        "home.where: a length of time is compared with a value",
        "write now - days(14)",
    ),
    "missing default": (
        home("where=item.category == visitor.last_category"),
        "home.where: visitor.last_category has no default for a visitor of whom nothing is known",
        "Shop(defaults={'last_category': \"\"})",
    ),
    "default of a wrong type": (
        'SHOP = Shop(defaults={"last_category": 0})\n' + home(),
        "SHOP.defaults: visitor.last_category is of type string, and its default is 0",
        "give it that type",
    ),
    "and": (
        home("where=(item.stock > 0) and item.on_offer"),
        "home.where: line 2: a condition is neither true nor false while the file is read",
        "write & instead of and",
    ),
    "chained comparison": (
        home("where=0 < item.stock < 5"),
        "home.where: line 2: a condition is neither true nor false while the file is read",
        "(a < b) & (b < c) instead of a < b < c",
    ),
    "in": (
        home("where=item.id in visitor.session_items"),
        "home.where: line 2: `in` can't ask a feature",
        "write item.id.isin(visitor.session_items)",
    ),
    "text in isin": (
        home("where=item.category.isin('shoes')"),
        "home.where: isin got 'shoes'",
        "give it values in brackets",
    ),
    "misspelt field": (
        home("wehre=item.stock > 0"),
        "home.wehre: line 2: isn't a field of Shelf",
        "did you mean 'where'?",
    ),
    "misspelt word": (
        "home = Shelff('home')",
        "shelves.py: line 2: there is no word 'Shelff'",
        "did you mean 'Shelf'?",
    ),
    "two pins for one place": (
        home('pins=(Pin("1", at=2), Pin("2", at=2))'),
        "home.pins: '1' and '2' are pinned to place 2",
        "give each a place of its own",
    ),
    "pin behind the list": (
        home('pins=(Pin("1", at=21),)'),
        "home.pins: '1' is pinned to place 21",
        "the list has the places 1 to 20",
    ),
    "wrong date": (
        home('pins=(Pin("1", at=1, until="30.11.2026"),)'),
        "home.pins: until='30.11.2026' is no date",
        'write "2026-11-30"',
    ),
    "dates in the wrong order": (
        home('pins=(Pin("1", at=1, since="2026-12-01", until="2026-11-30"),)'),
        "home.pins: '1' is pinned until 2026-11-30, which is before 2026-12-01",
        "turn them round",
    ),
    "circle of instead": (
        home('instead=("other",)') + '\nother = Shelf("other", when=Tick(), take=Session(), instead=("home",))',
        "instead: leads back to itself: ",
        "out of `instead` of ",
    ),
    "unknown shelf in instead": (
        POPULAR + home('instead=("populer",)'),
        "home.instead: there is no shelf 'populer'",
        "did you mean 'popular'?",
    ),
    "instead is a text": (
        POPULAR + home('instead="popular"'),
        "home.instead: is the text 'popular'",
        "write ('popular',)",
    ),
    "boost out of bounds": (
        home("lift=(Lift(item.on_offer, 50),)"),
        "home.lift: a factor is 50",
        "give it a number from 0.05 to 20",
    ),
    "product of boosts": (
        home("lift=(Lift(item.on_offer, 5), Lift(item.stock > 9, 5))"),
        "home.lift: 5 × 5 = 25 may meet on one item",
        "make the factors smaller",
    ),
    "anchor without about": (
        home("where=item.id != anchor.id"),
        "home.where: this shelf is about no item",
        'give it about="viewed", or of=item',
    ),
    "visitor in an item list": (
        'similar = Shelf("similar", of=item, when=Tick(), take=Together(anchor), where=visitor.view_count > 1)',
        "similar.where: this list is nobody's, so it knows no visitor",
        "leave the visitor out",
    ),
    "visitor in the gate": (
        "SHOP = Shop(gate=visitor.view_count > 1)\n" + home(),
        "SHOP.gate: the gate holds for everybody and everywhere, so it is about items only",
        "put this into `where`",
    ),
    "about the cart of viewers": (
        home('about="cart"'),
        "home.about: is 'cart', but `when` names no add_to_cart and no remove_from_cart",
        "add 'add_to_cart' to Event(…)",
    ),
    "event for an item list": (
        'similar = Shelf("similar", of=item, when=Event("view"), take=Together(anchor))',
        "similar.when: an event is a visitor's, and this list is nobody's",
        "write Tick()",
    ),
    "unknown type of event": (
        home('when=Event("veiw")'),
        "home.when: 'veiw' is no type of event",
        "did you mean 'view'?",
    ),
    "session of nobody": (
        'similar = Shelf("similar", of=item, when=Tick(), take=Session())',
        "similar.take: Session() is a visitor's, and this list is nobody's",
        "take Together(anchor), or Popular()",
    ),
    "trend of a visitor": (
        home("take=Trend(view=1)"),
        "home.take: Trend(…) belongs to a place",
        "name that in `instead`",
    ),
    "trend of what nobody counts": (
        'now_ = Shelf("now_", of=place(), when=minutes(1), take=Trend(rating=1))',
        "now_.take: no view of entity item sums is_rating over 24 h",
        'add *per_window("sum", "is_rating", …) to item_activity',
    ),
    "trend over a window without visitors": (
        'now_ = Shelf("now_", of=place(), when=minutes(1), take=Trend(view=1, window="1h"))',
        "now_.take: no view of entity item counts its different visitors over 1 h",
        "or take another window",
    ),
    "two ways to count trends": (
        'one = Shelf("one", of=place(), when=minutes(1), take=Trend(view=1))\n'
        'two = Shelf("two", of=place(), when=minutes(1), take=Trend(view=2))',
        "two.take: Trend(…) differs from another shelf's",
        "count trends in one way",
    ),
    "place of a visitor": (
        'now_ = Shelf("now_", of=place(visitor.last_category), when=minutes(1), take=Popular())',
        "now_.of: visitor.last_category makes no place",
        "place(item.category)",
    ),
    "least above size": (
        POPULAR + home("size=3", "least=4", 'instead=("popular",)'),
        "home.least: is 4, and the list has 3 places",
        "make it at most 3",
    ),
    "least without instead": (
        home("least=4"),
        "home.least: is 4, and nothing stands in for what is missing",
        'add instead=("popular",)',
    ),
    "spread that excludes nothing": (
        home("spread=(AtMost(20, of=item.category),)"),
        "home.spread: AtMost(20, within=20) excludes nothing",
        "make n smaller than the window",
    ),
    "exploring for everybody": (
        home("explore=Explore(percent(60), among=item.on_offer)"),
        "home.explore: explores a share of 0.6",
        "write at most half",
    ),
    "two shelves of one name": (
        home() + '\nother = Shelf("home", when=Tick(), take=Session())',
        "home.name: 2 shelves have it",
        "give each a name of its own",
    ),
    "no place for a key": (
        'x = Shelf("Home page", when=Tick(), take=Session())',
        "Home page.name: 'Home page'",
        "use a to z",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_told_with_shelf_field_and_fix(name: str) -> None:
    text, told, fix = WRONG[name]
    (error,) = errors(text)
    what, way_out = error.split("\n  fix: ")
    assert told in what
    assert fix in way_out


def test_all_mistakes_of_a_file_are_found_at_once() -> None:
    text = home("lift=(Lift(item.on_sale, 50),)", "where=item.stock == 'x'", "least=4", 'instead=("other",)')
    places = [error.partition(":")[0] for error in errors(text)]
    assert places == ["home.where", "home.lift", "home.lift", "home.instead"]


def test_the_shipped_file_has_no_mistake() -> None:
    facts_and_session = known(FACTS, ACTIVITY, (), CATEGORIES)
    result = compiled(load(SHIPPED_FEATURE_REPO / "shelves.py"), facts_and_session)
    assert result.problems == []
    names = ["home", "product", "cart", "checkout", "recent", "similar", "trending", "popular"]
    assert [shelf.name for shelf in result.plan.shelves] == names


def test_a_declared_default_is_what_a_stranger_has() -> None:
    text = 'SHOP = Shop(defaults={"last_category": "shoes"})\n' + home(
        "where=(item.category == visitor.last_category) & (visitor.view_count > 1)"
    )
    result = compiled(from_text(HEAD + text), KNOWN)
    assert [(each.name, each.default) for each in result.plan.visitor] == [
        ("last_category", "shoes"),
        ("view_count", 0),
    ]


def test_a_rule_of_items_alone_is_of_class_n() -> None:
    text = "SHOP = Shop(gate=item.stock > 0, where=~item.id.isin(visitor.session_items))\n" + home()
    result = compiled(from_text(HEAD + text), KNOWN)
    (shelf,) = result.plan.shelves
    assert result.plan.gate
    assert result.plan.gate.cost == "N"
    assert shelf.where
    assert shelf.where.cost == "V"
    assert shelf.where_is_the_shops


def test_what_stands_in_fills_an_empty_list() -> None:
    """Whoever names a shelf in `instead` and no `least` means the list with nothing in it."""
    plan = compiled(from_text(HEAD + POPULAR + home('instead=("popular",)')), KNOWN).plan
    assert (plan.shelf("home").least, plan.shelf("popular").least) == (1, 0)
