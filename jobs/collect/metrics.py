"""Count what the collector does, in Prometheus' format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_BOUNDS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0)


class Metrics:
    """The counters of one collector. No label holds anything that a client sent."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests by HTTP status and error code", "status", "error")
        self.events = self._counter("events", "Events by write key and what became of them", "write_key", "outcome")
        self.rejected = self._counter("rejected", "Rejected events by reason and field", "reason", "field")
        self.consents = self._counter("consents", "Records written to the consent topic", "state")
        self.held = self._counter("consents_held", "Grants of visitors who take denials back too often, not written")
        self.too_slow = self._counter(
            "too_slow", "Connections closed because a request's head or body didn't come in time"
        )
        self.too_many = self._counter("too_many", "Connections refused because their address has too many")
        self.seconds = Histogram(
            "collector_request_seconds",
            "From a request's head to its answer",
            buckets=LATENCY_BOUNDS_S,
            registry=self._registry,
        )

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"collector_{name}", what, labels, registry=self._registry)

    def gauge(self, name: str, what: str, read: Callable[[], float]) -> None:
        """Add a value that is read when it is asked for."""
        Gauge(f"collector_{name}", what, registry=self._registry).set_function(read)

    def text(self) -> bytes:
        return generate_latest(self._registry)
