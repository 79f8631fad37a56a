"""From a snapshot of the cluster to the graph: one pass, in one place, and a pure function of its inputs.

1. Each route is checked against the balancer that it is for (``admission``).
2. The routes of each balancer settle what they compete for (``conflicts``).
3. Each route's references are followed to endpoints (``references``, ``endpoints``).
4. Each balancer is looked at itself: its Deployment, its Service, its pods (``balancers``).

Every step asks the memo first, so that a pass after one change costs little more than looking at all the others.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import attrgetter, methodcaller
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from wsroute.api.conditions import Problem, Reason
from wsroute.api.v1alpha1 import WebSocketBalancerSpec, WebSocketRouteSpec
from wsroute.cluster.balancer_state import BalancerState
from wsroute.cluster.objects import Balancer, Key, Namespace, Route, Service, ServicePort, Snapshot
from wsroute.graph.addresses import Reserved
from wsroute.graph.admission import Admission, admit
from wsroute.graph.balancers import balancer_node, drivers
from wsroute.graph.changes import changed_names, replaced, sorted_names
from wsroute.graph.claims import age, idle_hosts
from wsroute.graph.conflicts import Entrants, Settlement, Verdict, enter, enter_changed, settle, settle_changed
from wsroute.graph.endpoints import EndpointRules, EndpointSet, resolve_endpoints
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode, Graph, GraphSettings, PathNode, RouteNode
from wsroute.graph.references import Resolve, Target, resolve_paths
from wsroute.graph.reserved import NOTHING_RESERVED, reserved_addresses, reserved_among
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
    places = _places(snapshot, _default_balancer(snapshot, settings), settings, memo)
    members, lost = memo.get(("members",), (places,), partial(_by_balancer, places))

    # In files nothing else has an address, and whose addresses may not be proxied to is their author's business.
    reserved = NOTHING_RESERVED if settings.standalone else reserved_addresses(snapshot, memo)
    remembered: dict[Key, BalancerState] = {}
    expires = math.inf
    parts: list[Mapping[Key, RouteNode]] = [lost] if lost else []
    balancers: dict[Key, BalancerNode] = {}
    driving = drivers(snapshot.balancers)
    for key, balancer in sorted(snapshot.balancers.items(), key=_by_key):
        state = states.get(key, NO_STATE)
        if balancer.spec is None:
            remembered[key] = state  # which routes it has is unknown, so that none of them is gone
            balancers[key] = balancer_node(balancer, tuple(_of_balancer(key, lost)), snapshot, driving)
            continue
        own = members.get(key, NO_MEMBERS)
        contest = _contest(balancer, balancer.spec, own, state, memo, wall)
        remembered[key] = contest.state
        expires = min(expires, contest.expires)
        nodes = _balanced_nodes(balancer, own, contest.verdicts, snapshot, reserved, settings, memo)
        balancers[key] = balancer_node(balancer, tuple(nodes.values()), snapshot, driving)
        parts.append(nodes)
    routes = parts[0] if len(parts) == 1 else replaced({}, dict(chain.from_iterable(map(_ITEMS, parts))), places)
    return Graph(balancers=balancers, routes=routes, states=remembered, expires=expires)


def _of_balancer(key: Key, lost: Mapping[Key, RouteNode]) -> Iterator[RouteNode]:
    """The routes of a balancer that is not valid itself."""
    return (node for node in lost.values() if node.balancer == key)


def _default_balancer(snapshot: Snapshot, settings: GraphSettings) -> Key | None:
    if settings.default_balancer is None and settings.standalone and len(snapshot.balancers) == 1:
        return next(iter(snapshot.balancers))
    return settings.default_balancer


class _Member(NamedTuple):
    """A route whose balancer exists and is valid, and what can be said of it from itself and that balancer."""

    uid: str
    generation: int
    spec: WebSocketRouteSpec | None
    balancer: Key
    admission: Admission


_Place = RouteNode | _Member
"""Where a route belongs: to a balancer, or as a node of its own to none that could take it."""

_Members = Mapping[Key, _Member]
NO_MEMBERS: Final[_Members] = MappingProxyType({})

_BALANCER: Final = attrgetter("balancer")
_ITEMS: Final = methodcaller("items")


def _places(snapshot: Snapshot, default: Key | None, settings: GraphSettings, memo: Memo) -> Mapping[Key, _Place]:
    """For each route where it belongs, sorted by key."""
    routes = memo.revise(("routes",), (snapshot.routes,), partial(_in_order, snapshot.routes))
    around = (snapshot.balancers, snapshot.namespaces, default, settings)

    def parts(route: Route) -> tuple[Key | None, Balancer | None, Namespace | None]:
        wanted = None if route.claims is None else route.claims.balancer or default
        balancer = None if wanted is None else snapshot.balancers.get(wanted)
        return wanted, balancer, snapshot.namespaces.get(Key("", route.meta.key.namespace))

    def inputs(_: Key, route: Route) -> tuple[object, ...]:
        wanted, balancer, namespace = parts(route)
        of_balancer = None if balancer is None else (balancer.spec,)
        meta = route.meta
        said = (route.claims, route.problems if route.spec is None else route.spec)
        return (meta.uid, meta.generation, meta.created, *said, wanted, of_balancer, namespace, settings)

    def compute(_: Key, route: Route) -> _Place:
        wanted, balancer, namespace = parts(route)
        if route.claims is None or wanted is None or balancer is None or balancer.spec is None:
            return _lost_node(route, wanted, exists=balancer is not None)
        admission = admit(
            route.meta.key,
            route.meta.created,
            route.problems if route.spec is None else route.spec,
            route.claims,
            balancer=wanted,
            spec=balancer.spec,
            namespace=namespace,
            settings=settings,
        )
        return _Member(route.meta.uid, route.meta.generation, route.spec, wanted, admission)

    def touched(before: tuple[object, ...]) -> Collection[Key] | None:
        return () if before == around else None

    return memo.each(("places",), routes, around, touched=touched, inputs=inputs, compute=compute)


def _by_key(item: tuple[Key, object]) -> Key:
    return item[0]


def _in_order(routes: Mapping[Key, Route], before: Mapping[Key, Route] | None) -> Mapping[Key, Route]:
    return {key: routes[key] for key in sorted_names(before or (), routes)}


def _by_balancer(places: Mapping[Key, _Place]) -> tuple[Mapping[Key, _Members], Mapping[Key, RouteNode]]:
    """The routes of each balancer, and those of none."""
    wanted = set(map(_BALANCER, places.values()))
    if len(wanted) == 1 and set(map(type, places.values())) == {_Member}:
        return {wanted.pop(): cast("_Members", places)}, {}
    members: defaultdict[Key, dict[Key, _Member]] = defaultdict(dict)
    lost = {}
    for key, place in places.items():
        if isinstance(place, _Member):
            members[place.balancer][key] = place
        else:
            lost[key] = place
    return members, lost


def _lost_node(route: Route, wanted: Key | None, *, exists: bool) -> RouteNode:
    """A route that no balancer can take."""
    told = route.problems if route.claims is None else (*route.problems, _no_balancer(wanted, exists=exists))
    return RouteNode(
        key=route.meta.key,
        uid=route.meta.uid,
        generation=route.meta.generation,
        balancer=wanted if exists else None,
        acceptance_problems=told,
    )


def _no_balancer(wanted: Key | None, *, exists: bool) -> Problem:
    if wanted is None:
        message = "The route names no balancer, and the operator has no default one: name one."
    elif exists:
        message = f"The WebSocketBalancer {wanted} is not valid itself: its administrator finds why in its conditions."
    else:
        message = f"There is no WebSocketBalancer {wanted}: create it, or name another."
    return Problem(Reason.NO_BALANCER, "spec.balancerRef", message)


def _rival(member: _Member | None) -> Admission | None:
    """What competes of a route, None where the balancer does not admit it."""
    return member.admission if member is not None and member.admission.admitted else None


class _Contest(NamedTuple):
    """What the routes of a balancer settled, what is to be remembered of it, and until when it stands."""

    verdicts: Mapping[Key, Verdict]
    state: BalancerState
    expires: float


def _contest(
    balancer: Balancer,
    spec: WebSocketBalancerSpec,
    members: _Members,
    state: BalancerState,
    memo: Memo,
    wall: float,
) -> _Contest:
    key, hosts = balancer.meta.key, state.hosts
    quota = spec.allowed_routes.max_per_namespace

    def compete(known: tuple[_Members, int | None, Entrants] | None) -> tuple[_Members, int | None, Entrants]:
        entrants = None
        if known is not None and known[1] == quota:
            changed = changed_names(known[0], members)
            pairs = [(_rival(known[0].get(name)), _rival(members.get(name))) for name in changed]
            entrants = enter_changed(known[2], pairs, max_per_namespace=quota)
        if entrants is None:
            entrants = enter(filter(None, map(_rival, members.values())), max_per_namespace=quota)
        return members, quota, entrants

    *_, entrants = memo.revise(("entrants", key), (members, quota), compete)
    idle = memo.get(("idle", key), (entrants, hosts), lambda: idle_hosts(hosts, entrants.wanted))
    standing, expires = age(hosts, idle, wall=wall)

    def agree(known: Settlement | None) -> Settlement:
        changed = settle_changed(known, entrants, standing) if known is not None else None
        return changed or settle(entrants, standing)

    settled = memo.revise(("settled", key), (entrants, standing), agree)
    verdicts, claims = settled.verdicts, settled.claims
    return _Contest(verdicts, state if claims is hosts else replace(state, hosts=claims), expires)


def _balanced_nodes(
    balancer: Balancer,
    members: _Members,
    verdicts: Mapping[Key, Verdict],
    snapshot: Snapshot,
    reserved: Mapping[str, Reserved],
    settings: GraphSettings,
    memo: Memo,
) -> Mapping[Key, RouteNode]:
    """The routes of one balancer."""
    spec, own = balancer.spec, balancer.meta.key
    assert spec is not None
    rules = EndpointRules(
        manual=settings.standalone or spec.allowed_routes.manual_endpoints,
        host_network=spec.allowed_routes.host_network_endpoints,
        loopback=settings.standalone,
    )
    services, slices = snapshot.services, snapshot.slices
    around = (spec, rules, reserved, verdicts, services, slices)

    looked_up: dict[Key, Target] = {}

    def target(service: Key) -> Target:
        # Many routes may refer to one Service, which may have many endpoints.
        if service not in looked_up:
            found = slices.get(service, ())
            looked_up[service] = services.get(service), found, reserved_among(found, reserved)
        return looked_up[service]

    def resolve(service: Service, target: Target, port: ServicePort) -> EndpointSet:
        _, found, taken = target
        return memo.get(
            ("endpoints", service.meta.key, port.port, port.protocol, rules),
            (target, port),
            lambda: resolve_endpoints(service, found, port, rules=rules, reserved=dict(taken)),
        )

    def targets(member: _Member) -> tuple[Target, ...]:
        return tuple(target(service) for service in member.admission.services)

    def inputs(key: Key, member: _Member) -> tuple[object, ...]:
        return (member, verdicts.get(key), targets(member), spec, rules)

    def compute(_: Key, member: _Member) -> RouteNode:
        return _route_node(member, verdicts.get(member.admission.key), targets(member), spec, resolve)

    def touched(before: tuple[Any, ...]) -> Collection[Key] | None:
        if before[:3] != around[:3]:
            return None
        changed = changed_names(before[4], services) | changed_names(before[5], slices)
        # That no Service changed is as frequent as that one did, and who uses them need not be known then.
        users = memo.get(("users", own), (members,), partial(_users, members)) if changed else {}
        return {key for service in changed for key in users.get(service, ())} | changed_names(before[3], verdicts)

    return memo.each(("nodes", own), members, around, touched=touched, inputs=inputs, compute=compute)


def _users(members: _Members) -> Mapping[Key, list[Key]]:
    """Which routes refer to each Service."""
    users: defaultdict[Key, list[Key]] = defaultdict(list)
    for key, member in members.items():
        for service in member.admission.services:
            users[service].append(key)
    return users


def _route_node(
    member: _Member,
    verdict: Verdict | None,
    targets: tuple[Target, ...],
    balancer_spec: WebSocketBalancerSpec,
    resolve: Resolve,
) -> RouteNode:
    """A route whose balancer exists. ``verdict`` is None when that one does not admit its namespace."""
    spec, admission = member.spec, member.admission
    problems = admission.problems
    # The conflicts of a spec that does not parse are no news to its author yet.
    if verdict is not None and (spec is not None or not verdict.within_quota):
        problems += verdict.problems
    paths: tuple[PathNode, ...] = ()
    unresolved: tuple[Problem, ...] = ()
    if spec is not None:
        found = dict(zip(admission.services, targets, strict=True))
        paths, unresolved = resolve_paths(spec, admission.key.namespace, found, resolve=resolve)
    accepted = not problems
    owns = verdict is not None and verdict.within_quota
    hosts = verdict.hosts if verdict is not None else ()
    listeners = [listener for listener in balancer_spec.listeners if listener.name in admission.listeners]
    return RouteNode(
        key=admission.key,
        uid=member.uid,
        generation=member.generation,
        balancer=member.balancer,
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
