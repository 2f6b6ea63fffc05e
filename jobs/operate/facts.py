"""The contracts of item facts that hold in a system: those of the settings' topics, and of what its views read.

What views read was noted when they were applied, so that a command needn't import Feast.
"""

from pathlib import Path

import msgspec

from jobs.contract.items import FactContract, Kind, contracts
from jobs.features.fact_views import KINDS, RESERVED
from jobs.settings import Settings

Noted = dict[str, dict[str, str]]  # by topic and field: Feast's type


def path(settings: Settings) -> Path:
    """Return the file with the fields of facts that the applied views read."""
    return settings.state_dir.resolve() / "jobs" / "facts.json"


def contracts_of(settings: Settings) -> list[FactContract]:
    """Return the contracts of the topics `items` and `offers`, and of those that the applied views read beside them."""
    file = path(settings)
    noted = msgspec.json.decode(file.read_bytes(), type=Noted) if file.is_file() else {}
    own: dict[str, dict[str, Kind]] = {
        topic: {name: KINDS[dtype] for name, dtype in fields.items() if dtype in KINDS and name not in RESERVED}
        for topic, fields in noted.items()
    }
    return contracts(settings.items_topic, settings.offers_topic, own)
