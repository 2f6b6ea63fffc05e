"""Know the shop's items as their topics say them now, titles included, and hear of changes."""

from collections.abc import Sequence

from jobs.catalogue.change import merged
from jobs.catalogue.columns import Snapshot
from jobs.catalogue.follower import Follower
from jobs.connect import fact_topics
from jobs.contract.items import ID, FactContract, Fields

Item = Fields  # with the id


class Catalogue:
    """Hold all items by id. `version` grows with each change; `refresh` blocks while it reads.

    A follower hears of a change within 0.1 s. It keeps no titles, so the topics are read again then.
    """

    def __init__(self, bootstrap: str, contracts: Sequence[FactContract]) -> None:
        self._bootstrap, self._contracts = bootstrap, contracts
        self._follower = Follower(bootstrap, contracts).start()
        self._seen: Snapshot | None = None
        self.items: dict[str, Item] = {}
        self.changed: dict[str, int] = {}  # by id: the version that changed it
        self.version = 0
        self.refresh()

    @property
    def is_old(self) -> bool:
        """Return True if the topics have said more since the last `refresh`."""
        return self._follower.snapshot is not self._seen

    def refresh(self) -> None:
        """Read the topics again; raise ServiceError if Kafka doesn't answer."""
        seen = self._follower.snapshot
        known = {contract.topic: fact_topics.read(self._bootstrap, contract) for contract in self._contracts}
        facts = merged(self._contracts, known)
        items: dict[str, Item] = {fact.item_id: {ID: fact.item_id, **(fact.fields or {})} for fact in facts}
        changed = [one for one in items.keys() | self.items.keys() if items.get(one) != self.items.get(one)]
        self.version += bool(changed)
        self.changed |= dict.fromkeys(changed, self.version)
        self.items, self._seen = items, seen

    def since(self, version: int) -> list[Item]:
        """Return the items that changed after a version, those that are gone with their id alone."""
        ids = [item_id for item_id, changed in self.changed.items() if changed > version]
        return [self.items.get(item_id, {ID: item_id}) for item_id in ids]

    def close(self) -> None:
        self._follower.close()
