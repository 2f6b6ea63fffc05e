"""Handle a POST to /events, top to bottom, and serve the script at /t.js."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobs.collect import access, answers, body, consent, enrich, tracker
from jobs.collect.access import WriteKeys
from jobs.collect.admit import Judged, Rules
from jobs.collect.bounded import Bounded
from jobs.collect.deliver import Deliveries, NotDeliveredError, Record
from jobs.collect.enrich import Countries
from jobs.collect.limits import Limits
from jobs.collect.metrics import Metrics
from jobs.collect.networks import Address, Network, NetworkNames, Proxies, address_of
from jobs.collect.newcomers import Arrivals
from jobs.collect.others import Others
from jobs.collect.refusal import RequestRefusedError
from jobs.collect.source import Source

RETRY_AFTER_S = 5  # when Kafka is away
PREFLIGHT_MAX_AGE_S = 600
# A page has one visitor. While an id is replaced there are two, and each may have two pseudonyms.
MAX_VISITORS_OF_PAGE = 4
ALLOWED_HEADERS = ["content-type", "content-encoding", "x-write-key", "x-consent"]


@dataclass(frozen=True)
class Collector:
    """The parts of a collector.

    An event that comes with a new consent follows it after `consent_lead_s`, so that jobs which require consent know
    it.
    """

    rules: Rules
    write_keys: WriteKeys
    origins: list[str]
    countries: Countries
    proxies: Proxies
    limits: Limits
    deliveries: Deliveries
    others: Others
    events_topic: str
    consent_topic: str
    consent_lead_s: float
    metrics: Metrics
    states: consent.LatelyWritten
    network_names: NetworkNames = field(default_factory=NetworkNames)
    _bodies: body.Bodies = field(default_factory=body.Bodies)
    _turns: consent.Turns = field(default_factory=consent.Turns)

    async def post(self, request: Request) -> Response:
        """Take events and answer 200 with a verdict on each, once Kafka has confirmed the accepted ones."""
        started_s, error = time.monotonic(), ""
        try:
            answer = await self._take(request)
        except RequestRefusedError as refusal:
            answer, error = answers.refused(refusal), refusal.code
        self.metrics.requests.labels(answer.status_code, error).inc()
        self.metrics.seconds.observe(time.monotonic() - started_s)
        return answer

    async def _take(self, request: Request) -> Response:
        address = self._address(request)
        source = self._source(request, self.network_names.of(address))
        self.limits.check_events(source)
        arrivals = self.limits.newcomers.arrivals(source, time.monotonic())
        judged = await self._judged(request, source, address, arrivals)
        if "origin" in request.headers and len(judged.states) > MAX_VISITORS_OF_PAGE:
            raise RequestRefusedError(400, "visitors")
        arrivals.settle(time.monotonic())
        await self._store(judged, source)
        self._count(source.key, judged)
        return answers.taken(judged)

    def _address(self, request: Request) -> Address | None:
        peer = request.client.host if request.client else ""
        return self.proxies.client(peer, request.headers.getlist("x-forwarded-for"))

    def networks_of_connection(self, host: str) -> tuple[Network, ...]:
        """Return the networks by which a host's connections are counted, none for a proxy, which has everybody's."""
        address = address_of(host)
        return () if not host or self.proxies.hold(address) else self.network_names.of(address)

    def spend_request(self, request: Request) -> None:
        """Count a request that isn't one for events; raises RequestRefusedError (429)."""
        try:
            self.limits.spend_request(self.network_names.of(self._address(request)))
        except RequestRefusedError as refusal:
            self.metrics.requests.labels(refusal.status, refusal.code).inc()
            raise

    def _source(self, request: Request, networks: tuple[Network, ...]) -> Source:
        """Return who sends, once the request is within its network's rate, and key and origin fit each other."""
        given = request.headers.get("x-write-key") or request.query_params.get("key", "")
        is_servers = self.write_keys.is_servers(given)
        if not is_servers:
            self.limits.spend_request(networks)
        access.check_origin(request.headers.get("origin"), self.origins, is_servers)
        return Source(self.write_keys.name_of(given), () if is_servers else networks)

    async def _judged(self, request: Request, source: Source, address: Address | None, arrivals: Arrivals) -> Judged:
        """Return the verdicts on a request's events. The body is released here, because Kafka may take seconds."""
        stated = access.consent(request.headers, request.query_params)
        body.check_type(request)
        content = await self._bodies.read(request, source.networks or (Network(source.key, 1),))
        paid = self.limits.spend_body(source, len(content))
        raws = body.split(content)
        self.limits.spend_events(source, len(raws), paid)
        now_ms = time.time_ns() // 1_000_000
        return self.rules.judge(raws, stated, self._seen(request, address), now_ms, arrivals.refuse)

    def _seen(self, request: Request, address: Address | None) -> dict[str, str]:
        """Return what a browser's request tells of its visitor. A request without an origin comes from a server."""
        if "origin" not in request.headers:
            return {}
        found = {"device": enrich.device(request.headers.get("user-agent", "")), "country": self.countries.of(address)}
        return {name: value for name, value in found.items() if value}

    async def _store(self, judged: Judged, source: Source) -> None:
        """Return when Kafka has confirmed everything. States go first, so that no event is there without one."""
        is_sure = True
        if self.states.repeats_denial(judged.states, time.monotonic()):
            is_sure = await self.others.are_heard()
        await self._turns.wait(judged.states)
        now_s = time.monotonic()
        due, held = self.states.due(judged.states, now_s, is_sure)
        self.metrics.held.inc(held)
        self.limits.spend_denials(source, sum(state == "withdrawn" for state in due.values()))
        with self._turns.take(due):
            try:
                await self._deliver(judged, due)
            except BaseException as error:
                self.states.doubt(due)
                if isinstance(error, NotDeliveredError):
                    raise RequestRefusedError(503, "kafka", RETRY_AFTER_S) from error
                raise
            for who, state in due.items():
                self.states.wrote(who, state, now_s)
                self.metrics.consents.labels(state).inc()

    async def _deliver(self, judged: Judged, due: Mapping[str, consent.State]) -> None:
        now_ms = time.time_ns() // 1_000_000
        events = [Record(self.events_topic, *event) for event in judged.admitted]
        # A visitor's first grant reaches back to the first event that came with it, as jobs ask what held when an event
        # happened. Among each other, records stand by the collector's clock and not by a client's.
        since_ms = {event.key: event.timestamp_ms for event in sorted(events, key=lambda each: -each.timestamp_ms)}
        states = [
            Record(self.consent_topic, who, consent.value(state, now_ms, _earlier(since_ms.get(who), now_ms)), now_ms)
            for who, state in due.items()
        ]
        if states and events and self.consent_lead_s:
            await self.deliveries.deliver(states)
            await asyncio.sleep(self.consent_lead_s)
            states = []
        await self.deliveries.deliver([*states, *events])

    def _count(self, key: str, judged: Judged) -> None:
        counts = {"accepted": len(judged.admitted), "suppressed": judged.suppressed, "rejected": len(judged.rejected)}
        for outcome, count in counts.items():
            self.metrics.events.labels(key, outcome).inc(count)
        for why in judged.rejected.values():
            self.metrics.rejected.labels(why.reason, why.field).inc()

    def app(self) -> Starlette:
        """Return the ASGI application."""
        cors = Middleware(
            CORSMiddleware,
            allow_origins=self.origins,
            allow_methods=["POST"],
            allow_headers=ALLOWED_HEADERS,
            allow_credentials=True,  # sendBeacon always asks for it; no cookie is read here
            max_age=PREFLIGHT_MAX_AGE_S,
        )
        routes = [Route("/events", self.post, methods=["POST"]), Route("/t.js", tracker.serve, methods=["GET"])]
        return Starlette(routes=routes, middleware=[Middleware(Bounded, spend=self.spend_request), cors])


def _earlier(time_ms: int | None, now_ms: int) -> int | None:
    return time_ms if time_ms is not None and time_ms < now_ms else None
