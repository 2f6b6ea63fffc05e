"""Ask for the consent of the visitors whom a file of events names, before history or training takes them.

A file has no place in the topic, so only an event's time is judged. Its visitors may stand in it by the shop's own ids
or by pseudonyms. Whatever is known under any of them counts, and the strictest verdict is the event's.
"""

from collections.abc import Mapping
from typing import Any, get_args

from jobs.cluster import runtime
from jobs.connect import consent_topic
from jobs.contract.consent import Consents, Verdict
from jobs.errors import ServiceError
from jobs.settings import Settings
from liveshelf.pseudonyms import Pseudonyms

NONE = "none"
NO_PLACE = -1, 0  # no erasure covers it, as they name partitions from 0
STRICTEST: tuple[Verdict, ...] = get_args(Verdict)  # the last one is


class Asked:
    """The consents of one place, and what was left out because of them."""

    def __init__(self, place: str, consents: Consents | None, keys: Pseudonyms | None) -> None:
        self._place, self._consents, self._keys = place, consents, keys
        self._ids: dict[str, list[str]] = {}
        self.left_out: dict[str, int] = {}  # visitor → events

    def verdict(self, event: Mapping[str, Any]) -> Verdict:
        """Return how an event of a file counts; "counts" for each if nobody is asked."""
        visitor = event["visitor_id"]
        if visitor not in self._ids:
            self._ids[visitor] = self._known(visitor)
        if self._consents is None:
            return "counts"
        verdicts = [self._consents.verdict(each, *NO_PLACE, event["event_time_ms"]) for each in self._ids[visitor]]
        found = max(verdicts, key=STRICTEST.index)
        if found != "counts":
            self.left_out[visitor] = self.left_out.get(visitor, 0) + 1
        return found

    def counts(self, event: Mapping[str, Any]) -> bool:
        return self.verdict(event) == "counts"

    def told(self) -> str:
        """Return a line that says whose consent was asked, and what was left out."""
        if not self._ids:
            return "consent: nobody's was asked, as the file names no visitors"
        if self._consents is None:
            return f"consent: nobody's was asked ({self._place}), so who withdrew or was erased is taken, too"
        left = f"{sum(self.left_out.values()):,} events of {len(self.left_out):,} of {len(self._ids):,} visitors"
        return f"consent: asked of {self._place}; left out for it: {left}"

    def _known(self, visitor: str) -> list[str]:
        """Return the ids of a visitor under which something was said, the one in the file if there is none."""
        ids = [visitor, *(self._keys.all_of(visitor) if self._keys else [])]
        return [each for each in ids if self._consents and self._consents.knows(each)] or [visitor]


def ask(settings: Settings, of: str) -> Asked:
    """Return the consents that stand in a Kafka: of the running system, of the address `of`, or none's if it is "none".

    Where no system runs and none is named, nobody is asked, because training needs no broker.
    Raises ServiceError if a Kafka that is named doesn't answer.
    """
    bootstrap = "" if of == NONE else of or runtime.current(settings).kafka_bootstrap
    keys = Pseudonyms.read(settings.pseudonym_keys) if settings.pseudonym_keys else None
    if not bootstrap:
        return Asked("--consent none" if of else "no Kafka runs here; --consent HOST:PORT names one", None, keys)
    try:
        consents = consent_topic.read(bootstrap, settings.consent_topic, settings.consent)
    except ServiceError as error:
        raise ServiceError(error.what, "liveshelf up, or --consent none to ask for nobody's consent") from error
    return Asked(f"topic {settings.consent_topic} on {bootstrap}", consents, keys)
