"""Of which visitors anything is known: only they can be erased, and get a receipt."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from jobs.cluster.runtime import Runtime
from jobs.connect import addresses, consent_topic
from jobs.connect.kafka_read import stream
from jobs.contract.consent import Consents
from jobs.contract.events import visitor_of
from jobs.contract.letters import Letter
from jobs.flow.checkpoint import UnknownLayoutError
from jobs.person import traces
from jobs.person.ids import Visitor
from jobs.settings import Settings


def heard_of(
    settings: Settings,
    runtime: Runtime,
    consents: Consents,
    checkpoints: Sequence[Path],
    visitors: Sequence[Visitor],
) -> set[str]:
    """Return the ids under which anything is known: consent, a list, features, state, rows of files, records of topics.

    Topics are read last, and not at all if each id was found before. Raises ServiceError if a service doesn't answer.
    """
    ids = [visitor_id for visitor in visitors for visitor_id in visitor.sought]
    found = stored(settings, runtime, consents, ids)
    with suppress(UnknownLayoutError, FileNotFoundError):
        found |= traces.in_checkpoints(settings, checkpoints, ids)
    for path in traces.offline_files(settings):
        found |= {row[traces.PERSON] for row in traces.offline_rows(path, ids)}
    missing = _missing(visitors, found)
    for visitor_id in _named(settings, runtime.kafka_bootstrap) if missing else ():
        if visitor_id in missing:
            found.add(visitor_id)
            missing = _missing(visitors, found)
        if not missing:
            break
    return found


def older(settings: Settings, runtime: Runtime, visitors: Sequence[Visitor]) -> set[str]:
    """Return the ids from before the keys under which anything is known, if only an event.

    Raises ServiceError as `heard_of` does.
    """
    sought = [Visitor(each.given, (), each.older) for each in visitors if each.older]
    if not sought:
        return set()
    consents = consent_topic.read(runtime.kafka_bootstrap, settings.consent_topic, settings.consent)
    return heard_of(settings, runtime, consents, [], sought)


def stored(settings: Settings, runtime: Runtime, consents: Consents, ids: Sequence[str]) -> set[str]:
    """Return the ids of whom consent is known, or of whom Redis holds something, as far as it runs."""
    found = {visitor_id for visitor_id in ids if consents.of(visitor_id)}
    if not runtime.redis_url:
        return found
    with addresses.redis_client(runtime.redis_url) as client:
        return found | traces.in_redis(settings, client, ids)


def _missing(visitors: Sequence[Visitor], found: set[str]) -> set[str]:
    """Return the ids that must still be looked for: those of visitors of whom nothing was found, and all older ones."""
    unknown = {visitor_id for each in visitors if not found.intersection(each.sought) for visitor_id in each.sought}
    older = {visitor_id for each in visitors for visitor_id in each.older}
    return (unknown | older) - found


def _named(settings: Settings, bootstrap: str) -> Iterator[str | None]:
    """Yield the visitor whom each record of the topics names."""
    for topic in (settings.events_topic, settings.rankings_topic):
        for record in stream(bootstrap, topic, must_exist=False):
            yield visitor_of(record.value)
    for topic in (settings.dead_topic, settings.late_topic):
        for record in stream(bootstrap, topic, must_exist=False):
            with suppress(msgspec.DecodeError):  # it isn't a letter
                yield visitor_of(msgspec.json.decode(record.value or b"", type=Letter).bytes)
