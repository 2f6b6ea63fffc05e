"""Start the collector, and stop it so that no request under way is lost."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from jobs.collect import access, deliver
from jobs.collect.access import WriteKeys
from jobs.collect.admit import Rules
from jobs.collect.app import Collector
from jobs.collect.body import MAX_EVENTS
from jobs.collect.consent import LatelyWritten
from jobs.collect.deliver import Deliveries
from jobs.collect.enrich import Countries
from jobs.collect.guard import GuardedProtocol, Shares
from jobs.collect.items import Items
from jobs.collect.limits import MAX_DENIALS, Limits
from jobs.collect.metrics import Metrics
from jobs.collect.networks import Proxies
from jobs.collect.newcomers import MAX_NEW_OF_EVENT, Newcomers
from jobs.collect.others import Others
from jobs.collect.rates import Bound, FairShares, TokenBuckets
from jobs.connect import addresses, consent_topic, users
from jobs.errors import ServiceError, SettingsError
from jobs.settings import Settings
from liveshelf.pseudonyms import Pseudonyms

BURST_S = 2.0  # a bucket holds what flows into it in so long
# Below the 1,024 files that a process may open by default. Over it, uvicorn answers 503.
MAX_CONNECTIONS = 900
# A carrier's address has many phones, a page has two connections. Six addresses together may take all there are, or two
# networks of 48 bits (`networks.SHARES`).
MAX_CONNECTIONS_OF_ADDRESS = 150
# Seconds of flow that may come at once. An address may bring 1,000 new visitors, a key 20,000: a collector that was
# started knows nobody, and then all are new.
NEW_BURST_S = {"address": 1_000.0, "key": 20_000.0}
# What a key may bring is divided, so that no kind takes another one's room.
PARTS_OF_KEY = {"visitors": 1 / 3, "things": 1 / 3, "denials": 1 / 3}
ALONE = 0.25  # of that, for a network while it is the only one
STOP_LIMIT_S = round(deliver.DELIVERY_LIMIT_S) + 2
ADMIN_HOST = "127.0.0.1"
CONSENT_LEAD_S = 0.3  # jobs ask the topic for consents ten times a second (jobs/jvm/src/liveshelf/ConsentReader.java)


class Server(uvicorn.Server):
    """A server that shares its loop with another one. Signals are handled once, for both."""

    capture_signals = staticmethod(nullcontext)


def check(settings: Settings) -> tuple[Rules, WriteKeys, list[str], Countries, Proxies]:
    """Read the settings and their files; raises SettingsError before anything is started."""
    if settings.pseudonym_keys is None:
        what = "the collector has no keys for pseudonyms: raw ids would enter the topics"
        raise SettingsError(what, "liveshelf keys new, and set LIVESHELF_PSEUDONYM_KEYS to the file that it names")
    rules = Rules(
        Pseudonyms.read(settings.pseudonym_keys),
        max_skew_ms=settings.max_clock_skew_s * 1000,
        max_age_ms=settings.collector_max_event_age_s * 1000,
    )
    keys = WriteKeys.read(settings.collector_write_keys)
    origins = access.origins(settings.collector_origins)
    return rules, keys, origins, Countries(settings.collector_country_database), Proxies(settings.collector_proxies)


def serve(
    settings: Settings, bootstrap: str, items: Callable[[], list[Path]], started: Callable[[str, str], None]
) -> None:
    """Collect until SIGTERM or Ctrl-C. Then refuse new connections, and answer the requests under way.

    `items` names the files of the items that events may name, none for any item.
    `started` is called with the URLs of the collector and of its admin pages once both answer. Raises SettingsError,
    and ServiceError if Kafka doesn't answer, a port is taken, or the clock isn't the broker's: it dates consents.
    """
    check(settings)
    with (
        listening(settings.collector_host, settings.collector_port, "collector_port") as public,
        listening(ADMIN_HOST, settings.collector_admin_port, "collector_admin_port") as private,
    ):
        collector = collector_of(settings, bootstrap, items)
        servers = [(server_of(collector, collector.app()), public), (_admin(collector), private)]
        run(servers, collector, lambda: started(url_of(public), url_of(private)))


def collector_of(settings: Settings, bootstrap: str, items: Callable[[], list[Path]]) -> Collector:
    """Return a collector that is connected to Kafka; it raises what `serve` does."""
    logging.getLogger("kafka").setLevel(
        logging.CRITICAL
    )  # ten lines a second while Kafka is away; `deliver` says it once
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # else a line for each request that isn't HTTP
    rules, keys, origins, countries, proxies = check(settings)
    limits = _limits(settings, items)
    deliveries, states = Deliveries(bootstrap, (settings.events_topic, settings.consent_topic)), LatelyWritten()
    collector = Collector(
        rules=rules,
        write_keys=keys,
        origins=origins,
        countries=countries,
        proxies=proxies,
        limits=limits,
        deliveries=deliveries,
        others=Others(bootstrap, settings.consent_topic, states.heard),
        states=states,
        events_topic=settings.events_topic,
        consent_topic=settings.consent_topic,
        consent_lead_s=CONSENT_LEAD_S if settings.consent == "required" else 0.0,
        metrics=Metrics(),
    )
    consent_topic.check_clock(addresses.as_user(bootstrap, users.COLLECTOR), settings.consent_topic)
    return collector


def run(servers: list[tuple[Server, socket.socket]], collector: Collector, started: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `started` is called once all servers answer."""
    with asyncio.Runner(loop_factory=servers[0][0].config.get_loop_factory()) as runner:
        runner.run(_run(servers, collector, started))


async def _run(servers: list[tuple[Server, socket.socket]], collector: Collector, started: Callable[[], None]) -> None:
    """Run until a signal comes. Then end the servers one after the other, the public one first."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(each, stop.set)
    serving = [asyncio.create_task(server.serve(sockets=[listening])) for server, listening in servers]
    while not all(server.started for server, _ in servers):
        ended, _ = await asyncio.wait(serving, timeout=0.01)
        for task in ended:
            task.result()
    started()
    await asyncio.wait([asyncio.create_task(stop.wait()), *serving], return_when=asyncio.FIRST_COMPLETED)
    for (server, _), task in zip(servers, serving, strict=True):
        server.should_exit = True
        await task
    await collector.deliveries.close()
    await collector.others.close()


def server_of(collector: Collector, app: ASGIApp) -> Server:
    """Return a server of `app` in which slow and crowding connections are ended."""

    class Protocol(GuardedProtocol):
        on_too_slow = staticmethod(collector.metrics.too_slow.inc)
        on_too_many = staticmethod(collector.metrics.too_many.inc)
        shares = Shares(MAX_CONNECTIONS_OF_ADDRESS, collector.networks_of_connection)

    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # uvicorn's own reads the last line of X-Forwarded-For only (`networks.Proxies`)
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=STOP_LIMIT_S,
    )
    return Server(config)


def _admin(collector: Collector) -> Server:
    metrics, deliveries = collector.metrics, collector.deliveries
    metrics.gauge("waiting_records", "Records that Kafka hasn't confirmed yet", lambda: deliveries.waiting)
    metrics.gauge("kafka_connected", "1 while Kafka confirms records", lambda: deliveries.connected)

    async def healthz(_: Request) -> Response:
        """Say that the process is alive, also without Kafka: only a request can find out that Kafka is back."""
        return Response("ok\n", media_type="text/plain")

    async def text(_: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    app = Starlette(routes=[Route("/healthz", healthz), Route("/metrics", text)])
    return Server(
        uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False)
    )


def _limits(settings: Settings, items: Callable[[], list[Path]]) -> Limits:
    now_s = time.monotonic()
    return Limits(
        requests_of_network=TokenBuckets(*_flow(settings.collector_address_requests_per_s, BURST_S, 1)),
        events=_events(settings),
        newcomers=Newcomers(
            {"visitors": _new(settings, "visitors", 1), "things": _new(settings, "things", MAX_NEW_OF_EVENT)},
            Items(items, now_s),
            now_s,
        ),
        denials=_new(settings, "denials", MAX_DENIALS),
    )


def _events(settings: Settings) -> Bound:
    """Return the bound of events. A network that is alone may send as many as an address may at all."""
    per_s, most = _flow(settings.collector_key_events_per_s, BURST_S, MAX_EVENTS)
    address_per_s, address_most = _flow(settings.collector_address_events_per_s, BURST_S, MAX_EVENTS)
    return Bound(TokenBuckets(address_per_s, address_most), FairShares(most, most / per_s, address_most))


def _new(settings: Settings, kind: str, at_least: int) -> Bound:
    """Return the bound of what is kept: new entities of one kind, or denials."""
    per_s, most = _flow(settings.collector_key_new_per_s * PARTS_OF_KEY[kind], NEW_BURST_S["key"], at_least / ALONE)
    of_address = _flow(settings.collector_address_new_per_s, NEW_BURST_S["address"], at_least)
    return Bound(TokenBuckets(*of_address), FairShares(most, most / per_s, most * ALONE))


def _flow(per_s: float, burst_s: float, at_least: float) -> tuple[float, float]:
    """Return a rate, and what may come at once."""
    return per_s, max(per_s * burst_s, at_least)


def listening(host: str, port: int, setting: str) -> socket.socket:
    """Return a socket that listens; raise ServiceError that names the setting if it can't."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        fix = f"set LIVESHELF_{setting.upper()} to another port (0: a free one)"
        raise ServiceError(f"nothing can listen on {host}:{port}: {error.strerror}", fix) from error


def url_of(bound: socket.socket) -> str:
    """Return the address at which a socket listens."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
