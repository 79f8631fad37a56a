"""What manifests come to: the same pass as the operator's, over objects from files. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from wsroute.api.conditions import Problem
from wsroute.cli.manifests import Manifest, ManifestError, with_namespaces
from wsroute.cluster.kinds import KINDS, Kind, Record
from wsroute.cluster.objects import Balancer, ConfigMap, EndpointSlice, Key, Route, Service, Snapshot
from wsroute.cluster.objects import Namespace as NamespaceRecord
from wsroute.cluster.parse import parse_balancer
from wsroute.dataplane.build import build_configuration
from wsroute.dataplane.ir import Configuration
from wsroute.dataplane.main_template import describe_unusable, find_main_template
from wsroute.graph.build import build_graph
from wsroute.graph.conditions import explain_idle
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode, Graph, GraphSettings
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.render import check_main_template
from wsroute.nginx.sandbox import TemplateRefusedError

SETTINGS: Final = GraphSettings(standalone=True)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A problem of an object in a file. A fatal one keeps the object from being served, others take endpoints away."""

    source: str
    name: str
    text: str
    fatal: bool

    def __str__(self) -> str:
        return f"{self.source}: {self.name}: {self.text}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the manifests come to. ``balancer`` is None when there is none, or when it is not valid. ``main_template``
    is a custom one that can be used."""

    findings: tuple[Finding, ...]
    balancer: BalancerNode | None
    main_template: str | None = None

    @property
    def fatal(self) -> frozenset[Finding]:
        """The findings that keep something from being served."""
        return frozenset(finding for finding in self.findings if finding.fatal)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where clients connect to, sorted by route."""
        return () if self.balancer is None else tuple(url for node in self.balancer.accepted for url in node.urls)

    def configuration(self, *, ipv6: bool) -> Configuration:
        """What nginx has to serve. Raises ManifestError when there is no valid balancer."""
        if self.balancer is None or self.balancer.spec is None:
            raise ManifestError("There is no valid WebSocketBalancer among the manifests; add one with its listeners.")
        if self.balancer.spec.is_dynamic:
            raise ManifestError(
                "The routes of a balancer with dataPlane Dynamic are no part of its nginx.conf, and need a cluster: "
                "say dataPlane: Static."
            )
        if any(listener.ends_tls for listener in self.balancer.spec.listeners):
            raise ManifestError(
                "Listeners with protocol HTTPS need a cluster, from whose Secrets their certificates come: say "
                "protocol: HTTP, and have something in front end TLS."
            )
        return build_configuration(self.balancer, ipv6=ipv6, main_template=self.main_template)


def evaluate(manifests: Sequence[Manifest]) -> Outcome:
    """Check manifests against one another. Raises ManifestError for what leaves no sense to the whole."""
    objects = with_namespaces(manifests)
    _refuse_duplicates(objects)
    records: dict[Kind, dict[Key, Record]] = {kind: {} for kind in Kind}
    sources: dict[tuple[Kind, Key], Manifest] = {}
    findings: list[Finding] = []
    for manifest in objects:
        kind = Kind(manifest.body["kind"])
        record = (
            parse_balancer(manifest.body, standalone=True)
            if kind is Kind.BALANCER
            else KINDS[kind].parse(manifest.body)
        )
        if record is None:
            text = "metadata or spec is not usable; compare it with a manifest that works."
            findings.append(Finding(manifest.source, manifest.name, text, fatal=True))
            continue
        records[kind][record.meta.key] = record
        sources[kind, record.meta.key] = manifest
    balancers = {key: record for key, record in records[Kind.BALANCER].items() if isinstance(record, Balancer)}
    if len(balancers) > 1:
        names = ", ".join(str(key) for key in sorted(balancers))
        raise ManifestError(f"One nginx serves one WebSocketBalancer, and these manifests hold {names}: keep one.")
    snapshot = _snapshot(records)
    graph = build_graph(snapshot, SETTINGS, Memo())
    findings += _findings(graph, records, sources, alone=not balancers)
    balancer = next(iter(graph.balancers.values()), None)
    template, problem = _main_template(balancer, snapshot)
    if balancer is not None and problem is not None:
        findings += _of(sources[Kind.BALANCER, balancer.key], [problem], fatal=True)
    return Outcome(findings=tuple(sorted(set(findings))), balancer=balancer, main_template=template)


def _main_template(balancer: BalancerNode | None, snapshot: Snapshot) -> tuple[str | None, Problem | None]:
    """The custom main template, or why it is not used."""
    found = find_main_template(balancer, snapshot.config_maps) if balancer is not None else None
    if balancer is None or not isinstance(found, str):
        return None, found if isinstance(found, Problem) else None
    try:
        check_main_template(build_configuration(balancer, ipv6=True, main_template=found), POD_PATHS)
    except TemplateRefusedError as error:
        return None, describe_unusable(str(error))
    return found, None


def _refuse_duplicates(objects: Iterable[Manifest]) -> None:
    seen: dict[tuple[str, str, str], Manifest] = {}
    for manifest in objects:
        meta = manifest.body["metadata"]
        identity = (manifest.body["kind"], str(meta.get("namespace")), meta["name"])
        other = seen.setdefault(identity, manifest)
        if other is not manifest:
            raise ManifestError(f"{manifest.name} stands in {other.source} and again in {manifest.source}: keep one.")


def _snapshot(records: dict[Kind, dict[Key, Record]]) -> Snapshot:
    slices: dict[Key, list[EndpointSlice]] = {}
    for record in records[Kind.ENDPOINT_SLICE].values():
        assert isinstance(record, EndpointSlice)
        slices.setdefault(record.service, []).append(record)
    return Snapshot(
        routes={key: record for key, record in records[Kind.ROUTE].items() if isinstance(record, Route)},
        balancers={key: record for key, record in records[Kind.BALANCER].items() if isinstance(record, Balancer)},
        services={key: record for key, record in records[Kind.SERVICE].items() if isinstance(record, Service)},
        slices={key: tuple(sorted(found, key=lambda one: one.meta.key)) for key, found in slices.items()},
        namespaces={
            key: record for key, record in records[Kind.NAMESPACE].items() if isinstance(record, NamespaceRecord)
        },
        pods={},
        deployments={},
        config_maps={key: record for key, record in records[Kind.CONFIG_MAP].items() if isinstance(record, ConfigMap)},
        nodes={},
    )


def _findings(
    graph: Graph, records: dict[Kind, dict[Key, Record]], sources: dict[tuple[Kind, Key], Manifest], *, alone: bool
) -> Iterable[Finding]:
    """The problems of routes and balancers. ``alone``: there is no balancer among the files, so that routes can only be
    checked for what they say themselves."""
    for key, node in graph.balancers.items():
        yield from _of(sources[Kind.BALANCER, key], node.acceptance_problems, fatal=True)
    for key, route in graph.routes.items():
        manifest = sources[Kind.ROUTE, key]
        if alone:
            record = records[Kind.ROUTE][key]
            assert isinstance(record, Route)
            yield from _of(manifest, record.problems, fatal=True)
        else:
            yield from _of(manifest, route.acceptance_problems, fatal=True)
            yield from _of(manifest, route.reference_problems, fatal=False)
            # Manifests for a cluster hold no slices: there Kubernetes makes them.
            if records[Kind.ENDPOINT_SLICE] and not route.acceptance_problems and not route.reference_problems:
                idle = explain_idle(route)
                if idle:
                    yield Finding(manifest.source, manifest.name, idle, fatal=False)


def _of(manifest: Manifest, problems: Iterable[Problem], *, fatal: bool) -> Iterable[Finding]:
    for problem in problems:
        yield Finding(manifest.source, manifest.name, str(problem), fatal=fatal)
