"""The topic, the definitions, the models and the stores that one `verify` looks at."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import redis

from jobs.settings import Settings
from jobs.verify.sample import Sample
from jobs.verify.views import View

if TYPE_CHECKING:
    from feast import FeatureStore

    from jobs.verify.versions import Versions


class Addresses(Protocol):
    """The services' addresses, as in `jobs.cluster.runtime.Runtime`."""

    kafka_bootstrap: str
    redis_url: str


@dataclass(frozen=True)
class Checked:
    """A topic, the definitions, the models and the stores. Only what events from `since` on changed is compared."""

    settings: Settings
    runtime: Addresses
    topic: str
    since: Mapping[int, int] | None
    store: "FeatureStore"
    views: list[View]
    facts: list[View]
    versions: "Versions"
    client: redis.Redis
    sample: Sample


def now_ms() -> int:
    return time.time_ns() // 1_000_000
