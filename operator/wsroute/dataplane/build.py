"""From a balancer with its routes to what nginx must do, without a word of nginx's language.

Each route becomes a fragment: its upstreams, and the locations that all its hosts have on all its listeners. Fragments
of one host become its virtual servers. Both are remembered from pass to pass, by the route's node.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from wsroute.api.policies import Policy
from wsroute.dataplane.certificates import NO_CERTIFICATES, ListenerTls
from wsroute.dataplane.hosts import by_listeners
from wsroute.dataplane.ir import (
    Configuration,
    Endpoint,
    Listener,
    Location,
    PathMatch,
    Proxy,
    RefusalReason,
    Refuse,
    RouteRef,
    Upstream,
    VirtualServer,
)
from wsroute.dataplane.shell import build_shell
from wsroute.dataplane.weights import MAX_HASH_WEIGHT, MAX_WEIGHT, endpoint_weights
from wsroute.graph.changes import span
from wsroute.graph.memo import Memo
from wsroute.graph.model import BackendNode, BalancerNode, PathNode, RouteNode, RouteSettings

NO_TLS: Final[Mapping[str, ListenerTls]] = MappingProxyType({})
_NO_ENDPOINTS: Final = Refuse(RefusalReason.NO_ENDPOINTS)
_ROUTE_INVALID: Final = Refuse(RefusalReason.ROUTE_INVALID)


@dataclass(frozen=True, slots=True)
class _Fragment:
    """What one route adds to a configuration."""

    hosts: tuple[str, ...]
    listeners: tuple[str, ...]
    locations: tuple[Location, ...]
    upstreams: tuple[Upstream, ...]


_Served = tuple[tuple[tuple[str, ...], tuple[Location, ...]], ...]
"""What routes do on a host: on which listeners, and there."""


class _Host(NamedTuple):
    """A host, and the servers that follow from what routes do on it."""

    served: _Served
    servers: tuple[VirtualServer, ...]


@dataclass(frozen=True, slots=True)
class _Built:
    """What follows from some routes: what each adds, in the same order, and the hosts, servers and upstreams."""

    routes: tuple[RouteNode, ...]
    fragments: tuple[_Fragment, ...]
    hosts: Mapping[str, _Host]
    servers: tuple[VirtualServer, ...]
    upstreams: tuple[Upstream, ...]


_NOTHING: Final = _Built((), (), {}, (), ())

_NAME: Final = attrgetter("name")
_SERVED: Final = attrgetter("hosts", "listeners", "locations")
"""What servers are made of."""


def build_file(
    node: BalancerNode,
    *,
    ipv6: bool,
    main_template: str | None = None,
    tls: Mapping[str, ListenerTls] = NO_TLS,
    memo: Memo | None = None,
) -> Configuration:
    """What stands in a balancer's nginx.conf, with ``build_configuration``'s arguments: nothing of the routes and the
    certificates of a Dynamic one, which has them in its tables. Raises ValueError as that does."""
    if node.spec is None or not node.spec.is_dynamic:
        return build_configuration(node, ipv6=ipv6, main_template=main_template, tls=tls, memo=memo)
    bare = replace(node, accepted=(), rejected=())
    return replace(build_configuration(bare, ipv6=ipv6, main_template=main_template), shell=build_shell(node.spec))


def build_configuration(
    node: BalancerNode,
    *,
    ipv6: bool,
    main_template: str | None = None,
    tls: Mapping[str, ListenerTls] = NO_TLS,
    memo: Memo | None = None,
) -> Configuration:
    """The configuration of a balancer. ``ipv6`` says that its pods can listen on IPv6; ``main_template`` is the text of
    a custom one; ``tls`` are the certificates of its listeners, by their names.

    Raises ValueError for a balancer whose spec did not parse: there is nothing to build, and what is served stays.
    """
    spec = node.spec
    if spec is None:
        raise ValueError(f"the balancer {node.key} has no valid spec")
    memo = Memo() if memo is None else memo
    built = memo.revise(("configuration", node.key), (node.accepted, node.rejected), partial(_build, node))
    return Configuration(
        balancer=node.key.name,
        listeners=tuple(
            Listener(
                name=listener.name,
                port=listener.port,
                public_scheme=listener.public_scheme,
                public_port=listener.public_port,
                tls=tls.get(listener.name, NO_CERTIFICATES) if listener.ends_tls else None,
            )
            for listener in sorted(spec.listeners, key=lambda listener: listener.name)
        ),
        ipv6=ipv6,
        trusted_proxies=tuple(sorted(spec.trusted_proxies)),
        worker_processes=spec.worker_processes,
        worker_connections=spec.worker_connections,
        upstreams=built.upstreams,
        servers=built.servers,
        main_template=main_template,
    )


def _build(node: BalancerNode, before: _Built | None) -> _Built:
    """What follows from the routes. What the change of one leaves as it was is taken over from before."""
    if before is None:
        before = _NOTHING
    routes = (*node.accepted, *node.rejected)
    start, end_before, end_after = span(before.routes, routes)
    gone = before.fragments[start:end_before]
    known = {route.key: (route, part) for route, part in zip(before.routes[start:end_before], gone, strict=True)}
    come = tuple(_known_fragment(route, known.get(route.key)) for route in routes[start:end_after])
    fragments = (*before.fragments[:start], *come, *before.fragments[end_before:])
    hosts, servers, upstreams = before.hosts, before.servers, before.upstreams
    if list(map(_SERVED, gone)) != list(map(_SERVED, come)):
        hosts = _all_hosts(fragments, before.hosts)
        servers = tuple(chain.from_iterable(each.servers for each in hosts.values()))
    if list(map(_NAME, _upstreams(gone))) == list(map(_NAME, _upstreams(come))):
        in_order = list(upstreams)
        for upstream in _upstreams(come):
            in_order[bisect_left(in_order, upstream.name, key=_NAME)] = upstream
        upstreams = tuple(in_order)
    else:
        upstreams = tuple(sorted(_upstreams(fragments), key=_NAME))
    return _Built(routes, fragments, hosts, servers, upstreams)


def _upstreams(fragments: tuple[_Fragment, ...]) -> Iterator[Upstream]:
    return chain.from_iterable(fragment.upstreams for fragment in fragments)


def _all_hosts(fragments: tuple[_Fragment, ...], before: Mapping[str, _Host]) -> dict[str, _Host]:
    """All hosts in order. One on which nothing has changed stays the same object."""
    by_host: defaultdict[str, list[_Fragment]] = defaultdict(list)
    for fragment in fragments:
        for host in fragment.hosts:
            by_host[host].append(fragment)
    hosts = {}
    for host, parts in sorted(by_host.items()):
        served = tuple((part.listeners, part.locations) for part in parts)
        known = before.get(host)
        hosts[host] = known if known is not None and known.served == served else _Host(served, _servers(host, served))
    return hosts


def _servers(host: str, served: _Served) -> tuple[VirtualServer, ...]:
    """The virtual servers of a host: one for all listeners that have the same locations."""
    return tuple(VirtualServer(host, listeners, locations) for listeners, locations in by_listeners(served))


def _known_fragment(route: RouteNode, known: tuple[RouteNode, _Fragment] | None) -> _Fragment:
    return known[1] if known is not None and known[0] is route else _fragment(route)


def _fragment(route: RouteNode) -> _Fragment:
    ref = RouteRef(*route.key)
    numbers: dict[tuple[BackendNode, ...], int] = {}
    upstreams: dict[str, Upstream] = {}
    locations = [Location(ref, path, PathMatch(match), _ROUTE_INVALID) for path, match in route.withdrawn_paths]
    for path in route.paths:
        settings = route.settings
        if settings is None:
            raise ValueError(f"the accepted route {route.key} has no settings")
        number = numbers.setdefault(path.backends, len(numbers))
        action: Proxy | Refuse = _NO_ENDPOINTS
        if path.takes_sockets:
            # Neither a namespace nor an object's name can hold an underscore: no two routes make the same name.
            name = f"{ref.namespace}_{ref.name}_{number}"
            if name not in upstreams:
                upstreams[name] = _upstream(name, path.backends, settings)
            action = _proxy(name, path, settings)
        locations.append(Location(ref, path.path, PathMatch(path.match), action))
    return _Fragment(
        hosts=route.hosts,
        listeners=route.listeners,
        locations=tuple(locations),
        upstreams=tuple(upstreams.values()),
    )


def _proxy(upstream: str, path: PathNode, settings: RouteSettings) -> Proxy:
    return Proxy(
        upstream=upstream,
        websocket_only=path.websocket_only,
        rewrite_prefix=path.rewrite_prefix,
        connect_timeout=settings.connect_timeout,
        idle_timeout=settings.idle_timeout,
        set_headers=settings.set_headers,
        remove_headers=settings.remove_headers,
        origins=settings.origins,
    )


def _upstream(name: str, backends: tuple[BackendNode, ...], settings: RouteSettings) -> Upstream:
    """The endpoints of a path's backends. Where two backends have an endpoint in common, its weights add up."""
    shares = [(backend.weight, len(backend.endpoints.addresses)) for backend in backends]
    largest = MAX_HASH_WEIGHT if settings.policy is Policy.HASH else MAX_WEIGHT
    weights = endpoint_weights(shares, largest=largest)
    total: defaultdict[tuple[str, int], int] = defaultdict(int)
    for backend, weight in zip(backends, weights, strict=True):
        if weight:
            for address in backend.endpoints.addresses:
                total[address] += weight
    return Upstream(
        name=name,
        balancing=settings.policy,
        hash_key=settings.hash_key,
        endpoints=tuple(sorted(Endpoint(address, port, weight) for (address, port), weight in total.items())),
        sources=tuple(f"{backend.service}:{backend.port} weight {backend.weight}" for backend in backends),
    )
