"""Say who sent a request."""

from dataclasses import dataclass

from jobs.collect.networks import Network


@dataclass(frozen=True)
class Source:
    """Who sent a request: the name of the key, and the networks of the address. A shop's server counts by its key."""

    key: str
    networks: tuple[Network, ...]

    @property
    def is_server(self) -> bool:
        return not self.networks
