"""What the oracle makes of a topic of item facts."""

from jobs.connect.kafka_read import Record
from jobs.contract.items import OFFER_FIELDS, FactContract, Refusal
from jobs.verify.facts import tell
from jobs.verify.features import Row
from jobs.verify.sample import Sample
from jobs.verify.views import Aggregate, View

OFFERS = FactContract("offers", OFFER_FIELDS)
STOCK = Aggregate("stock", "stock", "newest", None, "Int64")
STATUS = Aggregate("status", "status", "newest", None, "String")
TERMS = View("terms", ("item_id",), (STOCK, STATUS), delay_ms=0, topic="offers")


def said(*records: tuple[bytes | None, bytes | None], begin: int = 0) -> list[Record]:
    """Records of one partition, a second apart from second 1 on."""
    return [Record(0, begin + i, 1000 * (i + 1), key, value) for i, (key, value) in enumerate(records)]


def rows(*records: tuple[bytes | None, bytes | None]) -> dict:
    return tell(OFFERS, said(*records)).rows(TERMS, Sample())


def test_the_newest_record_replaces_the_one_before_as_a_whole():
    found = rows((b"a", b'{"stock": 1, "status": "active"}'), (b"b", b'{"stock": 7}'), (b"a", b'{"stock": 2}'))
    assert found == {
        ("a",): Row(3000, {"stock": 2, "status": None}),
        ("b",): Row(2000, {"stock": 7, "status": None}),
    }


def test_a_tombstone_removes_until_the_item_is_said_anew():
    assert rows((b"a", b'{"stock": 1}'), (b"a", None)) == {}
    assert rows((b"a", b'{"stock": 1}'), (b"a", None), (b"a", b"{}")) == {
        ("a",): Row(3000, {"stock": None, "status": None})
    }


def test_a_refused_record_changes_nothing():
    told = tell(OFFERS, said((b"a", b'{"stock": 1}'), (b"a", b'{"stock": "1"}'), (b"", None)))
    assert told.rows(TERMS, Sample()) == {("a",): Row(1000, {"stock": 1, "status": None})}
    assert {place: refusal for place, (refusal, _) in told.refused.items()} == {
        (0, 1): Refusal("wrong_type", "stock"),
        (0, 2): Refusal("no_key"),
    }
    assert told.unsure == set()


def test_an_item_with_a_refused_record_only_is_unsure():
    """Kafka may have compacted away the record before it, which the job has written."""
    told = tell(OFFERS, said((b"a", b'{"stock": "1"}'), (b"b", b'{"stock": "1"}'), (b"b", None), begin=40))
    assert told.unsure == {"a"}
    assert told.gone_ms == {"b": 3000}
    assert told.end == {0: 43}
