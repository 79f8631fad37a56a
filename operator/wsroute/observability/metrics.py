"""The operator's metrics, in a registry of their own.

Labels take their values from short, fixed lists (kinds, outcomes): never a name that a tenant chooses.
"""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from wsroute import __version__

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The Prometheus text format of :meth:`Metrics.render`."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """All collectors of one operator; two operators in one process (as in tests) don't share any."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        GCCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        ProcessCollector(registry=self.registry)
        r = self.registry
        Gauge("wsroute_build_info", "The version that runs.", ["version"], registry=r).labels(__version__).set(1)
        self.pass_seconds = Histogram(
            "wsroute_pass_seconds",
            "Time of a pass by part: plan and statuses are computing, write is the ConfigMaps' requests.",
            ["part"],
            buckets=_SECONDS,
            registry=r,
        )
        self.passes = Counter("wsroute_passes_total", "Passes by outcome: ok, failed.", ["outcome"], registry=r)
        self.writes = Counter(
            "wsroute_config_map_writes_total",
            "Writes of generated ConfigMaps by role, and of Deployments, and by outcome: written, conflict, refused, "
            "unavailable, foreign.",
            ["role", "outcome"],
            registry=r,
        )
        self.status_writes = Counter(
            "wsroute_status_writes_total",
            "Writes of statuses by kind, and by outcome: written, gone, conflict, retried, refused.",
            ["kind", "outcome"],
            registry=r,
        )
        self.events = Counter("wsroute_watch_events_total", "Watch events by kind.", ["kind"], registry=r)
        self.resync_seconds = Histogram(
            "wsroute_resync_seconds", "Time of a list of one kind.", ["kind"], buckets=_SECONDS, registry=r
        )
        self.resync_failures = Counter(
            "wsroute_resync_failures_total", "Lists that failed; the last known objects stay.", ["kind"], registry=r
        )
        self.watch_restarts = Counter(
            "wsroute_watch_restarts_total", "Times that the watching half ended and was started again.", registry=r
        )
        self.leader = Gauge("wsroute_leader", "1 on the replica that writes.", registry=r)
        self.rollouts = Counter(
            "wsroute_rollouts_total",
            "Versions by step: canary, promoted after one, direct (endpoints only, or no pod to try it on).",
            ["step"],
            registry=r,
        )
        self.reloads = Counter(
            "wsroute_reloads_total",
            "Versions that came in force in place of another one, which pods load, by each reason that made one "
            "necessary: those of status.lastReload.changes.",
            ["reason"],
            registry=r,
        )
        self.refusals = Counter("wsroute_rollouts_refused_total", "Versions that a pod's nginx refused.", registry=r)
        self.leaving_pods = Gauge(
            "wsroute_leaving_pods", "Pods of balancers that were told to end and finish their sockets.", registry=r
        )
        self.leaving_sockets = Gauge(
            "wsroute_leaving_sockets", "Sockets that these hold, as their agents told last.", registry=r
        )
        self.objects = Gauge("wsroute_objects", "Objects known, by kind.", ["kind"], registry=r)

    def set_objects(self, sizes: Mapping[str, int]) -> None:
        """Say how many objects of each kind are known."""
        for kind, size in sizes.items():
            self.objects.labels(kind).set(size)

    def render(self) -> bytes:
        """The text that ``/metrics`` answers."""
        return generate_latest(self.registry)
