"""What the shop shows where. `liveshelf shelves lint` finds mistakes, `jobs/shelves/README.md` explains the words.

A shelf is one place's list. Its rules read facts (`item.stock`), what the visitor did (`visitor.session_items`), the
item that is looked at (`anchor`) and the cart (`basket`).
"""

from liveshelf.shelves import (
    AtMost,
    Event,
    Explore,
    Lift,
    Mmr,
    Popular,
    Session,
    Shelf,
    Shop,
    Tick,
    Together,
    Trend,
    anchor,
    basket,
    days,
    item,
    minutes,
    now,
    percent,
    place,
    visitor,
)

SHOP = Shop(
    gate=(item.stock > 0) & (item.status == "active"),  # of the item only; holds everywhere, and once more at reading
    where=~item.id.isin(visitor.session_purchases),  # of each visitor's shelf that has no rule of its own
    one_of=item.group_id,  # of the sizes and colours of one product the best one
)

home = Shelf(
    "home",
    when=Event("view", "search", "add_to_cart", "remove_from_cart", "purchase"),
    take=Session(),
    lift=(Lift(item.on_offer, 1.3), Lift(item.created > now - days(14), 1.2)),  # factors on the odds
    spread=(Mmr(0.8, by=(item.category, item.colour)),),
    explore=Explore(percent(5), among=item.created > now - days(30)),
    size=20,
    least=4,
    instead=("trending", "popular"),
)
product = Shelf(
    "product",
    when=Event("view"),
    about="viewed",
    take=Together(anchor, as_="view") + 0.5 * Session(),
    where=(item.id != anchor.id) & (item.price_minor <= 1.5 * anchor.price_minor),
    size=12,
    least=4,
    instead=("similar",),
)
cart = Shelf(
    "cart",
    when=Event("add_to_cart", "remove_from_cart"),
    about="cart",
    take=Together(basket, as_="add_to_cart"),
    where=~item.id.isin(basket.items) & ~item.category.isin(basket.categories),
    size=6,
    least=2,
    instead=("popular",),
)
checkout = cart.but(name="checkout", where=cart.where & (item.price_minor <= 0.4 * basket.value_minor), size=3)
recent = Shelf("recent", when=Event("view"), take=visitor.session_items, size=12)

similar = Shelf("similar", of=item, when=Tick(), take=Together(anchor, as_="view"), where=item.id != anchor.id, size=20)
trending = Shelf(
    "trending",
    of=place(item.category),
    when=minutes(1),
    take=Trend(view=1, add_to_cart=3, purchase=8, window="24h", half_life="6h"),
    size=40,
    least=10,
    instead=("popular",),
)
popular = Shelf(
    "popular", of=place(), when=Tick(), take=Popular(), spread=(AtMost(4, of=item.category, within=10),), size=40
)
