"""A person's file of items: its columns, its values, and what can't be right."""

from pathlib import Path

import pytest

from jobs.contract.items import contracts
from jobs.errors import DataError
from jobs.files.items import ItemRow, read
from jobs.lab.replay.catalogues import eshop2008

CONTRACTS = contracts("items", "offers", {"margins": {"margin": "float"}})


def rows(tmp_path: Path, content: str, name: str = "items.csv", mapping: str = "") -> list[ItemRow]:
    file, toml = tmp_path / name, tmp_path / "mapping.toml"
    file.write_text(content)
    toml.write_text(mapping)
    return list(read(file, CONTRACTS, toml if mapping else None))


def test_a_table_says_what_it_has_columns_for(tmp_path: Path) -> None:
    text = "item_id,stock,on_offer,colour\n4711,0,true,\n 4712 ,3,0,red\n"
    assert rows(tmp_path, text) == [
        ItemRow(2, "4711", {"stock": 0, "on_offer": True, "colour": None}),
        ItemRow(3, "4712", {"stock": 3, "on_offer": False, "colour": "red"}),
    ]


def test_a_line_of_json_says_what_it_has_keys_for(tmp_path: Path) -> None:
    text = '{"item_id": 4711, "margin": 1}\n{"item_id": "4712", "title": "a\\tb", "on_offer": false, "url": null}\n'
    assert rows(tmp_path, text, "items.jsonl") == [
        ItemRow(1, "4711", {"margin": 1.0}),
        ItemRow(2, "4712", {"title": "a\tb", "on_offer": False, "url": None}),
    ]


def test_a_mapping_names_columns_units_and_constants(tmp_path: Path) -> None:
    mapping = (
        '[fields]\nitem_id = "sku"\nprice_minor = { column = "price", factor = 100 }\ncurrency = "money"\n'
        '[time]\ncolumn = "since"\nunit = "iso"\n[constants]\nstatus = "active"\n'
    )
    text = "sku,price,money,since\n1,39.90,eur,2024-05-01\n2,1500,jpy,\n"
    assert rows(tmp_path, text, mapping=mapping) == [
        ItemRow(2, "1", {"status": "active", "currency": "EUR", "price_minor": 3990, "created": 1_714_521_600_000}),
        ItemRow(3, "2", {"status": "active", "currency": "JPY", "price_minor": 1500, "created": None}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id,stock\n1,five\n", "line 2: stock (column 'stock') is 'five', not a whole number"),
        ("item_id,stock\n1,2000000000\n", "line 2: stock 2000000000 is refused (out_of_range)"),
        ("item_id,on_offer\n1,maybe\n", "neither true nor false"),
        ("item_id,stock\n,5\n", "line 2: item_id is missing"),
        ("item_id,stock\n1,5\n2,5\n1,6\n", "line 4: item_id '1' stands in line 2 already"),
        ("sku,stock\n1,5\n", "has no column 'item_id'"),
        ("item_id,stok\n1,5\n", "says nothing of its items but their ids"),
        ("item_id,stock\n", "holds no item"),
        ("item_id,created\n1,1714521600\n", 'it looks like unit "s"'),
        ("item_id,brand\n1," + "b" * 129 + "\n", "is refused (too_long)"),
        ("item_id,stock,stock\n1,5,6\n", "2 columns are called 'stock'"),
    ],
)
def test_what_cant_be_right_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        rows(tmp_path, text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ('[fields]\nitem_id = "a"\nstok = "b"\n', "[fields] names 'stok'"),
        ('[fields]\nstock = "b"\n', "doesn't say where item_id comes from"),
        ('[fields]\nitem_id = "a"\n[event_types]\nx = "view"\n', "the file names 'event_types'"),
        ('[fields]\nitem_id = "a"\ntitle = { column = "b", factor = 2 }\n', "title ="),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path: Path, mapping: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        rows(tmp_path, "a,b\n1,2\n", mapping=mapping)
    assert message in str(error.value)


def test_the_demos_shop_has_its_217_items() -> None:
    shop = dict(eshop2008())
    assert len(shop) == 217
    told = ("category", "colour", "price_minor", "currency", "on_offer")
    assert [shop["B4"][name] for name in told] == ["skirts", "olive", 5200, "USD", False]
    assert shop["B4"]["title"] == "olive skirt B4"
    assert all(1 <= fields["stock"] <= 40 for fields in shop.values())
    assert {fields["category"] for fields in shop.values() if fields["on_offer"]} == {"sale"}
