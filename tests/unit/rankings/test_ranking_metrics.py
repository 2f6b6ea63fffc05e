from jobs.rankings.metrics import RankingMetrics
from jobs.rankings.publish import PublishCounts
from jobs.rankings.ranked_list import RankedList


class Counter:
    def __init__(self) -> None:
        self.n = 0

    def inc(self, n: int = 1) -> None:
        self.n += n


class Group(dict):
    def counter(self, name: str) -> Counter:
        return self.setdefault(name, Counter())

    def values_of(self, prefix: str) -> dict[str, int]:
        return {name.removeprefix(prefix): counter.n for name, counter in self.items() if name.startswith(prefix)}


def test_a_batch_counts_rows_lists_by_fallback_and_stale_writes() -> None:
    group = Group()
    lists = [RankedList([], [], fallback, []) for fallback in (None, None, "popular")]

    metrics = RankingMetrics(group)
    metrics.rows(10, superseded=7)
    metrics.lists(lists, PublishCounts(written=2, stale=1, elsewhere=1))

    assert {name: counter.n for name, counter in group.items() if counter.n} == {
        "batches": 1,
        "batch_rows": 10,
        "rows_superseded": 7,
        "lists_personal": 2,
        "lists_popular": 1,
        "lists_written": 2,
        "stale_writes": 1,
        "lists_in_two_partitions": 1,
    }


def test_latency_buckets_are_cumulative_and_include_their_bound() -> None:
    group = Group()

    RankingMetrics(group).visible([10_000, 9_990, 9_989, 8_000], now_ms=10_000)  # 0, 10, 11 and 2000 ms ago

    assert group.values_of("event_to_redis_ms_le_") == {
        "5": 1, "10": 2, "20": 3, "30": 3, "50": 3, "100": 3, "250": 3, "1000": 3, "inf": 4,
    }  # fmt: skip


def test_times_are_summed_in_microseconds() -> None:
    group = Group()
    metrics = RankingMetrics(group)

    metrics.spent(model_ns=2_500_000, redis_ns=1_000)
    metrics.spent(model_ns=500_000, redis_ns=2_000)

    assert (group["model_us"].n, group["redis_us"].n) == (3000, 3)


def test_batches_are_counted_by_the_age_of_their_facts() -> None:
    group = Group()
    metrics = RankingMetrics(group)
    metrics.facts(age_ms=150, items=10, read=12, refused=2)
    metrics.facts(age_ms=201, items=9, read=13, refused=2)
    assert group.values_of("facts_age_ms_le_") == {"200": 1, "1000": 2, "10000": 2, "inf": 2}
    assert {name: group[f"facts_{name}"].n for name in ("items", "read", "refused")} == {
        "items": 9,
        "read": 13,
        "refused": 2,
    }
