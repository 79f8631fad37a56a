"""From a balancer with its routes to the table of its Dynamic data plane.

As in ``build`` what follows from a route or a host is remembered from pass to pass. A changed endpoint must be with
nginx in milliseconds, however many routes there are: what has not changed is only passed by, and stays the same object.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Final, NamedTuple

from wsroute.api.common import header_key
from wsroute.dataplane.hosts import by_listeners
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.table import (
    Address,
    EndpointGroup,
    Forward,
    HostRecord,
    PathRecord,
    Table,
    Target,
)
from wsroute.graph.changes import span
from wsroute.graph.memo import Memo
from wsroute.graph.model import BackendNode, BalancerNode, PathNode, RouteNode, RouteSettings

_ROUTE_INVALID: Final = Refuse(RefusalReason.ROUTE_INVALID)
_NAME: Final = attrgetter("name")
_RECORDS: Final = attrgetter("records")


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
    """A table, and what it was made of: the routes with what each adds, in the same order; the groups by name; and the
    hosts by name, whose names stand in ``names`` in order."""

    permitted: tuple[str, ...]
    routes: tuple[RouteNode, ...]
    fragments: tuple[_Fragment, ...]
    groups: Mapping[str, EndpointGroup]
    hosts: Mapping[str, _Served]
    names: tuple[str, ...]
    table: Table


_NOTHING: Final = _Built((), (), (), {}, {}, (), Table((), ()))


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
    routes = (*node.accepted, *node.rejected)
    start, end_before, end_after = span(before.routes, routes)
    gone = before.fragments[start:end_before]
    known = {fragment.route.key: fragment for fragment in gone}
    come = []
    for route in routes[start:end_after]:
        fragment = known.get(route.key)
        come.append(
            fragment if fragment is not None and fragment.route is route else _fragment(route, permitted, fragment)
        )
    fragments = (*before.fragments[:start], *come, *before.fragments[end_before:])
    groups, in_order = _groups(before, gone, come, fragments)
    hosts, host_names = _hosts(before, gone, come, fragments)
    same = host_names is before.names and hosts is before.hosts
    records = before.table.hosts if same else tuple(chain.from_iterable(map(_RECORDS, map(hosts.get, host_names))))
    return _Built(permitted, routes, fragments, groups, hosts, host_names, Table(records, in_order))


def _groups(
    before: _Built, gone: Sequence[_Fragment], come: Sequence[_Fragment], fragments: tuple[_Fragment, ...]
) -> tuple[Mapping[str, EndpointGroup], tuple[EndpointGroup, ...]]:
    """All groups by name, and in order of their names."""
    fresh = {group.name: group for fragment in come for group in fragment.groups}
    if any(group.name not in fresh for fragment in gone for group in fragment.groups):
        # Whether others use them too can only be told by looking at all.
        groups = {group.name: group for fragment in fragments for group in fragment.groups}
        return groups, tuple(sorted(groups.values(), key=_NAME))
    in_order = list(before.table.groups)
    for name, group in fresh.items():
        place = bisect_left(in_order, name, key=_NAME)
        if name in before.groups:
            in_order[place] = group
        else:
            in_order.insert(place, group)
    return {**before.groups, **fresh}, tuple(in_order)


def _hosts(
    before: _Built, gone: Sequence[_Fragment], come: Sequence[_Fragment], fragments: tuple[_Fragment, ...]
) -> tuple[Mapping[str, _Served], tuple[str, ...]]:
    """All hosts by name, and their names in order."""
    if [fragment.places for fragment in gone] == [fragment.places for fragment in come]:
        return before.hosts, before.names
    names = [host for fragment in come for host in fragment.places.hosts]
    if not gone and len(set(names)) == len(names) and before.hosts.keys().isdisjoint(names):
        parts = ((host, [fragment.places]) for fragment in come for host in fragment.places.hosts)
        fresh = {host: _Served(own, _host_records(host, own)) for host, own in parts}
        in_order = list(before.names)
        for host in names:
            insort(in_order, host)
        return {**before.hosts, **fresh}, tuple(in_order)
    by_host: defaultdict[str, list[_Places]] = defaultdict(list)
    for fragment in fragments:
        for host in fragment.places.hosts:
            by_host[host].append(fragment.places)
    hosts: dict[str, _Served] = {}
    for host, own in by_host.items():
        served = before.hosts.get(host)
        if served is None or served.parts != own:
            served = _Served(own, _host_records(host, own))
        hosts[host] = served
    return hosts, tuple(sorted(hosts))


def _host_records(host: str, parts: list[_Places]) -> tuple[HostRecord, ...]:
    served = by_listeners([(part.listeners, part.paths) for part in parts])
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
        paths.append(PathRecord(ref, path.path, PathMatch(path.match), _forward(path, settings, permitted)))
        groups.update((_group_name(backend), _group(backend)) for backend in path.backends if backend.weight)
    places = _Places(route.hosts, route.listeners, tuple(paths))
    if before is not None and before.places == places:
        places = before.places
    return _Fragment(route, places, tuple(groups.values()))


def _forward(path: PathNode, settings: RouteSettings, permitted: tuple[str, ...]) -> Forward:
    weights: defaultdict[str, int] = defaultdict(int)
    for backend in path.backends:
        if backend.weight:
            weights[_group_name(backend)] += backend.weight
    # nginx.conf has the headers by the names that the balancer's administrator gave them.
    names = {header_key(name): name for name in sorted(permitted, reverse=True)}
    return Forward(
        targets=tuple(Target(group, weight) for group, weight in weights.items()),
        websocket_only=path.websocket_only,
        rewrite_prefix=path.rewrite_prefix,
        connect_timeout=settings.connect_timeout,
        idle_timeout=settings.idle_timeout,
        set_headers=tuple((names[header_key(name)], value) for name, value in settings.set_headers),
        remove_headers=tuple(names[header_key(name)] for name in settings.remove_headers),
        policy=settings.policy,
        origins=settings.origins,
        hash_key=settings.hash_key,
        sticky=settings.sticky,
    )


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
