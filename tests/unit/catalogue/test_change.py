"""What a file or a command changes: facts laid over those that are known."""

import pytest

from jobs.catalogue.change import assignments, changes, merged
from jobs.connect.fact_topics import Change, Known
from jobs.contract.items import Fact, contracts
from jobs.errors import SettingsError

CONTRACTS = contracts("items", "offers")


def known(**fields: object) -> Known:
    return Known(fields, 0, 7, 1)


KNOWN = {"items": {"1": known(title="dress", colour="red")}, "offers": {"1": known(price_minor=100, stock=5)}}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"stock": 0}, [Change("offers", "1", {"price_minor": 100, "stock": 0})]),
        ({"stock": 5, "colour": "red"}, []),
        ({"colour": None, "stock": 5}, [Change("items", "1", {"title": "dress"})]),
        ({"status": None}, []),
        ({}, []),
        (
            {"brand": "ours", "on_offer": True},
            [
                Change("items", "1", {"title": "dress", "colour": "red", "brand": "ours"}),
                Change("offers", "1", {"price_minor": 100, "stock": 5, "on_offer": True}),
            ],
        ),
    ],
)
def test_what_is_said_is_laid_over_what_is_known(said: dict, expected: list[Change]) -> None:
    assert list(changes(CONTRACTS, KNOWN, [("1", said)])) == expected


def test_a_new_item_gets_records_only_where_something_is_said() -> None:
    said = {"stock": 1, "title": None}
    assert list(changes(CONTRACTS, KNOWN, [("2", said)])) == [Change("offers", "2", {"stock": 1})]


def test_arguments_are_read_as_their_fields_have_it() -> None:
    given = assignments(CONTRACTS, ["--stock", "-2", "--price-minor=2990", "--on-offer", "TRUE", "--colour", ""])
    assert given == {"stock": -2, "price_minor": 2990, "on_offer": True, "colour": None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stok", "0"], "is --stock meant?"),
        (["stock", "0"], "is no field of an item"),
        (["--stock"], "--stock has no value"),
        (["--stock", "1.5"], "not a whole number"),
        (["--stock", "many"], "not a whole number"),
        (["--on-offer", "maybe"], "neither true nor false"),
        (["--price-minor", "-1"], "is refused (out_of_range)"),
        (["--brand", "a\nb"], "is refused (control_character)"),
    ],
)
def test_arguments_that_say_nothing_right_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        assignments(CONTRACTS, arguments)
    assert message in str(error.value)


def test_items_are_told_with_what_all_topics_say() -> None:
    known_too = KNOWN | {"offers": {"1": KNOWN["offers"]["1"], "0": known(stock=1)}}
    assert list(merged(CONTRACTS, known_too)) == [
        Fact("0", {"stock": 1}),
        Fact("1", {"title": "dress", "colour": "red", "price_minor": 100, "stock": 5}),
    ]
