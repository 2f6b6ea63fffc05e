"""The contracts of item facts that hold in a system: those of the settings' topics, and of what its views read."""

from jobs.contract.items import FactContract, contracts
from jobs.settings import Settings


def contracts_of(settings: Settings) -> list[FactContract]:
    """Return the contracts of the topics `items` and `offers`."""
    return contracts(settings.items_topic, settings.offers_topic)
