"""The published lists in Redis and their log in Kafka, against the oracle's rankings."""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from jobs.connect.kafka_read import Position, Record
from jobs.contract.shelf import read_logged
from jobs.errors import DataError
from jobs.verify.lists import Ranked, Session, known_events
from jobs.verify.report import Report
from jobs.verify.sample import Sample

if TYPE_CHECKING:
    import redis

    from models.serving.bundle import Bundle

CHUNK = 1000
# float32 sums in another batch differ by up to 1e-5 (see GOLDEN_TOLERANCE in models/serving/bundle.py), rounding adds 5e-7.
SCORE_TOLERANCE = 1e-4


class LogRecord(msgspec.Struct):
    """What the log says beside the list itself: the event that it answers, and what the model was fed."""

    visitor_id: str
    shelf: str
    partition: int
    offset: int
    context: list[float]
    context_features: list[str]
    session_items: list[str]


def newest_logged(records: Iterable[Record], shelf: str, forgotten: Collection[Position] = ()) -> dict[str, LogRecord]:
    """Each visitor's log record with the highest partition and offset of its event; of equal ones the last that was logged.

    Records that answer events at the places in `forgotten` are left to the topic's retention and not looked at.
    Raises DataError for a record that isn't one.
    """
    newest: dict[str, LogRecord] = {}
    for record in records:
        try:
            logged = read_logged(record.value, LogRecord)
        except msgspec.DecodeError as error:
            place = f"partition {record.partition}, offset {record.offset}"
            what = f"the rankings log holds at {place} what isn't its record: {error}"
            raise DataError(what, "check rankings_topic") from error
        if (logged.partition, logged.offset) in forgotten:
            continue
        before = newest.get(logged.visitor_id, logged)
        newer = (logged.partition, logged.offset) >= (before.partition, before.offset)
        if logged.shelf == shelf and newer:
            newest[logged.visitor_id] = logged
    return newest


def shelf_key(visitor: str, shelf: str) -> str:
    """The Redis key of a visitor's list; the braces are Redis' hash tag."""
    return f"shelf:{{{visitor}}}:{shelf}"


def read_lists(client: "redis.Redis", visitors: Iterable[str], shelf: str) -> dict[str, bytes]:
    """The stored values by visitor; who has none isn't in it."""
    ordered, stored = list(visitors), {}
    for begin in range(0, len(ordered), CHUNK):
        chunk = ordered[begin : begin + CHUNK]
        values = client.mget([shelf_key(visitor, shelf) for visitor in chunk])
        stored |= {visitor: value for visitor, value in zip(chunk, values, strict=True) if value is not None}
    return stored


def compare_log(
    report: Report, sessions: Mapping[str, Session], logged: Mapping[str, LogRecord], bundle: "Bundle"
) -> None:
    """The newest record of each visitor is that of its last event, and was made from the same items."""
    for visitor, session in sessions.items():
        record = logged.get(visitor)
        report.compare("log:position", visitor, session.position, (record.partition, record.offset) if record else None)
        items = [event["item_id"] for event in known_events(session, bundle)]
        report.compare("log:session_items", visitor, items, record.session_items if record else None)
        features = record.context_features if record else None
        report.compare("log:context_features", visitor, bundle.context_features, features)
    for visitor in logged.keys() - sessions.keys():
        report.compare("log:position", visitor, None, (logged[visitor].partition, logged[visitor].offset))


def compare_lists(
    report: Report,
    sessions: Mapping[str, Session],
    rankings: Mapping[str, Ranked],
    stored: Mapping[str, bytes],
    *,
    model: str,
    list_size: int,
) -> None:
    """Each visitor's stored list with the oracle's; items and scores only where `rankings` has the visitor."""
    for visitor, session in sessions.items():
        value = stored.get(visitor, b"")
        found = _decode(value)
        _compare_header(report, visitor, session, value)
        expected = {
            "model": model,
            "event_time_ms": session.event_time_ms,
            "session_events": len(session.events),
            "list_id": f"{session.position[0]}-{session.position[1]}",
        }
        for name, each in expected.items():
            report.compare(f"list:{name}", visitor, each, found.get(name))
        ranked = rankings.get(visitor)
        if ranked:
            report.compare("list:fallback", visitor, ranked.fallback, found.get("fallback", "absent"))
            _compare_ranking(report, visitor, ranked, found, list_size)


def compare_without_consent(
    report: Report, visitors: Iterable[str], stored: Mapping[str, bytes], bundle: "Bundle", list_size: int
) -> None:
    """Who didn't consent finds the popularity list, marked so, and nothing of a session in it."""
    popular = [item for item in bundle.popular if not bundle.names or item in bundle.names][:list_size]
    for visitor in visitors:
        found = _decode(stored.get(visitor, b""))
        report.compare("no_consent:fallback", visitor, "no_consent", found.get("fallback"))
        report.compare("no_consent:items", visitor, popular, found.get("items"))
        report.compare("no_consent:session_events", visitor, 0, found.get("session_events"))


def model_of(value: bytes) -> str:
    """The version that a stored list names; "" for none."""
    return str(_decode(value).get("model", ""))


def compare_list_keys(
    report: Report, client: "redis.Redis", visitors: Iterable[str], shelf: str, sample: Sample
) -> None:
    """Every list of this shelf and of the sample that stands in Redis belongs to a visitor of the slice (SCAN)."""
    expected = {shelf_key(visitor, shelf) for visitor in visitors}
    for raw in client.scan_iter(match=b"shelf:*", count=1000):
        key = raw.decode()
        visitor = key.removeprefix("shelf:{").removesuffix(f"}}:{shelf}")
        if key.endswith(f"}}:{shelf}") and sample.holds(visitor):
            report.compare("keys:shelf", key, key if key in expected else None, key)


def same_items(ranked: Ranked, found: list[str], list_size: int) -> bool:
    """The same items, where two that the oracle scores nearly the same may stand for each other.

    That covers swaps within the list and at its end. A fallback has no scores, so its order is exact.
    """
    expected = list(ranked.items)[:list_size]
    if found == expected or ranked.fallback:
        return found == expected
    if len(found) != len(expected) or len(set(found)) != len(found) or not set(found) <= ranked.items.keys():
        return False
    pairs = zip(found, expected, strict=True)
    return all(abs(ranked.items[here] - ranked.items[there]) < SCORE_TOLERANCE for here, there in pairs)


def same_scores(ranked: Ranked, items: list[str], scores: list[float]) -> bool:
    """Each listed item's score is the oracle's; items that the oracle doesn't know are `same_items`' business."""
    return len(items) == len(scores) and all(
        abs(score - ranked.items.get(item, score)) <= SCORE_TOLERANCE for item, score in zip(items, scores, strict=True)
    )


def _compare_header(report: Report, visitor: str, session: Session, value: bytes) -> None:
    """The value begins with its version, where the compare-and-set script looks for it."""
    expected = f'{{"version":"{session.position[0]:04d}{session.position[1]:016d}",'
    report.compare("list:version", visitor, expected, value[: len(expected)].decode(errors="replace"))


def _compare_ranking(report: Report, visitor: str, ranked: Ranked, found: dict, list_size: int) -> None:
    items, scores = found.get("items"), found.get("scores")
    expected = dict(list(ranked.items.items())[:list_size])
    equal = items is not None and same_items(ranked, items, list_size)
    report.compare("list:items", visitor, list(expected), items, equal)
    equal = items is not None and scores is not None and same_scores(ranked, items, scores)
    report.compare("list:scores", visitor, list(expected.values()), scores, equal)


def _decode(value: bytes) -> dict:
    """The list's fields; none for a list that is absent or isn't a JSON object."""
    try:
        found = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
