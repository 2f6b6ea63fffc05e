"""Rows into a real Redis: versions, replays, two writers, expiry."""

import json
import time

import pytest

from jobs.features.online_store import Row, entity_key, feature_field
from jobs.features.operator import newest_rows
from jobs.features.redis_writer import RedisWriter, WriteCounts
from tests.support.clock import Clock
from tests.support.small_plans import facts, output, plan, view_plan

CLOCK = Clock()
HOUR_MS = 3_600_000
CLICKS = view_plan(output("views"), ttl_ms=HOUR_MS)
BRIEF = view_plan(output("views"), name="brief", ttl_ms=HOUR_MS - 400, frame="slide", slide_ms=60_000)
BRIEFLY = "visitor_id_every_60000"  # its operator
LASTING = view_plan(output("views"), name="lasting", entity="item_id", ttl_ms=0)
KEY = entity_key("shop", {"visitor_id": "v-1"})
VIEWS = feature_field("clicks", "views")


def row(count: int, time_ms: int | None = None, seq: int = 0, entity: str = "v-1") -> Row:
    time_ms = CLOCK.now_ms if time_ms is None else time_ms
    return Row(entity, time_ms, seq, json.dumps([count]))


@pytest.fixture
def writer(redis_url, client):
    writer = RedisWriter(redis_url, plan(CLICKS, BRIEF, LASTING))
    yield writer
    writer.close()


def stored(client) -> int:
    value = client.hget(KEY, VIEWS)
    assert value[:1] == b"\x20"
    return value[1]


def test_a_row_is_written(writer, client):
    assert writer.write([("visitor_id", row(3))]) == WriteCounts(1, 0)
    assert stored(client) == 3


def test_nothing_to_write_is_nothing_written(writer):
    assert writer.write([]) == WriteCounts(0, 0)


def test_an_older_row_never_replaces_a_newer_one(writer, client):
    writer.write([("visitor_id", row(3))])
    assert writer.write([("visitor_id", row(2, CLOCK.now_ms - 1, seq=9))]) == WriteCounts(0, 1)
    assert stored(client) == 3


def test_of_one_event_time_the_higher_sequence_stays(writer, client):
    """Of rows of one event time the one of the higher sequence stays."""
    writer.write([("visitor_id", row(3, seq=5))])
    assert writer.write([("visitor_id", row(4, seq=6))]) == WriteCounts(1, 0)
    assert writer.write([("visitor_id", row(5, seq=5))]) == WriteCounts(0, 1)
    assert stored(client) == 4


def test_a_later_row_of_equal_time_and_sequence_isnt_lost(writer, client):
    """A later row of the same event time and sequence is not lost."""
    writer.write([("visitor_id", row(3))])
    assert writer.write([("visitor_id", row(4))]) == WriteCounts(1, 0)
    assert stored(client) == 4


def test_order_within_a_batch_does_not_matter(writer, client):
    assert writer.write(
        [("visitor_id", row(9, CLOCK.now_ms + 5)), ("visitor_id", row(8, CLOCK.now_ms))]
    ) == WriteCounts(1, 1)
    assert stored(client) == 9


def test_a_replay_leaves_what_it_had_written(writer, client):
    first = [("visitor_id", row(1, CLOCK.now_ms - 9)), (BRIEFLY, row(5))]
    batches = [first, [("visitor_id", row(2, CLOCK.now_ms - 4))], [("visitor_id", row(3))]]
    for batch in batches:
        writer.write(batch)
    before, expiry = client.hgetall(KEY), client.pttl(KEY)
    for batch in batches:
        writer.write(batch)
    assert client.hgetall(KEY) == before
    assert abs(client.pttl(KEY) - expiry) < 5000


def test_replay_by_a_second_writer_does_not_undo_the_first(writer, client, redis_url):
    zombie = RedisWriter(redis_url, plan(CLICKS, BRIEF, LASTING))
    writer.write([("visitor_id", row(7))])
    for count, time_ms in ((1, CLOCK.now_ms - 3), (2, CLOCK.now_ms - 2), (6, CLOCK.now_ms - 1)):
        zombie.write([("visitor_id", row(count, time_ms))])
    zombie.close()
    assert stored(client) == 7


def test_two_writers_at_once_leave_the_newest_row(writer, client, redis_url):
    other = RedisWriter(redis_url, plan(CLICKS, BRIEF, LASTING))
    for step in range(100):
        (writer, other)[step % 2].write([("visitor_id", row(step, CLOCK.now_ms + (step * 37) % 100))])
    other.close()
    newest = next(step for step in range(100) if (step * 37) % 100 == 99)
    assert stored(client) == newest


def test_a_flushed_script_is_loaded_again(writer, client):
    writer.write([("visitor_id", row(1, CLOCK.now_ms - 1))])
    client.script_flush()
    assert writer.write([("visitor_id", row(2)), (BRIEFLY, row(3))]) == WriteCounts(2, 0)
    assert stored(client) == 2


def test_a_hash_expires_at_its_event_time_and_ttl(writer, client):
    writer.write([("visitor_id", row(1))])
    left = CLOCK.now_ms + HOUR_MS - time.time_ns() // 1_000_000
    assert abs(client.pttl(KEY) - left) < 60_000


def test_a_newer_row_moves_the_expiry_on(writer, client):
    writer.write([("visitor_id", row(1))])
    before = client.pttl(KEY)
    writer.write([("visitor_id", row(1, CLOCK.now_ms + 60_000))])
    assert 59_000 < client.pttl(KEY) - before <= 60_000


def test_view_that_expires_400_ms_earlier_does_not_shorten_others(writer, client):
    """The comparison was in whole seconds once, and took up to 999 ms away."""
    for _ in range(20):
        client.flushall()
        writer.write([("visitor_id", row(1))])
        before = time.time_ns() // 1_000_000 + client.pttl(KEY)
        writer.write([(BRIEFLY, row(1))])
        after = time.time_ns() // 1_000_000 + client.pttl(KEY)
        assert after - before > -50
        time.sleep(0.05)


def test_a_view_without_ttl_stays(writer, client):
    writer.write([("item_id", row(1, 1000, entity="i-1"))])
    assert client.pttl(entity_key("shop", {"item_id": "i-1"})) == -1


def test_a_row_whose_expiry_has_passed_is_gone_at_once(writer, client):
    writer.write([("visitor_id", row(1, CLOCK.now_ms - 2 * HOUR_MS))])
    assert client.exists(KEY) == 0


def test_operators_of_one_entity_have_versions_of_their_own(writer, client):
    writer.write([("visitor_id", row(1, CLOCK.now_ms))])
    assert writer.write([(BRIEFLY, row(2, CLOCK.now_ms - 1000))]) == WriteCounts(1, 0)


def test_a_batch_keeps_the_newest_row_of_each_entity():
    """Of a batch the newest row of each operator and entity is kept."""
    rows = [
        ("clicks", "v-1", 10, 0),  # replaced by place 3
        ("clicks", "v-2", 10, 0),
        ("carts", "v-1", 99, 0),
        ("clicks", "v-1", 11, 0),
        ("clicks", "v-1", 10, 7),  # older, whatever its sequence
    ]
    assert newest_rows(rows) == [3, 1, 2]


def test_of_one_time_the_higher_sequence_and_later_place_stay():
    """Of rows of one time the higher sequence and then the later place is kept."""
    assert newest_rows([("a", "v", 10, 2), ("a", "v", 10, 1)]) == [0]
    assert newest_rows([("a", "v", 10, 2), ("a", "v", 10, 2)]) == [1]
    assert newest_rows([]) == []


OFFERS = "facts:offers"
SEEN = view_plan(output("views"), name="seen", entity="item_id", ttl_ms=HOUR_MS)
OF_FACTS = plan(SEEN, facts=[facts("offers", stock="Int64"), facts("items", title="String")])
ITEM_KEY = entity_key("shop", {"item_id": "4711"})
STOCK = feature_field("offers_view", "stock")
DAY_MS = 86_400_000


@pytest.fixture
def facts_writer(redis_url, client):
    writer = RedisWriter(redis_url, OF_FACTS)
    yield writer
    writer.close()


def stock(count: int, offset: int, time_ms: int | None = None) -> tuple[str, Row]:
    return OFFERS, Row("4711", CLOCK.now_ms if time_ms is None else time_ms, offset, json.dumps([count]))


def test_of_facts_the_greater_offset_stays_whatever_the_clock(facts_writer, client):
    assert facts_writer.write([stock(3, 8)]) == WriteCounts(1, 0)
    assert facts_writer.write([stock(2, 7, CLOCK.now_ms + 9)]) == WriteCounts(0, 1)
    assert facts_writer.write([stock(1, 9, CLOCK.now_ms - 9)]) == WriteCounts(1, 0)
    assert client.hget(ITEM_KEY, STOCK) == b"\x20\x01"


def test_a_tombstone_removes_facts_and_no_older_record_returns(facts_writer, client):
    facts_writer.write([stock(3, 8)])
    assert facts_writer.remove([(OFFERS, "4711", CLOCK.now_ms, 7)]) == 0
    assert client.hget(ITEM_KEY, STOCK) == b"\x20\x03"
    assert facts_writer.remove([(OFFERS, "4711", CLOCK.now_ms, 10)]) == 1
    assert facts_writer.write([stock(2, 9)]) == WriteCounts(0, 1)  # of a worker that outlived its failure
    assert client.hkeys(ITEM_KEY) == [b"_v:facts:offers"]
    assert 0 < client.pttl(ITEM_KEY) <= 20_000
    assert facts_writer.write([stock(4, 11)]) == WriteCounts(1, 0)
    assert client.pttl(ITEM_KEY) > DAY_MS


def test_without_facts_an_items_events_expire_as_ever(facts_writer, client):
    facts_writer.write(
        [stock(3, 8), ("item_id", row(5, entity="4711")), ("facts:items", Row("4711", 1, 0, '["boots"]'))]
    )
    facts_writer.remove([(OFFERS, "4711", CLOCK.now_ms, 9)])
    assert client.pttl(ITEM_KEY) > DAY_MS  # its title stands
    facts_writer.remove([("facts:items", "4711", CLOCK.now_ms, 1)])
    assert 0 < client.pttl(ITEM_KEY) <= HOUR_MS
    assert client.hget(ITEM_KEY, feature_field("seen", "views")) == b"\x20\x05"


def test_a_row_that_never_expires_outlives_an_emptied_hash(writer, client):
    key = entity_key("shop", {"item_id": "v-1"})
    writer.write([("item_id", row(3, CLOCK.now_ms - 5))])
    writer.erase([("item_id", "v-1", CLOCK.now_ms)])
    assert 0 < client.pttl(key) <= 20_000
    writer.write([("item_id", row(4, CLOCK.now_ms + 1))])
    assert client.pttl(key) > 1000 * DAY_MS
