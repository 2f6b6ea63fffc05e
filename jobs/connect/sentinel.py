"""A Redis that Sentinel watches: a client asks for the primary each time it connects, and follows it when it moves."""

from collections.abc import Sequence
from typing import Any

import redis
from redis.sentinel import Sentinel, SentinelConnectionPool

ASK_S = 2.0  # Sentinels answer in a millisecond, and the next one is asked where one doesn't


class PrimaryClient(redis.Redis):
    """A client of the primary. Closing it also closes its connections to the Sentinels."""

    def close(self) -> None:
        super().close()
        pool = self.connection_pool
        assert isinstance(pool, SentinelConnectionPool), "Sentinel makes such pools"
        for each in pool.sentinel_manager.sentinels:
            each.close()


def primary_client(servers: Sequence[tuple[str, int]], master: str, **options: Any) -> redis.Redis:
    """Return a client of the primary that the Sentinels at `servers` call `master`.

    They are asked without a user, over TLS where `options` say `ssl`. The client raises MasterNotFoundError, a
    ConnectionError, while none of them knows a primary.
    """
    tls = {name: value for name, value in options.items() if name.startswith("ssl")}
    asked = {"socket_timeout": ASK_S, "socket_connect_timeout": ASK_S, **tls}
    found: redis.Redis = Sentinel(servers, sentinel_kwargs=asked).master_for(
        master, redis_class=PrimaryClient, **options
    )
    return found
