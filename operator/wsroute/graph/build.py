"""From a snapshot of the cluster to the graph: one pass, in one place, and a pure function of its inputs.

1. Each route is checked against the balancer that it is for (``admission``).
2. The routes of each balancer settle what they compete for (``conflicts``).
3. Each route's references are followed to endpoints (``references``, ``endpoints``).
4. Each balancer is looked at itself: its Deployment, its Service, its pods (``balancers``).

Every step asks the memo first, so that a pass after one change costs little more than looking at all the others.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final, NamedTuple

from wsroute.api.conditions import Problem, Reason
from wsroute.api.v1alpha1 import WebSocketBalancerSpec
from wsroute.cluster.balancer_state import BalancerState
from wsroute.cluster.objects import Balancer, Claims, EndpointSlice, Key, Route, Service, ServicePort, Snapshot
from wsroute.graph.admission import Admission, admit
from wsroute.graph.balancers import balancer_node
from wsroute.graph.claims import age, idle_hosts
from wsroute.graph.conflicts import Verdict, enter, settle
from wsroute.graph.endpoints import EndpointSet, resolve_endpoints
from wsroute.graph.memo import Memo
from wsroute.graph.model import Graph, GraphSettings, PathNode, RouteNode
from wsroute.graph.references import Resolve, Target, resolve_paths
from wsroute.graph.urls import route_urls

NO_STATE: Final = BalancerState()
NO_STATES: Final[Mapping[Key, BalancerState]] = MappingProxyType({})


def build_graph(
    snapshot: Snapshot,
    settings: GraphSettings,
    memo: Memo,
    *,
    states: Mapping[Key, BalancerState] = NO_STATES,
    wall: float = 0.0,
) -> Graph:
    """Everything that follows from the objects, from what was remembered of the balancers, and from the time (``wall``,
    seconds since the epoch). To call ``memo.end_pass`` after the pass is the caller's part."""
    default = _default_balancer(snapshot, settings)
    nodes: dict[Key, RouteNode] = {}
    members: defaultdict[Key, list[tuple[Route, Admission]]] = defaultdict(list)
    for key, route in sorted(snapshot.routes.items(), key=lambda item: item[0]):
        claims = route.claims
        wanted = None if claims is None else claims.balancer or default
        balancer = None if wanted is None else snapshot.balancers.get(wanted)
        if claims is None or wanted is None or balancer is None or balancer.spec is None:
            nodes[key] = _lost_node(route, wanted, exists=balancer is not None, memo=memo)
        else:
            members[wanted].append((route, _admission(route, claims, balancer, snapshot, settings, memo)))

    remembered: dict[Key, BalancerState] = {}
    expires = math.inf
    for key, balancer in snapshot.balancers.items():
        state = states.get(key, NO_STATE)
        if balancer.spec is None:
            remembered[key] = state  # which routes it has is unknown, so that none of them is gone
            continue
        contest = _contest(balancer, balancer.spec, members[key], state, memo, wall)
        remembered[key] = contest.state
        expires = min(expires, contest.expires)
        nodes.update(_balanced_nodes(balancer, members[key], contest.verdicts, snapshot, settings, memo))

    by_balancer: defaultdict[Key, list[RouteNode]] = defaultdict(list)
    ordered = dict(sorted(nodes.items(), key=lambda item: item[0]))
    for node in ordered.values():
        if node.balancer is not None:
            by_balancer[node.balancer].append(node)
    balancers = {
        key: balancer_node(balancer, tuple(by_balancer[key]), snapshot)
        for key, balancer in sorted(snapshot.balancers.items(), key=lambda item: item[0])
    }
    return Graph(balancers=balancers, routes=ordered, states=remembered, expires=expires)


def _default_balancer(snapshot: Snapshot, settings: GraphSettings) -> Key | None:
    if settings.default_balancer is None and settings.standalone and len(snapshot.balancers) == 1:
        return next(iter(snapshot.balancers))
    return settings.default_balancer


def _lost_node(route: Route, wanted: Key | None, *, exists: bool, memo: Memo) -> RouteNode:
    """A route that no balancer can take."""
    meta, problems = route.meta, route.problems

    def compute() -> RouteNode:
        told = problems if route.claims is None else (*problems, _no_balancer(wanted, exists=exists))
        return RouteNode(
            key=meta.key,
            uid=meta.uid,
            generation=meta.generation,
            balancer=wanted if exists else None,
            acceptance_problems=told,
        )

    inputs = (meta.uid, meta.generation, problems, route.claims is None, wanted, exists)
    return memo.get(("lost", meta.key), inputs, compute)


def _no_balancer(wanted: Key | None, *, exists: bool) -> Problem:
    if wanted is None:
        message = "The route names no balancer, and the operator has no default one: name one."
    elif exists:
        message = f"The WebSocketBalancer {wanted} is not valid itself: its administrator finds why in its conditions."
    else:
        message = f"There is no WebSocketBalancer {wanted}: create it, or name another."
    return Problem(Reason.NO_BALANCER, "spec.balancerRef", message)


def _admission(
    route: Route, claims: Claims, balancer: Balancer, snapshot: Snapshot, settings: GraphSettings, memo: Memo
) -> Admission:
    spec = balancer.spec
    assert spec is not None
    meta = route.meta
    parsed = route.problems if route.spec is None else route.spec
    namespace = snapshot.namespaces.get(Key("", meta.key.namespace))
    return memo.get(
        ("admission", meta.key),
        (meta.created, parsed, claims, balancer.meta.key, spec, namespace, settings),
        lambda: admit(
            meta.key,
            meta.created,
            parsed,
            claims,
            balancer=balancer.meta.key,
            spec=spec,
            namespace=namespace,
            settings=settings,
        ),
    )


class _Contest(NamedTuple):
    """What the routes of a balancer settled, what is to be remembered of it, and until when it stands."""

    verdicts: Mapping[Key, Verdict]
    state: BalancerState
    expires: float


def _contest(
    balancer: Balancer,
    spec: WebSocketBalancerSpec,
    members: list[tuple[Route, Admission]],
    state: BalancerState,
    memo: Memo,
    wall: float,
) -> _Contest:
    key, hosts = balancer.meta.key, state.hosts
    rivals = tuple(admission for _, admission in members if admission.admitted)
    quota = spec.allowed_routes.max_per_namespace
    entrants = memo.get(("entrants", key), (rivals, quota), lambda: enter(rivals, max_per_namespace=quota))
    idle = memo.get(("idle", key), (entrants, hosts), lambda: idle_hosts(hosts, entrants.wanted))
    standing, expires = age(hosts, idle, wall=wall)
    verdicts, claims = memo.get(("settled", key), (entrants, standing), lambda: settle(entrants, standing))
    return _Contest(verdicts, state if claims is hosts else replace(state, hosts=claims), expires)


def _balanced_nodes(
    balancer: Balancer,
    members: list[tuple[Route, Admission]],
    verdicts: Mapping[Key, Verdict],
    snapshot: Snapshot,
    settings: GraphSettings,
    memo: Memo,
) -> Mapping[Key, RouteNode]:
    """The routes of one balancer."""
    spec = balancer.spec
    assert spec is not None
    manual, loopback = settings.standalone or spec.allowed_routes.manual_endpoints, settings.standalone

    def resolve(service: Service, slices: tuple[EndpointSlice, ...], port: ServicePort) -> EndpointSet:
        return memo.get(
            ("endpoints", service.meta.key, port.port, port.protocol, manual),
            (service, slices, port, loopback),
            lambda: resolve_endpoints(service, slices, port, manual=manual, loopback=loopback),
        )

    services, slices = snapshot.services, snapshot.slices
    nodes = {}
    for route, admission in members:
        meta = route.meta
        verdict = verdicts.get(meta.key)
        targets = tuple((services.get(service), slices.get(service, ())) for service in admission.services)
        nodes[meta.key] = memo.get(
            ("route", meta.key),
            (meta.uid, meta.generation, route.spec, admission, verdict, targets, spec, manual, loopback),
            partial(_route_node, route, admission, verdict, targets, balancer.meta.key, spec, resolve),
        )
    return nodes


def _route_node(
    route: Route,
    admission: Admission,
    verdict: Verdict | None,
    targets: tuple[Target, ...],
    balancer: Key,
    balancer_spec: WebSocketBalancerSpec,
    resolve: Resolve,
) -> RouteNode:
    """A route whose balancer exists. ``verdict`` is None when that one does not admit its namespace."""
    meta, spec = route.meta, route.spec
    problems = admission.problems
    # The conflicts of a spec that does not parse are no news to its author yet.
    if verdict is not None and (spec is not None or not verdict.within_quota):
        problems += verdict.problems
    paths: tuple[PathNode, ...] = ()
    unresolved: tuple[Problem, ...] = ()
    if spec is not None:
        found = dict(zip(admission.services, targets, strict=True))
        paths, unresolved = resolve_paths(spec, meta.key.namespace, found, resolve=resolve)
    accepted = not problems
    owns = verdict is not None and verdict.within_quota
    hosts = verdict.hosts if verdict is not None else ()
    listeners = [listener for listener in balancer_spec.listeners if listener.name in admission.listeners]
    return RouteNode(
        key=meta.key,
        uid=meta.uid,
        generation=meta.generation,
        balancer=balancer,
        acceptance_problems=problems,
        reference_problems=unresolved,
        references_checked=spec is not None,
        listeners=admission.listeners if owns else (),
        hosts=hosts,
        paths=paths if accepted else (),
        withdrawn_paths=verdict.paths if verdict is not None and not accepted else (),
        settings=admission.settings if accepted else None,
        urls=route_urls(hosts, paths, listeners) if accepted else (),
    )
