"""What is told as the cause of a slow event; times are worked out by hand, in ms from the clock's zero."""

import numpy as np

from jobs.lab.bench.causes import Slow, Span, explain, late, lateness_ms, pauses, phases, slowest, whole

MS = 1_000_000
SLOW = Slow(number=7, sent_ns=1_000 * MS, latency_ms=120.0)  # until 1,120


def test_a_cause_fills_half_of_the_time_beyond_the_median():
    """With a median of 20 ms, 100 are to be explained: 50 suffice, 49 don't."""
    pause, shorter = whole("paused", 1_010 * MS, 1_060 * MS, True), whole("waited", 1_070 * MS, 1_119 * MS, True)
    found = explain(SLOW, [pause, shorter], median_ms=20.0)
    assert found == {
        "latency_ms": 120.0,
        "causes": ["paused"],
        "held_ms": {"paused": 50.0, "waited": 49.0},
        "beside_ms": {},
    }


def test_only_what_lies_within_the_wait_counts():
    """40 ms before it was sent don't count, 30 ms do, and nothing after its list."""
    early, after = whole("early", 960 * MS, 1_030 * MS, True), whole("after", 1_130 * MS, 1_300 * MS, True)
    assert explain(SLOW, [early, after], 20.0)["held_ms"] == {"early": 30.0}


def test_pieces_of_one_name_are_added_up():
    pieces = [whole("paused", begin * MS, (begin + 30) * MS, True) for begin in (1_000, 1_050)]
    assert explain(SLOW, pieces, 20.0)["causes"] == ["paused"]  # 60 ms


def test_what_goes_on_beside_is_never_a_cause():
    beside = whole("features wrote its checkpoint", 900 * MS, 1_200 * MS, False)
    found = explain(SLOW, [beside], 20.0)
    assert (found["causes"], found["beside_ms"]) == ([], {"features wrote its checkpoint": 120.0})


def test_a_part_of_a_span_is_spread_evenly():
    """A thread waited 8 ms between looks at 1,100 and 1,140; the event had its list at 1,120: half of them."""
    assert Span("waited", 1_100 * MS, 1_140 * MS, 8 * MS, True).overlap_ms(SLOW.sent_ns, SLOW.seen_ns) == 4.0


def test_a_pause_ends_where_java_logged_it():
    log = (
        "[5000000000ns] GC(3) Pause Young (Allocation Failure) 300M->20M(900M) 11.9ms\n"
        '[5012000000ns] Safepoint "ParallelGCCollect", Time since last: 9 ns, Reaching safepoint: 2000000 ns, '
        "Cleanup: 5 ns, At safepoint: 9999000 ns, Leaving safepoint: 1000 ns, Total: 12000000 ns\n"
    )
    assert pauses(log, "broker") == [whole("broker paused (ParallelGCCollect)", 5_000 * MS, 5_012 * MS, True)]


def test_phases_of_a_checkpoint_follow_each_other():
    """Triggered at 90,000 ms of a clock that is 80,000 ahead: barriers from 10,003, snapshot from 10,008, and so on."""
    subtask = {"start_delay": 3, "alignment": {"duration": 5}, "checkpoint": {"sync": 2, "async": 40}}
    assert phases("rankings", 90_000, subtask, 80_000 * MS, holds=True) == [
        whole("rankings waited for barriers", 10_003 * MS, 10_008 * MS, True),
        whole("rankings took its snapshot", 10_008 * MS, 10_010 * MS, True),
        whole("rankings wrote its checkpoint", 10_010 * MS, 10_050 * MS, False),
    ]


def test_a_phase_that_took_no_time_is_left_out():
    """Flink says -1 where a source has no barriers to wait for."""
    subtask = {"start_delay": 0, "alignment": {"duration": -1}, "checkpoint": {"sync": 1, "async": 0}}
    assert phases("rankings", 1_000, subtask, 0, True) == [
        whole("rankings took its snapshot", 1_000 * MS, 1_001 * MS, True)
    ]


def test_a_generator_is_late_from_when_an_event_was_due():
    """One event each 10 ms. Events 2 and 3 leave at 50 and 51 ms and were due at 20 and 30; event 4 is 6 ms late."""
    sent_ns = np.array([0, 10, 50, 51, 46, 50]) * MS
    assert lateness_ms(sent_ns, 100).tolist() == [0.0, 0.0, 30.0, 21.0, 6.0, 0.0]
    assert late(sent_ns, 100) == [whole("generator late", 20 * MS, 51 * MS, True)]


def test_lateness_counts_from_the_most_punctual_event():
    """The first event itself left 4 ms late, as the second shows."""
    assert lateness_ms(np.array([4, 10, 20]) * MS, 100).tolist() == [4.0, 0.0, 0.0]


def test_neighbours_of_a_slow_event_are_the_same_moment():
    """Event 1 was sent 50 ms after event 0 had its list, event 2 150 ms after it: a moment of its own."""
    sent_ns = np.array([0, 250, 350]) * MS
    moments = slowest({0: 200.0, 1: 150.0, 2: 90.0}, sent_ns)
    assert [slow.number for slow in moments] == [0, 2]
