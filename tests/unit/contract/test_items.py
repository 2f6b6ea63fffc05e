"""The contract of item facts, in Python: what a record says, what is refused and why, and what derives from it."""

import json

import jsonschema
import pytest

from jobs.contract import items
from jobs.contract.items import Fact, Refusal, contracts, json_schema, parse
from tests.support.item_corpus import CONTRACTS, FULL, Case, cases, record

# A schema counts characters, not UTF-16 units, and takes 1.0 for a whole number.
BEYOND_A_SCHEMA = ("a price with a fraction", "a brand of 129")
BY_TOPIC = {contract.topic: contract for contract in CONTRACTS}
CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_record_is_taken_or_refused_with_its_reason(case: Case) -> None:
    verdict = parse(BY_TOPIC[case.topic], case.key, case.value)
    if case.reason:
        assert verdict == Refusal(case.reason, case.field)
    else:
        assert verdict == Fact(case.key.decode(), case.fields)


def test_a_whole_number_becomes_a_fraction_where_one_belongs() -> None:
    fact = parse(BY_TOPIC["margins"], b"1", record("margins", margin=1))
    assert type(fact.fields["margin"]) is float


def test_a_shops_own_field_of_items_stands_beside_the_contracts() -> None:
    (of_items, of_offers) = contracts("items", "offers", {"items": {"fabric": "string", "brand": "int"}})
    assert [field.name for field in of_items.fields][-1] == "fabric"
    assert of_items.field("brand").kind == "string"
    assert of_offers.fields == items.OFFER_FIELDS


def test_topics_may_have_other_names() -> None:
    assert [contract.topic for contract in contracts("shop.items", "erp.offers")] == ["shop.items", "erp.offers"]


@pytest.mark.parametrize("topic", FULL)
def test_the_schema_takes_what_the_contract_takes(topic: str) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(BY_TOPIC[topic]))
    for case in CASES:
        of_fields = case.topic == topic and case.value and case.reason in ("", "wrong_type", "out_of_range", "too_long")
        if of_fields and case.field != "key" and case.name not in BEYOND_A_SCHEMA:
            assert validator.is_valid(json.loads(case.value)) == (not case.reason), case.name


def test_the_table_names_each_field_with_its_limits() -> None:
    table = items.docs_table(BY_TOPIC["offers"])
    assert "| `price_minor` | int | 0 to 1000000000000 | price of one piece in minor units (cents) |" in table
    assert "| `on_offer` | bool |  | sold for less than usual |" in table
