"""The arithmetic and the generator behind the measurements; no services."""

import msgspec
import numpy as np
import pytest

from jobs.connect.kafka_read import Record
from jobs.contract import events
from jobs.errors import DataError
from jobs.lab.bench import clicks, latency
from jobs.lab.bench.figures import Look, Measured, early, percentiles, slope
from jobs.lab.bench.memory import kind
from jobs.lab.bench.run import FULL, QUICK, rounded, side_by_side
from jobs.lab.bench.swaps import Made, first_list_ms
from models.serving.registry import Active

SHORT = Measured(
    events=10_000, seconds=12.0, written=20_000, lists=5_000, cpu_s={"task_manager": 10.0, "python_worker": 5.0}
)
LONG = Measured(
    events=100_000,
    seconds=21.0,
    written=200_000,
    lists=50_000,
    cpu_s={"task_manager": 19.0, "python_worker": 14.0, "redis": 4.5},
)


def test_a_rate_leaves_out_the_start_that_two_runs_share():
    """A rate is the slope between two runs so that their common start doesn't count."""
    rates = slope(SHORT, LONG)
    # 90,000 events in 9 s; 10,000 events take 1 s of the short run's 12, so 11 s are its start. 9 s of CPU: 100 µs
    by_process = {"task_manager": 100.0, "python_worker": 100.0, "redis": 50.0}
    assert rates[:4] == (10_000.0, 20_000.0, 5_000.0, 11.0)
    assert rates.cpu_us == by_process
    assert rates.cpu_us_per_event == 200.0  # Redis isn't the job


def test_threads_and_steps_are_parts_of_their_process():
    """A thread's time is a slope of its own; a step is its share of the worker's 100 µs."""
    short = SHORT._replace(cpu_s=SHORT.cpu_s | {"task_manager: source": 1.0}, steps={"model": 1.0})
    long = LONG._replace(cpu_s=LONG.cpu_s | {"task_manager: source": 2.8}, steps={"model": 0.7, "write lists": 0.3})

    rates = slope(short, long)

    assert rates.cpu_us_by_thread == {"task_manager: source": pytest.approx(20.0)}
    assert rates.cpu_us_by_process == {"task_manager": 100.0, "python_worker": 100.0, "redis": 50.0}
    assert rates.worker_us_by_step == {"model": pytest.approx(70.0), "write lists": pytest.approx(30.0)}
    assert rounded(rates.worker_us_by_step, 31) == {"model": 70.0}


def test_the_order_of_the_two_runs_doesnt_matter():
    assert slope(LONG, SHORT) == slope(SHORT, LONG)


def test_a_run_without_its_start_is_what_follows_a_look():
    """A run of 100,000 events writes 200,000; the second look is the first that saw two fifths of them."""
    looks = [Look(30.0, 200_000, {}), Look(11.0, 79_999, {}), Look(13.0, 100_000, {"redis": 2.5}), Look(5.0, 0, {})]
    # half was written after 13 s: 50,000 of the events and 25,000 of the lists; 50,000 more took 8 s, 2 s of them Redis
    assert early(looks, LONG, 0.4) == Measured(50_000, 13.0, 100_000, 25_000, {"redis": 2.5})
    rates = slope(early(looks, LONG, 0.4), LONG)
    assert rates[:4] == (6_250.0, 12_500.0, 3_125.0, 5.0)
    assert rates.cpu_us_by_process["redis"] == 40.0


@pytest.mark.parametrize("looks", [[], [Look(5.0, 79_999, {})], [Look(20.0, 200_000, {})], [Look(21.0, 150_000, {})]])
def test_a_run_that_wasnt_seen_at_work_makes_no_rate(looks):
    with pytest.raises(DataError, match="without --quick"):
        early(looks, LONG, 0.4)


@pytest.mark.parametrize("long", [LONG._replace(seconds=11.5), LONG._replace(seconds=12.0), SHORT])
def test_a_longer_run_that_took_no_longer_makes_no_rate(long):
    with pytest.raises(DataError, match="quiet machine"):
        slope(SHORT, long)


@pytest.mark.parametrize("sizes", [QUICK, FULL], ids=["quick", "full"])
def test_reads_under_load_end_before_versions_are_swapped(sizes):
    """They begin after a third of the measured seconds. At 4 ms each they must leave a second at the end."""
    assert latency.loaded_reads(sizes.seconds) > 200  # or there were no 99th percentile to speak of
    assert sizes.seconds / 3 + latency.loaded_reads(sizes.seconds) * 0.004 <= sizes.seconds - 1


def test_percentiles_are_values_that_occurred():
    # of 1 … 200 ms, half are at most 100, 180 are at most 180, 198 are at most 198
    assert percentiles(list(range(200, 0, -1))) == {"p50": 100, "p90": 180, "p99": 198, "max": 200}


def test_the_percentiles_of_one_value_are_that_value_rounded():
    assert percentiles([3.14159], digits=3) == {"p50": 3.142, "p90": 3.142, "p99": 3.142, "max": 3.142}


def test_no_value_has_no_percentile():
    with pytest.raises(DataError, match="nothing was measured"):
        percentiles([])


def test_two_jobs_side_by_side_show_rates_and_their_ratio():
    tutorial = slope(Measured(1_000, 7.0, 1_000), Measured(5_000, 12.0, 5_000))  # 800 events/s
    assert side_by_side(slope(SHORT, LONG), tutorial) == {
        "events_per_s": 10_000,
        "lists_per_s": 5_000,
        "writes_per_s": 20_000,
        "startup_s": 11.0,
        "cpu_us_per_event": 200,
        "cpu_us_by_process": {"task_manager": 100.0, "python_worker": 100.0, "redis": 50.0},
        "tutorial_events_per_s": 800,
        "tutorial_writes_per_s": 800,
        "ratio": 12.5,
    }


def test_processes_are_listed_by_their_share_without_idle_ones():
    by_process = {"broker": 13.46, "keeper": 0.04, "redis": 31.6, "task_manager": 268.44}
    assert list(rounded(by_process).items()) == [("task_manager", 268.4), ("redis", 31.6), ("broker", 13.5)]


def test_a_first_list_comes_between_its_activation_and_the_next():
    """A first list is the first of its version between its activation and the next."""
    # a serves; b is activated at 1,000, a again at 3,000 and b again at 5,000
    made = [Active("b", 1_000), Active("a", 3_000), Active("b", 5_000)]
    lists = [
        ("a", 900),
        ("a", 1_400),
        ("b", 1_700),
        ("b", 1_500),
        ("b", 3_100),
        ("a", 3_900),
        ("a", 5_100),
        ("b", 5_300),
    ]
    log = [Record(0, place, 0, None, msgspec.json.encode(Made(*each))) for place, each in enumerate(lists)]
    assert first_list_ms(log, made) == [500, 900, 300]
    assert first_list_ms(log[5:], made) == [900, 300]  # the first b came to nothing


def test_offsets_count_up_in_each_partition():
    assert clicks.offsets(np.array([0, 1, 1, 0, 1])).tolist() == [0, 0, 1, 1, 2]


def test_a_prefix_ends_after_its_last_event_in_each_partition():
    partition = np.array([0, 1, 1, 0, 1])
    assert clicks.prefix_ends(partition, 4) == {0: 2, 1: 2}
    assert clicks.prefix_ends(partition, 1) == {0: 1, 1: 0}


@pytest.fixture(scope="module")
def made():
    return clicks.make(20_000, visitors=50_000, items=1_000, seed=1)


def test_the_same_seed_makes_the_same_events(made):
    again = clicks.make(20_000, visitors=50_000, items=1_000, seed=1)
    assert all((one == other).all() for one, other in zip(made, again, strict=True))


def test_slow_traffic_has_as_many_events_as_asked_for():
    """Slow traffic has as many events as were asked for whatever the seed."""
    assert [seed for seed in range(50) if len(clicks.make(20_000, 2_000, 100, seed, 0.2).visit) != 20_000] == []


def test_every_made_event_is_one_that_the_contract_takes(made):
    ids = [f"item-{number}" for number in range(1_000)]
    for document in clicks.documents(made.part(0, 2_000), ids, "t"):
        value = msgspec.json.encode(document | {"event_time_ms": 1_763_720_000_000})
        assert isinstance(events.parse(value), dict), value


def test_a_visitors_events_sit_in_one_partition(made):
    partition = clicks.partitions(made, 2)
    assert not set(made.visitor[partition == 0].tolist()) & set(made.visitor[partition == 1].tolist())


def test_a_visitors_events_come_in_visits(made):
    # ten events with pauses of 20 s on average: half the pauses within a visit are below 14 s (20 · ln 2)
    order = np.lexsort((np.arange(len(made)), made.visit))
    pauses = np.diff(order)[np.diff(made.visit[order]) == 0]
    assert len(pauses) > 1_000
    assert np.median(pauses) < 14_000


def test_types_are_shared_out_as_a_shop_sees_them(made):
    shares = np.bincount(made.kind) / len(made)
    assert shares == pytest.approx([0.86, 0.05, 0.06, 0.01, 0.02], abs=0.01)


def test_processes_are_named_by_their_command_lines():
    assert kind(["java", "-Xmx512m", "kafka.Kafka", "server.properties"]) == "broker"
    assert kind(["python", "-m", "pyflink.fn_execution.beam.beam_boot", "--id=1-1"]) == "python_worker"
    assert kind(["bash"]) == "other"
