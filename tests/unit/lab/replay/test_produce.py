"""The replay's pace, heartbeats and counts, on a faked clock and a sender that remembers."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.connect import kafka_admin, kafka_send
from jobs.contract.events import HEARTBEAT, Event, parse
from jobs.errors import SettingsError
from jobs.lab.replay import produce, topic_time
from jobs.lab.replay.produce import ReplayReport, consequences, replay
from jobs.lab.replay.shift import shift_ms, shifted
from jobs.lab.replay.topic_time import TopicTime

PARTITIONS = 2
NOW_MS = 1_800_000_000_000


class FakeClock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def time_ns(self) -> int:
        return NOW_MS * 1_000_000 + round(self.now_s * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class RememberingSender:
    """Each record as (second of sending, partition, value); `beside` records come from others meanwhile."""

    partitions = PARTITIONS

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.sent, self.closed, self.beside = clock, [], False, 0

    def send(self, key, value, timestamp_ms, partition=None):
        self.sent.append((self.clock.now_s, partition, value))

    def flush(self):
        pass

    def close(self):
        self.closed = True

    def events(self) -> list[tuple[float, Event]]:
        return [(at_s, parse(value, NOW_MS)) for at_s, _, value in self.sent if HEARTBEAT.encode() not in value]

    def heartbeats(self, partition: int) -> list[tuple[float, int]]:
        beats = [(at_s, value) for at_s, at, value in self.sent if HEARTBEAT.encode() in value and at == partition]
        return [(at_s, msgspec.json.decode(value)["event_time_ms"]) for at_s, value in beats]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(produce, "time", clock)
    return clock


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> RememberingSender:
    sender = RememberingSender(clock)
    put_between(monkeypatch, sender)
    return sender


def put_between(monkeypatch: pytest.MonkeyPatch, sender: RememberingSender, newest_ms: int = 0) -> None:
    """Let a replay send to `sender`, to a topic whose partitions hold events up to `newest_ms` (0: none)."""
    newest = dict.fromkeys(range(PARTITIONS), newest_ms) if newest_ms else {}
    monkeypatch.setattr(kafka_send, "connect", lambda bootstrap, topic, fast: sender)
    monkeypatch.setattr(
        topic_time,
        "look",
        lambda bootstrap, topic, delay_ms: TopicTime(delay_ms, PARTITIONS, dict(newest), {0: len(sender.sent)}),
    )
    monkeypatch.setattr(kafka_admin, "end_offsets", lambda bootstrap, topic: {0: len(sender.sent) + sender.beside})


def views(*times_ms: int, visitors: int = 3) -> list[Event]:
    return [
        {
            "schema_version": 1,
            "event_id": f"e{number}",
            "event_type": "view",
            "event_time_ms": time_ms,
            "visitor_id": f"v{number % visitors}",
            "item_id": "x",
        }
        for number, time_ms in enumerate(times_ms)
    ]


def test_events_are_sent_at_the_pace_of_their_times(sender: RememberingSender):
    report = replay("", "t", views(1_000, 4_000, 11_000), speed=2, watermark_delay_s=0)
    # the partitions are woken first, which takes a second
    assert [at_s for at_s, _ in sender.events()] == pytest.approx([1, 2.5, 6])
    assert report.seconds == pytest.approx(5)
    assert sender.closed


def test_heartbeats_follow_the_clock_in_every_partition(sender: RememberingSender):
    replay("", "t", views(10_000, 11_000), speed=1, heartbeat_every_ms=400, shuffle_within_s=0, watermark_delay_s=5)
    for partition in range(PARTITIONS):
        beats = sender.heartbeats(partition)
        assert [at_s for at_s, _ in beats] == pytest.approx([0, 1.4, 1.8, 2.0])
        # the first wakes the partition; the last one: 11 s + 5 s delay + 61 s, so that the last window is flushed
        assert [time_ms for _, time_ms in beats] == pytest.approx([10_000, 10_400, 10_800, 77_000], abs=1)


def test_heartbeats_at_full_speed_follow_every_two_hundred_events(sender: RememberingSender):
    report = replay("", "t", views(*range(1, 1001)), watermark_delay_s=1)
    assert [time_ms for _, time_ms in sender.heartbeats(1)] == [1, 200, 400, 600, 800, 1000, 63_000]
    assert report.heartbeats == 7 * PARTITIONS


times = st.lists(st.integers(1, 200_000), min_size=1, max_size=120).map(sorted)


@settings(max_examples=60)
@given(times, st.integers(0, 20), st.sampled_from([None, 7.0, 900.0]), st.integers(0, 99))
def test_heartbeats_and_shuffling_make_nothing_late(times_ms, shuffle_s, speed, seed):
    with pytest.MonkeyPatch.context() as patch:
        clock = FakeClock()
        sender = RememberingSender(clock)
        patch.setattr(produce, "time", clock)
        patch.setattr(produce, "HEARTBEAT_EVERY_RECORDS", 3)
        put_between(patch, sender)
        delay_ms = shuffle_s * 1000 + 1
        report = replay(
            "", "t", views(*times_ms),
            speed=speed, shuffle_within_s=shuffle_s, duplicate=0.2, seed=seed, watermark_delay_s=delay_ms / 1000,
        )  # fmt: skip
    assert report.late == 0
    for partition in range(PARTITIONS):
        newest_ms = 0
        for value in (value for _, at, value in sender.sent if at == partition):
            time_ms = msgspec.json.decode(value)["event_time_ms"]
            newest_ms = max(newest_ms, time_ms)
            assert time_ms > newest_ms - delay_ms


def test_the_report_counts_what_was_sent(sender: RememberingSender):
    skipped = Counter({"cancellation": 3})
    report = replay(
        "", "t", iter(views(*range(1, 2001))),
        limit=1000, duplicate=0.1, corrupt=0.1, seed=4, watermark_delay_s=1, skipped=skipped,
    )  # fmt: skip
    accepted = sum(isinstance(event, dict) for _, event in sender.events())
    refused = len(sender.events()) - accepted
    assert report.events == 1000
    assert report.produced == 1000 + report.duplicates == len(sender.events())
    assert report.corrupted.total() == refused
    assert 50 < refused < 150
    assert accepted == 1000 - refused + report.duplicates
    assert report.skipped == {"cancellation": 3}


def test_callback_sees_each_intact_event_once_before_it_is_sent(sender: RememberingSender):
    seen: list[tuple[str, int]] = []
    replay(
        "", "t", views(*range(1, 101)),
        duplicate=0.5, corrupt=0.1, watermark_delay_s=1,
        on_event=lambda event: seen.append((event["event_id"], len(sender.sent))),
    )  # fmt: skip
    first_place: dict[str, int] = {}
    for place, (_, _, value) in enumerate(sender.sent):
        event = parse(value, NOW_MS)
        if isinstance(event, dict) and "event_id" in event:
            first_place.setdefault(event["event_id"], place)
    assert dict(seen) == first_place
    assert len(seen) == len(first_place) < 100


def test_a_visitors_events_keep_their_pause_at_full_speed(sender: RememberingSender):
    replay("", "t", views(1, 2, 3, 4, visitors=2), min_visitor_pause_ms=100, watermark_delay_s=1)
    assert [at_s for at_s, _ in sender.events()] == pytest.approx([1, 1, 1.1, 1.1])


@pytest.mark.parametrize(
    ("speed", "first_ms", "last_ms"),
    [
        (None, NOW_MS - 10_000, NOW_MS),  # all at once: the last is now
        (1.0, NOW_MS, NOW_MS + 10_000),  # each is now when it is sent
        (10.0, NOW_MS - 9_000, NOW_MS + 1_000),  # the last is sent after 1 s, and is now then
        (0.5, NOW_MS, NOW_MS + 10_000),  # the last is sent after 20 s, 10 s old
    ],
)
def test_events_shifted_to_now_are_never_sent_before_their_time(speed: float | None, first_ms: int, last_ms: int):
    moved = list(shifted(views(5_000, 15_000), speed, NOW_MS))
    assert [event["event_time_ms"] for event in moved] == [first_ms, last_ms]


def test_a_shifted_event_is_a_new_event():
    (first,), (later,) = (shifted(views(5_000), None, start_ms) for start_ms in (NOW_MS, NOW_MS + 1))
    assert first["event_id"] != later["event_id"]
    (long,) = shifted([{**views(5_000)[0], "event_id": "x" * 128}], None, NOW_MS)
    assert isinstance(parse(msgspec.json.encode(long), NOW_MS), dict)


def test_last_heartbeat_stays_within_clocks_limit_and_report_says_so(sender: RememberingSender):
    report = replay("", "t", views(5_000), shift_to_now=True, watermark_delay_s=600)
    assert report.final_heartbeat_ms == NOW_MS + 1_000 + 295_000  # waking the partitions took the first second
    assert not report.flushed
    report = replay("", "t", views(5_000), shift_to_now=True, watermark_delay_s=60)
    assert report.final_heartbeat_ms == NOW_MS + 122_000  # the fake clock stands at 1 s: 60 s delay and 61 s to flush
    assert report.flushed


def test_a_replay_of_nothing_sends_nothing(sender: RememberingSender):
    assert replay("", "t", [], shift_to_now=True, watermark_delay_s=60) == ReplayReport()
    assert sender.sent == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"speed": 0}, "speed is 0"),
        ({"limit": -1}, "limit is -1"),
        ({"duplicate": 2}, "duplicate is 2"),
        ({"corrupt": -0.1}, r"corrupt is -0\.1"),
        ({"heartbeat_every_ms": 0}, "heartbeat_every_ms is 0"),
        ({"shuffle_within_s": -1}, "shuffle_within_s is -1"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_sent(wrong: dict, says: str, sender: RememberingSender):
    with pytest.raises(SettingsError, match=says):
        replay("", "t", views(1), watermark_delay_s=1, **wrong)
    assert sender.sent == []


def test_a_second_shifted_replay_begins_behind_what_the_topic_holds(monkeypatch: pytest.MonkeyPatch, clock: FakeClock):
    sender, warnings = RememberingSender(clock), []
    put_between(monkeypatch, sender, newest_ms=NOW_MS + 62_000)  # a replay's last heartbeat: 1 s of delay and 61 s
    report = replay("", "t", views(5_000, 15_000), shift_to_now=True, watermark_delay_s=1, tell=warnings.append)
    assert [event["event_time_ms"] for _, event in sender.events()] == [NOW_MS + 62_000, NOW_MS + 72_000]
    assert report.late == 0
    assert warnings == []


@pytest.mark.parametrize(
    ("speed", "not_before_ms", "first_ms"),
    [
        (None, NOW_MS - 10_001, NOW_MS - 10_000),  # nothing stands in the way: the last event is now
        (None, NOW_MS + 285_000, NOW_MS + 285_000),  # the last event comes 295 s ahead, as far as the contract goes
        (None, NOW_MS + 285_001, NOW_MS - 10_000),  # it can't be helped: as if the topic were empty
        (1.0, NOW_MS + 62_000, NOW_MS + 62_000),
        (10.0, NOW_MS + 62_000, NOW_MS + 62_000),
    ],
)
def test_the_shift_goes_behind_the_topic_where_the_contract_allows(
    speed: float | None, not_before_ms: int, first_ms: int
):
    assert 5_000 + shift_ms(5_000, 15_000, speed, NOW_MS, not_before_ms) == first_ms


def test_a_shifted_replay_tells_beforehand_how_many_events_are_late(monkeypatch: pytest.MonkeyPatch, clock: FakeClock):
    """A day can't go behind the topic's newest event, which is a minute old: only the last of four events is newer."""
    sender, warnings = RememberingSender(clock), []
    put_between(monkeypatch, sender, newest_ms=NOW_MS - 60_000)
    events = views(0, 40_000_000, 86_338_500, 86_400_000)  # the third is moved to 61.5 s before now
    report = replay(
        "", "t", events, shift_to_now=True, watermark_delay_s=1,
        tell=lambda line: warnings.append((line, len(sender.sent))),
    )  # fmt: skip
    ((line, sent_before),) = warnings
    assert line.startswith("3 of 4 events will be late for features")
    assert "--speed 1" in line
    assert sent_before == 0
    assert report.late == 3


def test_old_events_behind_newer_ones_are_told_once(monkeypatch: pytest.MonkeyPatch, clock: FakeClock):
    sender, warnings = RememberingSender(clock), []
    put_between(monkeypatch, sender, newest_ms=10_000)
    report = replay("", "t", views(8_000, 9_000, 9_001, 12_000), watermark_delay_s=1, tell=warnings.append)
    assert report.late == 2  # at most 10 s - 1 s
    assert len(warnings) == 1
    assert "1970-01-01 00:00:09 UTC" in warnings[0]


def test_beside_others_the_last_heartbeat_leaves_time_where_it_is(sender: RememberingSender):
    sender.beside = 5
    report = replay("", "t", views(5_000), shift_to_now=True, watermark_delay_s=60)
    assert report.beside == 5
    assert report.final_heartbeat_ms == report.last_event_time_ms == NOW_MS
    assert any("others sent 5 records" in line for line in consequences(report))


def test_after_a_replay_a_person_knows_whom_to_look_at(sender: RememberingSender):
    """After a replay a person knows what time it is and whom to look at."""
    report = replay("", "t", views(5_000, 6_000), shift_to_now=True, watermark_delay_s=1)
    lines = list(consequences(report))
    assert lines == [
        "time in the topic stands at 2027-01-15 08:01:02 UTC: an event from before that is late for features",
        "look at a visitor: liveshelf show v1",
    ]
