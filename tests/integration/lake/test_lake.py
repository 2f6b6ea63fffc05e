"""The lake on a real broker: each record once, whatever kills the writer, and nothing of whom it may not hold."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from jobs.cluster import runtime
from jobs.connect import consent_topic, kafka_admin, kafka_send
from jobs.connect.kafka_read import read_slice
from jobs.contract import consent_record
from jobs.errors import DataError
from jobs.flow import failpoints
from jobs.lake import forget
from jobs.lake.lineage import trace
from jobs.lake.store import Store, remember
from jobs.lake.write import Writer
from jobs.settings import REPOSITORY, Settings
from tests.support.waiting import eventually

HOUR_MS = 3_600_000
START_MS = 1_764_460_800_000  # 2025-11-30 00:00 UTC: a broker refuses records of times to come
MOMENTS = ("lake.before_put", "lake.after_put", "lake.after_commit", "lake.after_merge")


@pytest.fixture
def settings(kafka_settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Return settings with topics of the test's own. Hours are compacted at once."""
    name = request.node.name.translate(str.maketrans("[]", "--"))
    topics = {f"{kind}_topic": f"{kind}.{name}" for kind in ("events", "rankings", "items", "consent")}
    found = kafka_settings.model_copy(update=topics | {"lake_compact_after_s": 0.0})
    bootstrap = bootstrap_of(found)
    kafka_admin.create_topics(
        bootstrap, dict.fromkeys([found.events_topic, found.rankings_topic, found.items_topic], 2)
    )
    kafka_admin.create_topics(bootstrap, {found.consent_topic: 1}, consent_topic.TOPIC)
    return found


def bootstrap_of(settings: Settings) -> str:
    return runtime.current(settings).kafka_bootstrap


def event(visitor: str, number: int, time_ms: int, item: str = "i1") -> bytes:
    fields = {"event_id": f"e{number}", "visitor_id": visitor, "item_id": item, "event_time_ms": time_ms}
    return json.dumps({"schema_version": 1, "event_type": "view", **fields}).encode()


def logged(visitor: str, partition: int, offset: int, time_ms: int, session_events: int = 1) -> bytes:
    about = {"visitor_id": visitor, "shelf": "home", "partition": partition, "offset": offset, "event_time_ms": time_ms}
    return json.dumps(about | {"list_id": f"l{offset}", "session_events": session_events}).encode()


def send(settings: Settings, topic: str, records: list[tuple[bytes | None, bytes | None, int, int]]) -> None:
    """Send records: key, value, timestamp, partition."""
    sender = kafka_send.connect(bootstrap_of(settings), topic, fast=True)
    for record in records:
        sender.send(*record)
    sender.flush()
    sender.close()


def send_events(settings: Settings, count: int, first: int = 0) -> None:
    """Send events of ten visitors over three hours into both partitions, every fiftieth too late by an hour or more."""
    records = []
    for number in range(first, first + count):
        time_ms = START_MS + (number % 300) * 36_000 if number % 50 else START_MS - HOUR_MS
        visitor = f"v{number % 10}"
        records.append((visitor.encode(), event(visitor, number, time_ms), time_ms, number % 2))
    send(settings, settings.events_topic, records)


def in_topic(settings: Settings, topic: str) -> Counter:
    """Count the topic's records by partition and hour, with a reader that knows nothing of the lake."""
    found: Counter = Counter()
    for record in read_slice(bootstrap_of(settings), topic).records:
        found[record.partition, str(np.datetime64(record.timestamp_ms, "ms").astype("datetime64[h]"))] += 1
    return found


def places(lake: Path, topic: str) -> list[tuple[int, int]]:
    """Return partition and offset of every row that a reader of the folder finds. A torn file raises."""
    table = ds.dataset(lake / f"topic={topic}", format="parquet").to_table(columns=["partition", "offset"])
    return list(zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True))


def in_lake(lake: Path, topic: str) -> Counter:
    """Count the lake's rows by partition and hour, the hour by the folder's name."""
    partitioning = ds.partitioning(flavor="hive")
    table = ds.dataset(lake / f"topic={topic}", format="parquet", partitioning=partitioning).to_table()
    return Counter(zip(table["partition"].to_pylist(), table["hour"].to_pylist(), strict=True))


def write(settings: Settings, lake: Path):
    return Writer(settings, bootstrap_of(settings), Store(str(lake), settings.state_dir)).run()


def process(
    settings: Settings, lake: Path, *arguments: str, points: Path | None = None, compact_after_s: int = 0
) -> subprocess.Popen:
    """Start `liveshelf lake` as a person does."""
    names = ("events", "rankings", "items", "consent")
    variables = {f"LIVESHELF_{name.upper()}_TOPIC": getattr(settings, f"{name}_topic") for name in names}
    variables |= {
        "LIVESHELF_STATE_DIR": str(settings.state_dir),
        "LIVESHELF_LAKE_COMPACT_AFTER_S": str(compact_after_s),
        "LIVESHELF_LAKE_INTERVAL_S": "1",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "jobs" / "sdk")]),
    }
    if points:
        variables[failpoints.FOLDER] = str(points)
    command = [sys.executable, "-c", "from jobs import main; main()", "lake", "--to", str(lake), *arguments]
    return subprocess.Popen(command, env=os.environ | variables, cwd=settings.state_dir, stderr=subprocess.PIPE)


def delete_before(settings: Settings, offsets: dict[int, int]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_of(settings)})
    deleted = admin.delete_records([TopicPartition(settings.events_topic, *place) for place in offsets.items()])
    for done in deleted.values():
        done.result(30)


def test_rows_by_partition_and_hour_equal_the_topics(settings: Settings, tmp_path: Path) -> None:
    send_events(settings, 3000)
    items = [(b"i1", b'{"title":"a"}', START_MS, 0), (b"i1", None, START_MS + HOUR_MS, 0)]
    send(settings, settings.items_topic, items)
    send(settings, settings.rankings_topic, [(b"v1", logged("v1", 0, 3, START_MS), START_MS, 1)])
    write(settings, tmp_path)
    for topic in (settings.events_topic, settings.rankings_topic, settings.items_topic):
        assert in_lake(tmp_path, topic) == in_topic(settings, topic)
    on_time = {(0, "2025-11-30T00"): 480, (1, "2025-11-30T00"): 500}
    assert in_lake(tmp_path, settings.events_topic).items() >= on_time.items()
    assert in_lake(tmp_path, settings.events_topic)[0, "2025-11-29T23"] == 60  # the late ones have even numbers


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_writer_neither_loses_nor_repeats(settings: Settings, tmp_path: Path, moment: str) -> None:
    """It dies in two runs. What it leaves is readable, and twice there only between a merge and its deletions."""
    lake, points = tmp_path / "lake", tmp_path / "points"
    points.mkdir()
    killed = 0
    for number in range(2):
        send_events(settings, 400, first=400 * number)
        failpoints.arm(points, moment)
        killed += process(settings, lake, "--once", points=points).wait(120) == -signal.SIGKILL
        (points / moment).unlink(missing_ok=True)
        rows = places(lake, settings.events_topic) if any(lake.glob("topic=*")) else []
        assert len(rows) == len(set(rows)) or moment == "lake.after_merge"
        send_events(settings, 100, first=2000 + 100 * number)
        write(settings, lake)
        rows = places(lake, settings.events_topic)
        assert len(rows) == len(set(rows)) == 500 * (number + 1)
    assert killed >= 1  # the first run has nothing to merge
    assert in_lake(lake, settings.events_topic) == in_topic(settings, settings.events_topic)


def test_kills_at_any_time_lose_and_repeat_nothing(settings: Settings, tmp_path: Path) -> None:
    """Events go on arriving while a writer runs. It is killed within two seconds after it has taken the lake's lock."""
    seed, lock = int(time.time()), tmp_path / "_lake" / "lock"
    chance = np.random.default_rng(seed)
    for number in range(4):
        send_events(settings, 2000, first=int(chance.integers(1 << 40)))
        started_ns = time.time_ns()
        writer = process(settings, tmp_path, compact_after_s=600)
        eventually(lambda since_ns=started_ns: lock.exists() and lock.stat().st_mtime_ns > since_ns, within_s=60)
        deadline_s = time.monotonic() + chance.random() * 2
        while time.monotonic() < deadline_s:
            send_events(settings, 200, first=int(chance.integers(1 << 40)))
        writer.send_signal(signal.SIGKILL)
        writer.wait(30)
        rows = places(tmp_path, settings.events_topic) if any(tmp_path.glob("topic=*")) else []
        assert len(rows) == len(set(rows)), (seed, number)
    write(settings, tmp_path)
    assert in_lake(tmp_path, settings.events_topic) == in_topic(settings, settings.events_topic), seed


def test_an_hour_that_is_quiet_becomes_one_file(settings: Settings, tmp_path: Path) -> None:
    for number in range(4):
        send_events(settings, 300, first=300 * number)
        write(settings.model_copy(update={"lake_compact_after_s": 600}), tmp_path)
    hour = tmp_path / f"topic={settings.events_topic}" / "hour=2025-11-30T01"
    before = pq.read_table(hour, partitioning=None).sort_by([("partition", "ascending"), ("offset", "ascending")])
    assert len(list(hour.iterdir())) == 8
    assert write(settings, tmp_path).compacted == 4 * 7  # 3 hours of 2 partitions, and the late events' of one
    assert sorted(path.name for path in hour.iterdir()) == ["0-0-600.parquet", "1-0-600.parquet"]
    assert pq.read_table(hour, partitioning=None).equals(before)


def visitors(lake: Path, topic: str) -> Counter:
    """Count the lake's rows of each visitor."""
    return Counter(ds.dataset(lake / f"topic={topic}", format="parquet").to_table()["visitor_id"].to_pylist())


def say(settings: Settings, visitor: str, state: str) -> None:
    consent_topic.say(bootstrap_of(settings), settings.consent_topic, settings.consent, [visitor], state)


def test_who_withdraws_is_gone_after_the_next_run(settings: Settings, tmp_path: Path) -> None:
    """Old rows go, new ones aren't written, and the others' stay as they were."""
    now_ms = time.time_ns() // 1_000_000
    records = [(b"", event(name, number, now_ms), now_ms, 0) for number, name in enumerate(["gone", "here", "gone"])]
    lists = [(b"", logged(name, 0, number, now_ms), now_ms, 1) for number, name in enumerate(["gone", "here", "gone"])]
    send(settings, settings.events_topic, records)
    send(settings, settings.rankings_topic, lists)
    write(settings, tmp_path)
    assert visitors(tmp_path, settings.events_topic) == {"gone": 2, "here": 1}
    say(settings, "gone", "withdrawn")
    later_ms = time.time_ns() // 1_000_000 + 5000
    send(settings, settings.events_topic, [(b"", event("gone", 9, later_ms), later_ms, 0)])
    run = write(settings, tmp_path)
    assert (run.forgotten, run.left_out) == (4, 1)
    for topic in (settings.events_topic, settings.rankings_topic):
        assert visitors(tmp_path, topic) == {"here": 1}
    assert [path for path in tmp_path.rglob("*.parquet") if "gone" in str(pq.read_table(path).to_pylist())] == []
    assert list((tmp_path / "_lake" / "partial").iterdir()) == []


def erase(settings: Settings, visitor: str, at_ms: int) -> None:
    ends = kafka_admin.end_offsets(bootstrap_of(settings), settings.events_topic)
    before = {str(partition): offset for partition, offset in ends.items()}
    records = {visitor: consent_record.Record("erased", at_ms, before)}
    consent_topic.send(bootstrap_of(settings), settings.consent_topic, records)


def test_an_erasure_reaches_compacted_files_and_spares_later_events(settings: Settings, tmp_path: Path) -> None:
    """`person erase` calls the copy, whether or not a writer runs."""
    send_events(settings, 1000)
    write(settings, tmp_path)
    remember(settings, str(tmp_path))
    copies = {copy.name: copy for copy in forget.copies(settings, bootstrap_of(settings))}
    copy = copies[f"lake {tmp_path}"]
    assert copy.holding(["v3", "nobody"]) == {"v3"}
    erase(settings, "v3", START_MS + 100 * HOUR_MS)
    assert copy.erase(["v3"]) == "100 rows of 1 ids"
    assert copy.holding(["v3"]) == set()
    assert len(places(tmp_path, settings.events_topic)) == 900
    later_ms = START_MS + 101 * HOUR_MS
    send(settings, settings.events_topic, [(b"v3", event("v3", 5000, later_ms), later_ms, 1)])
    assert write(settings, tmp_path).forgotten == 0
    assert visitors(tmp_path, settings.events_topic)["v3"] == 1


def test_a_refused_record_stays_without_its_content(settings: Settings, tmp_path: Path) -> None:
    send(settings, settings.events_topic, [(b"v1", b'{"visitor_id":"v1"}', START_MS, 0), (None, b"\xff", START_MS, 0)])
    write(settings, tmp_path)
    rows = ds.dataset(tmp_path / f"topic={settings.events_topic}", format="parquet").to_table().to_pylist()
    assert [(row["offset"], row["visitor_id"], row["value"]) for row in rows] == [(0, None, None), (1, None, None)]
    assert [row["refused"] for row in rows] == ["missing_field", "not_utf8"]


def test_a_list_is_traced_to_the_events_of_its_session(settings: Settings, tmp_path: Path) -> None:
    """The session begins after a pause of more than 30 minutes. Offset 4 is after the list; 3 is somebody else's."""
    minutes = [("v1", 0), ("v1", 31), ("v1", 40), ("v2", 41), ("v1", 50)]
    times = [START_MS + minute * 60_000 for _, minute in minutes]
    records = [
        (b"", event(name, number, times[number], item=f"i{number}"), times[number], 0)
        for number, (name, _) in enumerate(minutes)
    ]
    send(settings, settings.events_topic, records)
    write(settings.model_copy(update={"lake_compact_after_s": 600}), tmp_path)
    send(settings, settings.rankings_topic, [(b"", logged("v1", 0, 2, times[2], session_events=2), times[2], 1)])
    write(settings.model_copy(update={"lake_compact_after_s": 600}), tmp_path)
    lineage = trace(settings, Store(str(tmp_path), settings.state_dir), ["v1"], "home")
    assert (lineage.list_id, lineage.logged.partition, lineage.logged.offset) == ("l2", 1, 0)
    assert [(each.offset, each.item_id) for each in lineage.events] == [(1, "i1"), (2, "i2")]
    file = f"topic={settings.events_topic}/hour=2025-11-30T00/0-0-5.parquet"
    assert {each.file for each in lineage.events} == {file}
    assert (tmp_path / lineage.logged.file).is_file()
    with pytest.raises(DataError, match="no list of this visitor on the shelf 'home'"):
        trace(settings, Store(str(tmp_path), settings.state_dir), ["v2"], "home")


def test_a_topic_that_was_made_anew_is_refused(settings: Settings, tmp_path: Path) -> None:
    send_events(settings, 10)
    write(settings, tmp_path)
    Store(str(tmp_path), settings.state_dir).commit(settings.events_topic, {0: 5, 1: 6})
    with pytest.raises(DataError, match="up to offset 6 of partition 1, and the topic ends at 5"):
        write(settings, tmp_path)


def test_what_retention_took_unread_is_counted(settings: Settings, tmp_path: Path) -> None:
    send_events(settings, 10)
    write(settings, tmp_path)
    send_events(settings, 10)
    delete_before(settings, {0: 8, 1: 7})
    run = write(settings, tmp_path)
    assert run.deleted_unread[settings.events_topic] == 3 + 2
    assert run.written[settings.events_topic] == 2 + 3
