"""Compare the lists in Redis and their log in Kafka with the oracle's rankings."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from jobs.connect.kafka_read import Position
from jobs.verify.expiry import Fate
from jobs.verify.lists import Ranked, Session, known_events
from jobs.verify.report import Kind, Report
from jobs.verify.sample import Sample
from jobs.verify.shelf_log import LogRecord

if TYPE_CHECKING:
    import redis

    from models.serving.bundle import Bundle

CHUNK = 1000
BY_TTL = "may have expired, and wasn't found"
# Sums of float32 in another batch differ by up to 1e-5 (see GOLDEN_TOLERANCE in models/serving/bundle.py), and rounding
# adds 5e-7.
SCORE_TOLERANCE = 1e-4


def shelf_key(visitor: str, shelf: str) -> str:
    """Return the Redis key of a visitor's list. The braces are Redis' hash tag."""
    return f"shelf:{{{visitor}}}:{shelf}"


def read_lists(client: "redis.Redis", visitors: Iterable[str], shelf: str) -> dict[str, bytes]:
    """Return the stored values by visitor. A visitor without a list isn't in it."""
    ordered, stored = list(visitors), {}
    for begin in range(0, len(ordered), CHUNK):
        chunk = ordered[begin : begin + CHUNK]
        values = client.mget([shelf_key(visitor, shelf) for visitor in chunk])
        stored |= {visitor: value for visitor, value in zip(chunk, values, strict=True) if value is not None}
    return stored


def compare_log(
    report: Report,
    sessions: Mapping[str, Session],
    logged: Mapping[str, LogRecord],
    bundle: "Bundle",
    shelf: str = "home",
) -> None:
    """Check that each visitor's newest record answers the visitor's last event and was made from the same items."""
    for visitor, session in sessions.items():
        record = logged.get(visitor)
        place = record.place if record else None
        wanted = place if place in session.ends else session.position
        items = [event["item_id"] for event in known_events(session, bundle)]
        expected = {
            "position": (wanted, place),
            "session_items": (items, record.session_items if record else None),
            "context_features": (bundle.context_features, record.context_features if record else None),
        }
        for name, (right, found) in expected.items():
            report.compare(f"log:{name}", visitor, right, found, kind="wrong_log", of=(shelf, visitor))
    for visitor in logged.keys() - sessions.keys():
        report.compare("log:position", visitor, None, logged[visitor].place, kind="wrong_log")


def compare_lists(
    report: Report,
    sessions: Mapping[str, Session],
    rankings: Mapping[str, Ranked],
    stored: Mapping[str, bytes],
    fates: Mapping[str, Fate],
    *,
    model: str,
    list_size: int,
    shelf: str = "home",
) -> None:
    """Compare each visitor's stored list with the oracle's; items and scores only where `rankings` has the visitor.

    A list that has outlived its time to live must be absent; one whose time is nearly over is compared if it is there.
    """
    for visitor, session in sessions.items():
        value = stored.get(visitor, b"")
        if not must_stand(report, visitor, value, fates.get(visitor, "stands"), shelf):
            continue
        found, of = decode(value), (shelf, visitor)
        position = _answered(session, found)
        kind = compare_header(report, visitor, position, value, shelf)
        expected = {
            "model": model,
            "event_time_ms": session.event_time_ms,
            "session_events": len(session.events),
            "list_id": f"{position[0]}-{position[1]}",
        }
        for name, wanted in expected.items():
            report.compare(f"list:{name}", visitor, wanted, found.get(name), kind=kind, of=of)
        ranked = rankings.get(visitor)
        if ranked:
            fallback = found.get("fallback", "absent")
            report.compare("list:fallback", visitor, ranked.fallback, fallback, kind=kind, of=of)
            _compare_ranking(report, of, ranked, found, list_size, kind)


def must_stand(report: Report, visitor: str, value: bytes, fate: Fate, shelf: str) -> bool:
    """Return True if a list is to be compared: it must stand, or it may and does."""
    if fate == "gone":
        found = value.decode(errors="replace") or None
        report.compare("list:ttl", visitor, None, found, kind="outlived", of=(shelf, visitor))
        return False
    if fate == "either" and not value:
        report.not_compared[BY_TTL] += 1
        return False
    return True


def compare_without_consent(
    report: Report,
    fates: Mapping[str, Fate],
    stored: Mapping[str, bytes],
    bundle: "Bundle",
    list_size: int,
    shelf: str = "home",
) -> None:
    """Check that visitors without consent have the popularity list, marked so, with nothing of a session in it."""
    popular = [item for item in bundle.popular if not bundle.names or item in bundle.names][:list_size]
    for visitor, fate in fates.items():
        value = stored.get(visitor, b"")
        if not must_stand(report, visitor, value, fate, shelf):
            continue
        found = decode(value)
        expected = {"fallback": "no_consent", "items": popular, "session_events": 0}
        for name, wanted in expected.items():
            value_found, of = found.get(name), (shelf, visitor)
            report.compare(f"no_consent:{name}", visitor, wanted, value_found, kind="consent_list", of=of)


def model_of(value: bytes) -> str:
    """Return the model's version that a stored list names, "" for none."""
    return str(decode(value).get("model", ""))


def compare_list_keys(
    report: Report, client: "redis.Redis", fates: Mapping[str, Fate], shelf: str, sample: Sample
) -> None:
    """Check that every list in Redis, of this shelf and of the sample, belongs to a visitor who may have one (SCAN)."""
    expected = {shelf_key(visitor, shelf): fate for visitor, fate in fates.items()}
    for raw in client.scan_iter(match=b"shelf:*", count=1000):
        key = raw.decode()
        visitor = key.removeprefix("shelf:{").removesuffix(f"}}:{shelf}")
        if key.endswith(f"}}:{shelf}") and sample.holds(visitor):
            kind: Kind = "outlived" if expected.get(key) == "gone" else "extra_list"
            may_stand = expected.get(key) in ("stands", "either")
            report.compare("keys:shelf", key, key if may_stand else None, key, kind=kind)


def same_items(ranked: Ranked, found: list[str], list_size: int) -> bool:
    """Return True if the items are the same; two that the oracle scores nearly alike may stand for each other.

    They may have changed places within the list or at its end. A fallback has no scores, so its order is exact.
    """
    expected = list(ranked.items)[:list_size]
    if found == expected or ranked.fallback:
        return found == expected
    if len(found) != len(expected) or len(set(found)) != len(found) or not set(found) <= ranked.items.keys():
        return False
    pairs = zip(found, expected, strict=True)
    return all(abs(ranked.items[here] - ranked.items[there]) < SCORE_TOLERANCE for here, there in pairs)


def same_scores(ranked: Ranked, items: list[str], scores: list[float]) -> bool:
    """Return True if each item has the oracle's score. Items that the oracle doesn't list aren't looked at here."""
    return len(items) == len(scores) and all(
        abs(score - ranked.items.get(item, score)) <= SCORE_TOLERANCE for item, score in zip(items, scores, strict=True)
    )


def _answered(session: Session, found: dict) -> Position:
    """Return the event that the list must answer: the newest, or the newest of another partition if it says that one.

    Nobody knows which of two partitions' events the job read last.
    """
    others = (place for place in session.ends if f"{place[0]}-{place[1]}" == found.get("list_id"))
    return next(others, session.position)


def compare_header(report: Report, visitor: str, position: Position, value: bytes, shelf: str) -> Kind:
    """Check that the value begins with its version, where the compare-and-set script looks for it.

    Return the kind of whatever else differs in this list.
    """
    expected = f'{{"version":"{position[0]:04d}{position[1]:016d}",'
    found = value[: len(expected)].decode(errors="replace")
    kind: Kind = "wrong_list"
    if not value:
        kind = "missing_list"
    elif found[:12] == expected[:12] and found[12:32] != expected[12:32]:  # 20 digits, so texts have their order
        kind = "older_list" if found < expected else "newer_list"
    report.compare("list:version", visitor, expected, found, kind=kind, of=(shelf, visitor))
    return kind


def _compare_ranking(
    report: Report, of: tuple[str, str], ranked: Ranked, found: dict, list_size: int, kind: Kind
) -> None:
    visitor = of[1]
    items, scores = found.get("items"), found.get("scores")
    expected = dict(list(ranked.items.items())[:list_size])
    equal = items is not None and same_items(ranked, items, list_size)
    report.compare("list:items", visitor, list(expected), items, equal, kind=kind, of=of)
    equal = items is not None and scores is not None and same_scores(ranked, items, scores)
    report.compare("list:scores", visitor, list(expected.values()), scores, equal, kind=kind, of=of)


def decode(value: bytes) -> dict:
    """Return the list's fields; none for a list that is absent or isn't a JSON object."""
    try:
        document = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return {}
    return document if isinstance(document, dict) else {}
