"""Answer why an item stands in a visitor's list, or why it doesn't, as `liveshelf why` does."""

import time
from collections.abc import Sequence
from typing import Any

from jobs.cluster.runtime import Runtime
from jobs.contract.items import FactContract
from jobs.errors import DataError
from jobs.settings import Settings
from jobs.why import tell
from jobs.why.find import find
from jobs.why.reasons import Why

LOGGED_LIMIT_S = 12.0  # a list is in the log once a checkpoint is complete: four seconds in the demo, ten by default
LOOK_AGAIN_S = 0.5


class Explainer:
    """Explains the lists of a running system."""

    def __init__(self, settings: Settings, running: Runtime, contracts: Sequence[FactContract]) -> None:
        self._settings, self._running, self._contracts = settings, running, list(contracts)

    def explain(self, visitor: str, shelf: str, item: str) -> dict[str, Any]:
        """Return the reason in words and as a document; raise LiveshelfError if there is nothing to explain."""
        why = self._why(visitor, shelf)
        reason = why.of(item)
        return {"text": tell.text(why, reason), "why": tell.document(reason)}

    def _why(self, visitor: str, shelf: str) -> Why:
        """Return what explains the visitor's list, once its record is in the log."""
        deadline_s = time.monotonic() + LOGGED_LIMIT_S
        while True:
            try:
                return Why(find(self._settings, self._running, [visitor], shelf, self._contracts))
            except DataError as error:
                if "holds no record" not in error.what or time.monotonic() > deadline_s:
                    raise
            time.sleep(LOOK_AGAIN_S)
