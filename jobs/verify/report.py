"""The result of `verify`: counts by feature and by kind, the first differences in full, and the slice's balance."""

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import Literal

import msgspec

from jobs.verify import fixes

KEPT_PER_NAME = 5  # differences in full; one broken feature mustn't push out the others
Kind = Literal[
    "missing_row",
    "extra_row",
    "older_row",
    "newer_row",
    "wrong_value",
    "outlived",
    "missing_list",
    "extra_list",
    "older_list",
    "newer_list",
    "wrong_list",
    "consent_list",
    "wrong_log",
    "missing_letter",
    "extra_letter",
    "wrong_letter",
    "wrong_gate",
]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference: `name` is "view:feature", "list:…", "shelf:…", "dead:…", "late:…" or "keys:…"."""

    name: str
    entity: str
    expected: object
    found: object
    kind: Kind


@dataclass(slots=True)
class Count:
    """The number of values compared under one name.

    Of those that differ, `missing` weren't found, and `extra` weren't expected.
    """

    compared: int = 0
    equal: int = 0
    missing: int = 0
    extra: int = 0

    @property
    def mismatched(self) -> int:
        return self.compared - self.equal


@dataclass
class Report:
    """Filled by the comparisons. `counts` is the slice's balance, `watermark_ms` the event time that was reached.

    `behind` says by job how many records it hadn't read, None if it never said how far it was. `not_compared` counts
    values by the reason why nothing can be said about them. `lost` says by partition before which offset the topic's
    retention has taken records. `unread_consents` counts consent records that weren't understood, and `unread` names
    the last of them. `lists` says by shelf and owner whether all of a list is right.
    """

    by_name: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    by_kind: Counter[Kind] = field(default_factory=Counter)
    lists: dict[tuple[str, str], bool] = field(default_factory=dict, repr=False)
    mismatches: list[Mismatch] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    refused_by_reason: dict[str, int] = field(default_factory=dict)
    not_compared: Counter[str] = field(default_factory=Counter)
    behind: dict[str, int | None] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)
    unread_consents: int = 0
    unread: list[str] = field(default_factory=list)
    watermark_ms: int | None = None
    seconds: float = 0.0

    def compare(
        self,
        name: str,
        entity: str,
        expected: object,
        found: object,
        equal: bool | None = None,
        *,
        kind: Kind = "wrong_value",
        of: tuple[str, str] | None = None,
    ) -> None:
        """Count one comparison. `equal` is given where it is more than `==`; a difference is of this `kind`.

        `of` names the shelf and the owner of the list that the value belongs to.
        """
        equal = expected == found if equal is None else equal
        if of is not None:
            self.lists[of] = self.lists.get(of, True) and equal
        count = self.by_name[name]
        count.compared += 1
        count.equal += equal
        if equal:
            return
        count.missing += found in (None, "")
        count.extra += expected is None
        self.by_kind[kind] += 1
        if count.mismatched <= KEPT_PER_NAME:
            self.mismatches.append(Mismatch(name, entity, expected, found, kind))

    @property
    def compared(self) -> int:
        return sum(count.compared for count in self.by_name.values())

    @property
    def equal(self) -> int:
        return sum(count.equal for count in self.by_name.values())

    @property
    def mismatched(self) -> int:
        return self.compared - self.equal

    @property
    def ok(self) -> bool:
        """Return True if something was compared and nothing differs."""
        return self.compared > 0 and self.mismatched == 0

    def by_shelf(self) -> dict[str, dict[str, int]]:
        """Return how many lists of each shelf were compared, and how many of them are right."""
        counts: dict[str, dict[str, int]] = {}
        for (shelf, _), is_right in sorted(self.lists.items()):
            count = counts.setdefault(shelf, {"compared": 0, "equal": 0, "mismatched": 0})
            count["compared"] += 1
            count["equal" if is_right else "mismatched"] += 1
        return counts

    def fixes(self) -> list[str]:
        """Return a way out for each kind of difference, the most frequent kind first; none if nothing differs."""
        return [] if self.ok else fixes.of(self.by_kind, self.behind, self.lost, self.compared)

    def to_json(self) -> str:
        """Return one JSON object; `refused`, `late` and the like are in `counts`."""
        by_feature = {
            name: {"compared": count.compared, "equal": count.equal, "mismatched": count.mismatched}
            for name, count in sorted(self.by_name.items())
        }
        document = {
            "ok": self.ok,
            "compared": self.compared,
            "equal": self.equal,
            "mismatched": self.mismatched,
            "by_feature": by_feature,
            "by_shelf": self.by_shelf(),
            "by_kind": dict(self.by_kind.most_common()),
            "mismatches": [asdict(mismatch) for mismatch in self.mismatches],
            "fixes": self.fixes(),
            "not_compared": dict(self.not_compared),
            "behind": self.behind,
            "counts": self.counts,
            "refused_by_reason": self.refused_by_reason,
            "unread_consents": self.unread_consents,
            "unread": self.unread,
            "watermark_ms": self.watermark_ms,
            "seconds": round(self.seconds, 3),
        }
        return msgspec.json.encode(document).decode()
