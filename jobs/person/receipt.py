"""The proof of an erasure: what was erased where, and what remains until when.

It names the person by a keyed hash, so only the owner of the key can tell whose it is.
"""

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from jobs.cluster.flink_config import RETAINED_CHECKPOINTS
from jobs.connect import kafka_admin
from jobs.features import offline
from jobs.person import traces
from jobs.person.ids import Visitor
from jobs.settings import Settings
from liveshelf import key_file


class Remains(msgspec.Struct, frozen=True):
    """Data that is still there, and until when (ms since 1970; None: until someone deletes it)."""

    where: str
    what: str
    until_ms: int | None


class Receipt(msgspec.Struct, frozen=True):
    """The proof. `subject` is the HMAC-SHA-256 of the visitor's id with the key beside the receipts."""

    subject: str
    at_ms: int
    seconds: float
    erased: dict[str, str]
    remains: list[Remains]


def folder(settings: Settings) -> Path:
    return settings.state_dir.resolve() / "receipts"


def subject(settings: Settings, visitor_id: str) -> str:
    """Return a visitor's name in receipts. The key is made once: 32 random bytes that only the owner can read."""
    key = key_file.made_once(folder(settings) / "key")
    return hmac.new(key, visitor_id.encode(), hashlib.sha256).hexdigest()


def subjects(settings: Settings, visitor: Visitor) -> list[str]:
    """Return the names that a visitor may have in receipts and in the audit log: by each id and pseudonym."""
    return [subject(settings, visitor_id) for visitor_id in visitor.sought]


def store(settings: Settings, receipt: Receipt) -> Path:
    path = folder(settings) / f"{receipt.at_ms}-{receipt.subject[:16]}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(receipt), indent=2))
    return path


def remaining(
    settings: Settings, bootstrap: str, at_ms: int, here_ms: int, checkpoints: Iterable[Path], longest_ms: int
) -> list[Remains]:
    """Return the data that no command can erase at once.

    `longest_ms` is the longest window of an item's or a category's view. `at_ms` is the erasure's time by the broker's
    clock, `here_ms` the same moment by this machine's, which dates files.
    """
    return [
        *_elsewhere(settings),
        *_topics(settings, bootstrap, at_ms),
        Remains(
            f"topic {settings.consent_topic}", "the erasure itself: id and time, or a replay would revive it", None
        ),
        *_checkpoints(settings, here_ms, checkpoints),
        Remains("state of items and categories", "a digest of the id, to count visitors", at_ms + longest_ms),
        Remains("state of deduplication", "digests of event ids", at_ms + 3 * settings.dedup_horizon_s * 1000),
        Remains("models", "what versions trained before have learned; the next training leaves the person out", None),
    ]


def _elsewhere(settings: Settings) -> list[Remains]:
    """Return the sources of visitors' training sets that aren't on this machine: nobody looked there."""
    what = "not looked at, as it isn't a file on this machine; erase the person's rows there yourself"
    return [
        Remains(f"batch source of {view.name}: {offline.told(view)}", what, None)
        for view in traces.views_of_visitors(settings)
        if offline.local_path(settings.feature_repo, view) is None
    ]


def _topics(settings: Settings, bootstrap: str, at_ms: int) -> list[Remains]:
    topics = (settings.events_topic, settings.dead_topic, settings.late_topic, settings.rankings_topic)
    retention = retention_ms(bootstrap, topics)
    what = "records from before; nothing that reads them counts them for the person any more"
    for_ever = f"{what}; the topic has no retention: kafka-configs.sh --alter --add-config retention.ms=…"
    return [
        Remains(f"topic {topic}", what, at_ms + kept_ms) if kept_ms >= 0 else Remains(f"topic {topic}", for_ever, None)
        for topic, kept_ms in retention.items()
    ]


def retention_ms(bootstrap: str, topics: Sequence[str]) -> dict[str, int]:
    """Return how long each topic keeps a record, -1 for ever. A broker may keep it a segment (`segment.ms`) longer.

    Raises ServiceError if the broker doesn't tell.
    """
    found = kafka_admin.configs(bootstrap, topics)
    return {topic: int(configs["retention.ms"]) for topic, configs in zip(topics, found, strict=True)}


def _checkpoints(settings: Settings, at_ms: int, newest: Iterable[Path]) -> list[Remains]:
    """Return checkpoints and savepoints from before. Running jobs replace theirs; others stay until deleted."""
    flink, running = settings.state_dir.resolve() / "flink", {path.parent.name for path in newest}
    soon_ms = at_ms + (RETAINED_CHECKPOINTS + 1) * settings.checkpoint_interval_ms
    remains = [Remains("checkpoints of running jobs", "those from before the erasure", soon_ms)]
    for folder_name, pattern in (("checkpoints", "*/chk-*"), ("savepoints", "savepoint-*")):
        for path in sorted((flink / folder_name).glob(pattern)):
            written_ms = int(path.stat().st_mtime * 1000)
            if written_ms < at_ms and path.parent.name not in running:
                age_h = (time.time() * 1000 - written_ms) / 3_600_000
                remains.append(
                    Remains(str(path), f"all state of {age_h:.1f} h ago; delete it, or go on from a newer one", None)
                )
    return remains


def as_document(receipt: Receipt, path: Path | None = None) -> Mapping[str, object]:
    """Return the receipt and its file for `--json`."""
    return msgspec.to_builtins(receipt) | {"receipt": str(path) if path else ""}


def until(remains: Remains) -> str:
    """Return for a person how long something remains."""
    if remains.until_ms is None:
        return "until it is deleted"
    return f"until {datetime.fromtimestamp(remains.until_ms / 1000, UTC):%Y-%m-%d %H:%M UTC}"
