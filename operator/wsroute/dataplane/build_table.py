"""From a balancer with its routes to the table of its Dynamic data plane.

As in ``build`` what follows from a route or a host is remembered from pass to pass. A changed endpoint must be with
nginx in milliseconds, however many routes there are: what has not changed is only passed by, and stays the same object.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple

from wsroute.api.common import header_key
from wsroute.cluster.objects import Key
from wsroute.dataplane.hosts import by_listeners
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.table import (
    Address,
    EndpointGroup,
    Forward,
    HashKey,
    HostRecord,
    OriginRules,
    PathRecord,
    Policy,
    StickyCookie,
    Table,
    Target,
)
from wsroute.graph.memo import Memo
from wsroute.graph.model import BackendNode, BalancerNode, PathNode, RouteNode, RouteSettings

_ROUTE_INVALID: Final = Refuse(RefusalReason.ROUTE_INVALID)
_NAME: Final = attrgetter("name")


class _Places(NamedTuple):
    """Where one route is served, and what it does there: all but the endpoints."""

    hosts: tuple[str, ...]
    listeners: tuple[str, ...]
    paths: tuple[PathRecord, ...]


class _Fragment(NamedTuple):
    """What a route adds to a table."""

    route: RouteNode
    places: _Places
    groups: tuple[EndpointGroup, ...]


class _Served(NamedTuple):
    """What some routes make of a host."""

    parts: list[_Places]
    records: tuple[HostRecord, ...]


class _Built(NamedTuple):
    """A table, and what it was made of."""

    permitted: tuple[str, ...]
    fragments: Mapping[Key, _Fragment]
    places: list[_Places]
    hosts: Mapping[str, _Served]
    table: Table


_NOTHING: Final = _Built((), {}, [], {}, Table((), ()))


def build_table(node: BalancerNode, *, memo: Memo) -> Table:
    """The table of a balancer.

    Raises ValueError for a balancer whose spec did not parse: there is nothing to build, and what is served stays.
    """
    if node.spec is None:
        raise ValueError(f"the balancer {node.key} has no valid spec")
    permitted = node.spec.request_headers
    inputs = (node.accepted, node.rejected, permitted)
    built: _Built = memo.revise(("table", node.key), inputs, partial(_build, node, permitted))
    return built.table


def _build(node: BalancerNode, permitted: tuple[str, ...], before: _Built | None) -> _Built:
    if before is None or before.permitted != permitted:
        before = _NOTHING
    fragments: dict[Key, _Fragment] = {}
    groups: dict[str, EndpointGroup] = {}
    for route in (*node.accepted, *node.rejected):
        fragment = before.fragments.get(route.key)
        if fragment is None or fragment.route is not route:
            fragment = _fragment(route, permitted, fragment)
        fragments[route.key] = fragment
        for group in fragment.groups:
            groups[group.name] = group
    places = [fragment.places for fragment in fragments.values()]
    hosts = before.hosts if places == before.places else _hosts(places, before.hosts)
    records = tuple([record for served in hosts.values() for record in served.records])
    table = Table(hosts=records, groups=tuple(sorted(groups.values(), key=_NAME)))
    return _Built(permitted, fragments, places, hosts, table)


def _hosts(places: list[_Places], before: Mapping[str, _Served]) -> dict[str, _Served]:
    """All hosts, in order."""
    by_host: defaultdict[str, list[_Places]] = defaultdict(list)
    for part in places:
        for host in part.hosts:
            by_host[host].append(part)
    hosts: dict[str, _Served] = {}
    for host, parts in sorted(by_host.items()):
        served = before.get(host)
        if served is None or served.parts != parts:
            served = _Served(parts, _host_records(host, parts))
        hosts[host] = served
    return hosts


def _host_records(host: str, parts: list[_Places]) -> tuple[HostRecord, ...]:
    served = by_listeners((part.listeners, part.paths) for part in parts)
    return tuple(HostRecord(host, listeners, paths) for listeners, paths in served)


def _fragment(route: RouteNode, permitted: tuple[str, ...], before: _Fragment | None) -> _Fragment:
    """What a route adds. ``before`` is what it added; of that stays what is equal."""
    ref = RouteRef(*route.key)
    paths = [PathRecord(ref, path, PathMatch(match), _ROUTE_INVALID) for path, match in route.withdrawn_paths]
    groups: dict[str, EndpointGroup] = {}
    for path in route.paths:
        settings = route.settings
        if settings is None:
            raise ValueError(f"the accepted route {route.key} has no settings")
        paths.append(PathRecord(ref, path.path, PathMatch(path.match), _forward(path, settings, route, permitted)))
        groups.update((_group_name(backend), _group(backend)) for backend in path.backends if backend.weight)
    places = _Places(route.hosts, route.listeners, tuple(paths))
    if before is not None and before.places == places:
        places = before.places
    return _Fragment(route, places, tuple(groups.values()))


def _forward(path: PathNode, settings: RouteSettings, route: RouteNode, permitted: tuple[str, ...]) -> Forward:
    weights: defaultdict[str, int] = defaultdict(int)
    for backend in path.backends:
        if backend.weight:
            weights[_group_name(backend)] += backend.weight
    # nginx.conf has the headers by the names that the balancer's administrator gave them.
    names = {header_key(name): name for name in sorted(permitted, reverse=True)}
    policy, hash_key, sticky, origins = _policies(settings, route.hosts)
    return Forward(
        targets=tuple(Target(group, weight) for group, weight in weights.items()),
        websocket_only=path.websocket_only,
        rewrite_prefix=path.rewrite_prefix,
        connect_timeout=settings.connect_timeout,
        idle_timeout=settings.idle_timeout,
        set_headers=tuple((names[header_key(name)], value) for name, value in settings.set_headers),
        remove_headers=tuple(names[header_key(name)] for name in settings.remove_headers),
        policy=policy,
        origins=origins,
        hash_key=hash_key,
        sticky=sticky,
    )


def _policies(
    settings: RouteSettings, hosts: tuple[str, ...]
) -> tuple[Policy, HashKey | None, StickyCookie | None, OriginRules]:
    """How an endpoint is chosen, and which pages may open sockets."""
    return Policy(settings.policy), None, None, OriginRules("Off", tuple(sorted(hosts)))


def _group_name(backend: BackendNode) -> str:
    """Backends of one name have the same endpoints, whichever route they are of."""
    return f"{backend.service}:{backend.port}"


def _group(backend: BackendNode) -> EndpointGroup:
    found = backend.endpoints
    return EndpointGroup(
        name=_group_name(backend),
        addresses=tuple(Address(*address) for address in found.addresses),
        returning=tuple(Address(*address) for address in found.returning),
    )
