"""What becomes of a record, on slices that fit in the head."""

from jobs.connect.kafka_read import Slice
from jobs.contract.events import Refusal
from jobs.verify.classify import classify
from tests.support.verify_slices import at, event, heartbeat, records


def kinds(classified) -> list[str]:
    return [entry.kind for entry in classified.entries]


def test_an_event_exactly_the_delay_behind_is_late():
    """An event exactly the delay behind the newest is late and one millisecond less is not."""
    slice_ = records(event("12:00:10", "a"), event("12:00:09", "b"), event("12:00:09.001", "c"))
    assert kinds(classify(slice_, delay_ms=1000)) == ["counted", "late", "counted"]


def test_late_is_decided_by_what_came_before_in_same_partition():
    slow, fast = records(event("12:00:00", "a"), partition=0), records(event("12:05:00", "b"), partition=1)
    classified = classify(slow + fast, delay_ms=1000)
    assert kinds(classified) == ["counted", "counted"]
    assert classified.watermark_ms == at("11:59:59")  # the slower partition's


def test_heartbeat_moves_event_time_counts_nowhere_and_is_never_late():
    slice_ = records(event("12:00:00", "a"), heartbeat("12:01:00"), event("12:00:30", "b"), heartbeat("12:00:00"))
    classified = classify(slice_, delay_ms=1000)
    assert kinds(classified) == ["counted", "heartbeat", "late", "heartbeat"]
    assert classified.watermark_ms == at("12:00:59")


def test_a_refused_event_does_not_move_event_time():
    slice_ = records(event("12:00:10", "a"), event("13:00:00", "b", item_id=7), event("12:00:09.500", "c"))
    classified = classify(slice_, delay_ms=1000)
    assert kinds(classified) == ["counted", "refused", "counted"]
    assert classified.entries[1].refusal == Refusal("wrong_type", "item_id")
    assert classified.watermark_ms == at("12:00:09")


def test_nothing_accepted_means_no_watermark():
    classified = classify(records(None, b"[]"), delay_ms=1000)
    assert classified.watermark_ms is None
    assert classified.refused_by_reason() == {"empty": 1, "not_an_object": 1}


def test_the_first_on_time_event_with_an_id_counts():
    """The first on time event with an id counts and a late one does not take the id."""
    slice_ = records(
        event("12:00:10", "a"),
        event("12:00:00", "b"),  # late
        event("12:00:10", "b", item_id="first to count"),
        event("12:00:11", "b", item_id="again"),
        event("12:00:00", "b"),  # late before it is a duplicate
    )
    assert kinds(classify(slice_, delay_ms=1000)) == ["counted", "late", "counted", "duplicate", "late"]


def test_an_id_counts_once_for_each_visitor():
    """Who guesses the ids of a shop's orders and sends them first takes nobody's purchase away."""
    slice_ = records(
        event("12:00:10", "order-1001", visitor_id="stranger"),
        event("12:00:10", "order-1001", visitor_id="customer"),
        event("12:00:10", "order-1001", visitor_id="customer"),
    )
    assert kinds(classify(slice_, delay_ms=1000)) == ["counted", "counted", "duplicate"]
    assert kinds(classify(slice_, delay_ms=1000, ids_shared=True)) == ["counted", "duplicate", "duplicate"]


def test_what_the_job_called_future_stays_refused():
    """What the jobs clock called future stays refused when the time has come."""
    slice_ = records(event("12:00:00", "a"), event("12:10:00", "b"), event("12:00:00", "c"))
    classified = classify(slice_, delay_ms=1000, refused_as_future={(0, 1)}, now_ms=at("23:00:00"))
    assert kinds(classified) == ["counted", "refused", "counted"]
    assert classified.entries[1].refusal == Refusal("future_event_time", "event_time_ms")


def test_what_is_still_in_future_is_refused_without_being_told():
    classified = classify(records(event("12:05:00.001", "a"), event("12:05:00", "b")), 1000, now_ms=at("12:00:00"))
    assert kinds(classified) == ["refused", "counted"]  # 300 s of skew are allowed


def test_only_the_bytes_that_are_compared_are_kept():
    """Of millions of records only the bytes that are compared are kept."""
    slice_ = Slice("events", records(event("12:00:10", "a"), event("12:00:00", "b"), b"[]"), {0: 0}, {0: 3})
    late, damaged = slice_.records[1:]
    classified = classify(slice_.taken(), delay_ms=1000)
    assert kinds(classified) == ["counted", "late", "refused"]
    assert slice_.records == []
    assert [entry.record for entry in classified.entries] == [(0, 0, 0, None, None), late, damaged]


def test_later_records_begin_at_an_offset_with_the_same_time():
    """From an offset on are the later records and event time is the same."""
    classified = classify(records(b"", event("12:00:00", "a"), event("12:01:00", "b")), delay_ms=1000)
    later = classified.since({0: 2})
    assert [entry.record.offset for entry in later.entries] == [2]
    assert later.watermark_ms == classified.watermark_ms
    assert classified.since({1: 2}).entries == classified.entries
