"""Whether a balancer takes a route: its namespace, its hosts, its listeners, its headers, its timeouts, and what its
data plane can do.

Looks at one route and its balancer only; what depends on other routes is in ``conflicts``. The subject of every check
is the route's namespace.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from wsroute.api.balancing import beyond_static
from wsroute.api.conditions import Problem, Reason
from wsroute.api.v1alpha1 import WebSocketBalancerSpec, WebSocketRouteSpec, idle_is_too_short
from wsroute.api.values import derived_host, host_covers
from wsroute.cluster.objects import Claims, Key, Namespace, PathClaim
from wsroute.graph.model import GraphSettings, RouteSettings
from wsroute.graph.references import service_keys

MAX_SELECTOR: Final = 200
"""Letters of a selector in a sentence; a longer one is left out."""

NAMESPACE_NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""On every namespace, set by the API server."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What can be said about a route from itself and its balancer.

    ``admitted`` is false when its namespace is not allowed: then it claims nothing. ``hosts`` are those that the
    balancer lets it claim, ``listeners`` those that exist, both sorted. ``host_fields`` are the hosts' field paths.
    ``settings`` is None when the spec does not parse. ``services`` are those that the route refers to.
    """

    key: Key
    created: str
    admitted: bool
    problems: tuple[Problem, ...]
    hosts: tuple[str, ...] = ()
    host_fields: tuple[str, ...] = ()
    listeners: tuple[str, ...] = ()
    paths: tuple[PathClaim, ...] = ()
    settings: RouteSettings | None = None
    services: tuple[Key, ...] = ()


def admit(
    key: Key,
    created: str,
    parsed: WebSocketRouteSpec | tuple[Problem, ...],
    claims: Claims,
    *,
    balancer: Key,
    spec: WebSocketBalancerSpec,
    namespace: Namespace | None,
    settings: GraphSettings,
) -> Admission:
    """Check a route, whose spec parsed or has problems, against the spec of the balancer that it is for."""
    own_problems = parsed if isinstance(parsed, tuple) else ()
    services = () if isinstance(parsed, tuple) else service_keys(parsed, key.namespace)
    refusal = _namespace_problem(key.namespace, balancer, spec, namespace, settings)
    if refusal is not None:
        return Admission(key=key, created=created, admitted=False, problems=(*own_problems, refusal), services=services)
    problems: list[Problem] = []
    listeners = _listeners(claims, spec, problems)
    hosts = _hosts(key, claims, spec, problems)
    chosen: RouteSettings | None = None
    if isinstance(parsed, WebSocketRouteSpec):
        problems += _header_problems(parsed, spec)
        problems += _timeout_problems(parsed, spec)
        problems += _unsupported(parsed, spec)
        chosen = _settings(parsed, spec, hosts)
    return Admission(
        key=key,
        created=created,
        admitted=True,
        # Of a spec that does not parse, the field paths of the claims that could be read are not the author's.
        problems=own_problems or tuple(problems),
        hosts=tuple(sorted(hosts)),
        host_fields=tuple(field for _, field in sorted(hosts.items())),
        listeners=listeners,
        paths=claims.paths,
        settings=chosen,
        services=services,
    )


def _namespace_problem(
    name: str,
    balancer: Key,
    spec: WebSocketBalancerSpec,
    namespace: Namespace | None,
    settings: GraphSettings,
) -> Problem | None:
    labels: Mapping[str, str] | None = None
    if namespace is not None:
        labels = namespace.labels
    elif settings.standalone:
        labels = {NAMESPACE_NAME_LABEL: name}
    allowed = spec.allowed_routes
    own = balancer.namespace
    # A namespace that we know nothing about meets no selector, not even one that asks for a label to be missing.
    if labels is None and allowed.from_namespaces == "Selector":
        admitted = False
    else:
        admitted = allowed.admits_namespace(name, labels=labels or {}, own=own)
    if admitted:
        return None
    selector = str(allowed.namespaces.selector) if allowed.namespaces is not None else ""
    if len(selector) > MAX_SELECTOR:
        selector = "as its selector asks"
    which = {
        "Same": f"only those of its own namespace {own}",
        "Selector": f"only those of namespaces labelled {selector}",
    }.get(allowed.from_namespaces, "others")
    return Problem(
        Reason.NOT_ALLOWED,
        "spec.balancerRef",
        f"The balancer {balancer} takes no routes from the namespace {name}, {which}: ask its administrator to "
        "extend allowedRoutes.namespaces, or choose another balancer.",
    )


def _listeners(claims: Claims, spec: WebSocketBalancerSpec, problems: list[Problem]) -> tuple[str, ...]:
    names = sorted(listener.name for listener in spec.listeners)
    if claims.listeners is None:
        return tuple(names)
    for index, name in enumerate(claims.listeners):
        if name not in names:
            problems.append(
                Problem(
                    Reason.INVALID,
                    f"spec.listeners[{index}]",
                    f"The balancer has no listener {name}; it has {', '.join(names)}.",
                )
            )
    return tuple(name for name in names if name in claims.listeners)


def _hosts(key: Key, claims: Claims, spec: WebSocketBalancerSpec, problems: list[Problem]) -> dict[str, str]:
    """The hosts that a route may claim, with their field paths."""
    if claims.hosts is None:
        host = None if spec.domain is None else derived_host(key.name, key.namespace, spec.domain)
        if host is not None and _owner_in_domain(host, spec.domain or "") == key.namespace:
            return {host: "spec.hosts"}
        if spec.domain is None:
            message = "The route names no host, and the balancer has no domain to make one from: name one."
        else:
            message = (
                "The route names no host, and none can be made from its name and namespace below the balancer's domain "
                f"{spec.domain}: that takes names without dots and double hyphens, of 61 characters together. Name one."
            )
        problems.append(Problem(Reason.INVALID, "spec.hosts", message))
        return {}
    hosts = {}
    for index, host in enumerate(claims.hosts):
        field = f"spec.hosts[{index}]"
        refusal = _host_refusal(host, key.namespace, spec)
        if refusal is None:
            hosts[host] = field
        else:
            problems.append(Problem(Reason.NOT_ALLOWED, field, refusal))
    return hosts


def _host_refusal(host: str, namespace: str, spec: WebSocketBalancerSpec) -> str | None:
    """Why a namespace may not claim a host, or None."""
    if spec.domain is not None:
        if host == f"*.{spec.domain}":
            return (
                "A wildcard of the balancer's domain would cover the hosts of every namespace: name single hosts below "
                f"{spec.domain}."
            )
        owner = _owner_in_domain(host, spec.domain)
        if owner == namespace:
            return None
        if owner is not None:
            return (
                f"The host {host} belongs to the namespace {owner}: below the balancer's domain, routes of {namespace} "
                f"have hosts that end in --{namespace}.{spec.domain}."
            )
    patterns = spec.allowed_routes.hosts
    if any(host_covers(pattern, host) for pattern in patterns):
        return None
    choices = list(patterns)
    if spec.domain is not None:
        choices.append(f"<name>--{namespace}.{spec.domain}")
    if not choices:
        return (
            f"The balancer lets routes claim no host at all, and so not {host}: ask its administrator to extend "
            "allowedRoutes.hosts."
        )
    return (
        f"The balancer does not let routes claim {host}, only {', '.join(choices)}: choose such a host, or ask its "
        "administrator to extend allowedRoutes.hosts."
    )


def _owner_in_domain(host: str, domain: str) -> str | None:
    """The namespace that a host ``<name>--<namespace>.<domain>`` belongs to, or None for other hosts.

    Only with one double hyphen is it clear where the namespace begins: ``a--b--c`` might be ``a`` of ``b--c`` or
    ``a--b`` of ``c``, and so is nobody's.
    """
    label, _, parent = host.partition(".")
    parts = label.split("--")
    return parts[1] if parent == domain and len(parts) == 2 else None


def _header_problems(route: WebSocketRouteSpec, balancer: WebSocketBalancerSpec) -> Iterator[Problem]:
    if route.headers is None:
        return
    named = [(f"spec.headers.set[{index}].name", header.name) for index, header in enumerate(route.headers.set)]
    named += [(f"spec.headers.remove[{index}]", name) for index, name in enumerate(route.headers.remove)]
    for field, name in named:
        if not balancer.permits_header(name):
            permitted = ", ".join(balancer.request_headers) or "none"
            yield Problem(
                Reason.NOT_ALLOWED,
                field,
                f"The balancer does not let routes change the header {name}; its requestHeaders are {permitted}.",
            )


def _timeout_problems(route: WebSocketRouteSpec, balancer: WebSocketBalancerSpec) -> Iterator[Problem]:
    idle, maximum = route.idle_timeout(balancer), balancer.maximum_idle
    own = route.timeouts.idle if route.timeouts else None
    if maximum is not None and idle > maximum:
        yield Problem(
            Reason.INVALID,
            "spec.timeouts.idle",
            f"The balancer's maximum (maximums.idle) is {balancer.maximums.idle}, and this is {own}: choose no more.",
        )
    if idle_is_too_short(idle, route.ping(balancer)):
        field = "spec.pingInterval" if own is None else "spec.timeouts.idle"
        yield Problem(
            Reason.INVALID,
            field,
            f"timeouts.idle in force is {_seconds(idle)} and must be at least twice the pingInterval in force, "
            f"{_seconds(route.ping(balancer) or 0)}, so that one late ping ends no socket: set either.",
        )


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g}s"


def _unsupported(route: WebSocketRouteSpec, balancer: WebSocketBalancerSpec) -> Iterator[Problem]:
    """What the balancer's data plane can't do. (What the balancer makes the default, it can.)"""
    if balancer.data_plane == "Static":
        for path, sentence in beyond_static(route.load_balancing):
            yield Problem(Reason.UNSUPPORTED, f"spec.loadBalancing{path}", f"{sentence}.")


def _settings(route: WebSocketRouteSpec, balancer: WebSocketBalancerSpec, hosts: Iterable[str]) -> RouteSettings:
    headers = route.headers
    policy, hash_key = route.policy(balancer)
    return RouteSettings(
        connect_timeout=int(route.connect_timeout(balancer)),
        idle_timeout=int(route.idle_timeout(balancer)),
        policy=policy,
        hash_key=hash_key,
        sticky=route.sticky_cookie(balancer),
        origins=route.origin_rules(balancer, hosts),
        set_headers=tuple((header.name, header.value) for header in headers.set) if headers else (),
        remove_headers=tuple(headers.remove) if headers else (),
    )
