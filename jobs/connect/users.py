"""The users of the `secure` profile and their rights: one table for Redis, one for Kafka.

`admin` may do everything, in both: it is what `liveshelf up`, `apply` and `verify` work with.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jobs.errors import SettingsError
from jobs.settings import Settings

ADMIN, CLI, COLLECTOR, JOB, APP = "admin", "cli", "collector", "job", "app"
KAFKA_USERS = (ADMIN, CLI, COLLECTOR, "features", "rankings")

# The keys are lists (those of a canary are no app's), the gate, and Feast's hashes, whose names end with the project's.
# The commands are those that the scripts, the ranker and a reader send (SELECT for another database than 0). Redis 6
# can't limit a key to reading, so the commands do it.
READ = "+get +mget +hget +hmget +hgetall +exists +smembers +smismember +type +ttl +pttl +ping +select"
WRITE = "+evalsha +eval +getrange +set +sadd +srem +scard +hset +hdel +hkeys +pexpire +pexpireat +time"
REDIS_USERS = {ADMIN: "~* &* +@all", JOB: f"~shelf-shadow:* {{keys}} {READ} {WRITE}", APP: f"{{keys}} {READ}"}


def redis_acl(hashed: Mapping[str, str], project: str) -> str:
    """Return Redis' ACL file. `hashed` maps users to the SHA-256 of their passwords. `project` is Feast's.

    Nobody but these users gets in. Raise `SettingsError` for a project whose name is more than a name here.
    """
    if not re.fullmatch(r"[\w-]+", project, re.ASCII):
        raise SettingsError(
            f"the project {project!r} of feature_store.yaml can't stand in Redis' rights",
            "name it with letters, digits, _ and -",
        )
    keys = f"~shelf:* ~*{project}"
    lines = [
        f"user {user} on resetchannels #{hashed[user]} {rule.format(keys=keys)}" for user, rule in REDIS_USERS.items()
    ]
    return "\n".join(["user default off", *lines, ""])


GROUPS = {"features": "liveshelf-features", "rankings": "liveshelf-rankings"}  # consumer groups
CANARY_GROUP = "liveshelf-canary"  # of a rankings job beside the live one


class Right(NamedTuple):
    """A Kafka user's right to do `operations` with the topics, or consumer groups, of these names."""

    user: str
    kind: str  # "topic" or "group"
    names: tuple[str, ...]
    operations: tuple[str, ...]


def kafka_rights(settings: Settings, fact_topics: Iterable[str] = ()) -> list[Right]:
    """Return the rights that `admin` grants. A user who isn't named here may do nothing.

    `fact_topics` are all topics of item facts; those of the settings needn't be named.
    """
    events, rankings, letters = (
        settings.events_topic,
        settings.rankings_topic,
        (settings.dead_topic, settings.late_topic),
    )
    consent = settings.consent_topic
    facts = tuple(dict.fromkeys((settings.items_topic, settings.offers_topic, *fact_topics)))
    return [
        Right("features", "topic", (events, consent), ("READ",)),
        Right("features", "topic", facts, ("READ",)),
        Right("features", "topic", (*letters, settings.items_dead_topic), ("WRITE",)),
        Right("features", "group", (GROUPS["features"],), ("READ",)),
        Right("rankings", "topic", (events, consent, *facts), ("READ",)),
        Right("rankings", "topic", (rankings, settings.trends_topic), ("WRITE",)),
        Right("rankings", "group", (GROUPS["rankings"], CANARY_GROUP), ("READ",)),
        Right(COLLECTOR, "topic", (events,), ("WRITE",)),
        Right(COLLECTOR, "topic", (consent,), ("READ", "WRITE")),  # what another collector wrote
        Right(CLI, "topic", (events, consent, *facts), ("READ", "WRITE")),
        Right(CLI, "topic", (*letters, settings.items_dead_topic, rankings), ("READ",)),
        Right(
            CLI, "topic", (events, consent, *letters, rankings, *facts), ("DESCRIBE_CONFIGS",)
        ),  # how long they keep records
        Right(CLI, "group", ("liveshelf-verify",), ("READ",)),
        Right(CLI, "group", tuple(GROUPS.values()), ("DESCRIBE",)),
    ]
