"""What Prometheus is told."""

from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from service import alerts, runs, webhooks
from service.holder import Holder
from service.snapshots import NoSnapshot

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    def __init__(self, holder: Holder) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "quietquota_request_seconds", "Time to answer a request.", ("route", "method"), registry=self.registry, buckets=BUCKETS
        )
        self.requests = Counter("quietquota_requests", "Requests answered.", ("route", "method", "status"), registry=self.registry)
        self.registry.register(_OfSnapshot(holder))
        self._children: dict[tuple[str, str, int], tuple[Histogram, Counter]] = {}

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        key = (route, method, status)
        if key not in self._children:
            self._children[key] = self.seconds.labels(route, method), self.requests.labels(route, method, status)
        histogram, counter = self._children[key]
        histogram.observe(seconds)
        counter.inc()


class _OfSnapshot:
    """Ages are worked out when they are asked for."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._counted()
        ready = GaugeMetricFamily("quietquota_ready", "1 where a verified snapshot answers.")
        stale = GaugeMetricFamily("quietquota_stale", "1 where the snapshot that answers may not be the latest.")
        try:
            snapshot = self._holder.current().snapshot
        except NoSnapshot:
            ready.add_metric([], 0)
            yield ready
            return
        now = datetime.now(UTC)
        ready.add_metric([], 1)
        stale.add_metric([], float(self._holder.stale() is not None))
        yield ready
        yield stale
        yield InfoMetricFamily("quietquota_snapshot", "What answers.", value={"id": snapshot.id, "gate": str(snapshot.meta["gate"])})
        ages = {
            "snapshot_age": (snapshot.published_at, "Since the snapshot was published."),
            "data_age": (datetime.fromisoformat(snapshot.meta["as_of"]), "Since the as-of of its figures."),
        }
        for name, (since, about) in ages.items():
            yield GaugeMetricFamily(f"quietquota_{name}_seconds", about, value=(now - since).total_seconds())

    def _counted(self) -> Iterator[Metric]:
        """What is told by the names of what the store holds; nothing, while it does not answer."""
        store = self._holder.store.store
        try:
            waiting = {state: len(webhooks.told(store, state)) for state in ("pending", "dead")}
            raised, last = len(alerts.names(store)), runs.last(store)
        except (OSError, ValueError):
            return
        yield CounterMetricFamily("quietquota_alerts", "Alerts raised and cleared.", value=raised)
        deliveries = GaugeMetricFamily("quietquota_deliveries", "Webhook deliveries that wait, or were given up.", labels=["state"])
        for state, count in waiting.items():
            deliveries.add_metric([state], count)
        yield deliveries
        if last is not None:
            yield InfoMetricFamily("quietquota_last_refresh", "How the last one went.", value={"outcome": str(last["outcome"])})
            if (pending := last.get("pending_findings")) is not None:
                yield GaugeMetricFamily("quietquota_pending_findings", "Findings that hold rows back until accepted.", value=pending)
            began = datetime.fromisoformat(last["started_at"])
            yield GaugeMetricFamily(
                "quietquota_last_refresh_age_seconds", "Since it began.", value=(datetime.now(UTC) - began).total_seconds()
            )
