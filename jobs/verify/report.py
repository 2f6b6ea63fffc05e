"""What `verify` found: counts by feature, the first differences in full, and the slice's balance."""

from collections import defaultdict
from dataclasses import asdict, dataclass, field

import msgspec

KEPT_PER_NAME = 5  # differences in full; one broken feature mustn't push out the others


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference: `name` is "view:feature", "list:…", "dead:…", "late:…" or "keys:…"."""

    name: str
    entity: str
    expected: object
    found: object


@dataclass(slots=True)
class Count:
    """How many values were compared under one name; of those that differ, how many weren't there or shouldn't be."""

    compared: int = 0
    equal: int = 0
    missing: int = 0
    extra: int = 0

    @property
    def mismatched(self) -> int:
        return self.compared - self.equal


@dataclass
class Report:
    """Filled by the comparisons; `counts` is the slice's balance, `watermark_ms` how far event time has come."""

    by_name: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    mismatches: list[Mismatch] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    refused_by_reason: dict[str, int] = field(default_factory=dict)
    watermark_ms: int | None = None
    seconds: float = 0.0

    def compare(self, name: str, entity: str, expected: object, found: object, equal: bool | None = None) -> None:
        """Counts one comparison; `equal` where it is more than `==`."""
        equal = expected == found if equal is None else equal
        count = self.by_name[name]
        count.compared += 1
        count.equal += equal
        count.missing += not equal and found in (None, "")
        count.extra += not equal and expected is None
        if not equal and count.mismatched <= KEPT_PER_NAME:
            self.mismatches.append(Mismatch(name, entity, expected, found))

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
        """Something was compared and nothing differs."""
        return self.compared > 0 and self.mismatched == 0

    def to_json(self) -> str:
        """One JSON object; `refused`, `late` and the like are in `counts`."""
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
            "mismatches": [asdict(each) for each in self.mismatches],
            "counts": self.counts,
            "refused_by_reason": self.refused_by_reason,
            "watermark_ms": self.watermark_ms,
            "seconds": round(self.seconds, 3),
        }
        return msgspec.json.encode(document).decode()
