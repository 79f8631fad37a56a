"""The agent's metrics, in a registry of their own. Labels take their values from short, fixed lists."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from wsroute.agent.drain import Closed

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The Prometheus text format of :meth:`AgentMetrics.render`."""


class AgentMetrics:
    """All collectors of one agent."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._applied = Counter(
            "wsroute_agent_applied_total",
            "Versions by outcome: applied, refused-test, refused-load, unavailable (nginx's script did not answer).",
            ["outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "wsroute_agent_apply_seconds",
            "Time to test, load and verify a version.",
            buckets=(0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0),
            registry=registry,
        )
        self._acknowledged = Counter(
            "wsroute_agent_acknowledgements_total",
            "Writes of this pod's state by outcome: written, failed.",
            ["outcome"],
            registry=registry,
        )
        self._version = Gauge(
            "wsroute_agent_version_info", "The version that nginx answers with.", ["version"], registry=registry
        )
        self._sockets = Gauge(
            "wsroute_agent_sockets", "Established client connections on the listeners' ports.", registry=registry
        )

        self._draining_generations = Gauge(
            "wsroute_agent_draining_generations",
            "Generations of old workers that hold sockets.",
            registry=registry,
        )
        self._draining_sockets = Gauge(
            "wsroute_agent_draining_sockets", "Sockets that old workers hold.", registry=registry
        )
        self._closed = Counter(
            "wsroute_agent_closed_sockets_total",
            "Sockets that were closed with their worker, by reason: drain-timeout, early-retirement, pod-termination.",
            ["reason"],
            registry=registry,
        )
        self._table_pushes = Counter(
            "wsroute_agent_table_pushes_total",
            "Tables that nginx was told, by kind: change, whole; and by outcome: pushed, full (no room for it), "
            "refused, moved (nginx had another one), unavailable.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._table_seconds = Histogram(
            "wsroute_agent_table_seconds",
            "Time from the event of a ConfigMap until nginx has what it says.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
            registry=registry,
        )
        self._propagation_seconds = Histogram(
            "wsroute_agent_propagation_seconds",
            "Time from the operator's write of a table, by its clock, until nginx has it, by this pod's.",
            buckets=(0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0),
            registry=registry,
        )
        self._table_entries = Gauge("wsroute_agent_table_entries", "Entries of nginx's dictionary.", registry=registry)
        self._table_free = Gauge(
            "wsroute_agent_table_free_bytes", "What is left of nginx's dictionary.", registry=registry
        )
        self._leaving = Gauge("wsroute_agent_leaving", "1 once the pod was told to end.", registry=registry)
        self._leaving_until = Gauge(
            "wsroute_agent_leaving_until_timestamp_seconds",
            "When the last sockets of a pod that was told to end are closed; 0 when it was not.",
            registry=registry,
        )
        self._ended = Counter(
            "wsroute_agent_ended_workers_total",
            "Old workers that were ended, by reason.",
            ["reason"],
            registry=registry,
        )
        for reason in Closed:
            self._closed.labels(reason)
            self._ended.labels(reason)

    def include(self, collector: Collector) -> None:
        """Have a collector's metrics told with ours."""
        self._registry.register(collector)

    def drain(self, *, generations: int, sockets: int) -> None:
        """What old workers hold."""
        self._draining_generations.set(generations)
        self._draining_sockets.set(sockets)

    def retired(self, why: Closed, *, sockets: int) -> None:
        """An old worker was ended, and with it so many sockets."""
        self._closed.labels(why).inc(sockets)
        self._ended.labels(why).inc()

    def leaving(self, *, until: float | None) -> None:
        """The pod was told to end, and its last sockets are closed at this time, if that is known."""
        self._leaving.set(1)
        if until is not None:
            self._leaving_until.set(until)

    def terminated(self, *, sockets: int, workers: int) -> None:
        """The end of the pod closed so many more sockets, with so many workers."""
        self._closed.labels(Closed.POD_TERMINATION).inc(sockets)
        self._ended.labels(Closed.POD_TERMINATION).inc(workers)

    def table(self, *, entries: int, free: int) -> None:
        """What nginx says of its dictionary."""
        self._table_entries.set(entries)
        self._table_free.set(free)

    def table_pushed(self, kind: str, outcome: str) -> None:
        """A table was told, and this became of it."""
        self._table_pushes.labels(kind, outcome).inc()

    def table_live(self, *, seconds: float) -> None:
        """So long after the event nginx had what a ConfigMap says."""
        self._table_seconds.observe(seconds)

    def propagated(self, *, seconds: float) -> None:
        """So long after the operator wrote it nginx has what a ConfigMap says; clocks may differ."""
        self._propagation_seconds.observe(max(0.0, seconds))

    def applied(self, outcome: str, *, seconds: float | None = None) -> None:
        """A version came to this outcome, after so many seconds where it was loaded."""
        self._applied.labels(outcome).inc()
        if seconds is not None:
            self._seconds.observe(seconds)

    def acknowledged(self, ok: bool) -> None:
        """Our state was written, or not."""
        self._acknowledged.labels("written" if ok else "failed").inc()

    def state(self, *, version: str, sockets: int) -> None:
        """What runs, and how many clients are connected."""
        self._version.clear()
        self._version.labels(version).set(1)
        self._sockets.set(sockets)

    def render(self) -> bytes:
        """The text that ``/metrics`` answers."""
        return generate_latest(self._registry)
