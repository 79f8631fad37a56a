"""Why one version of a balancer's file does not do where another one runs: what differs, in words of the API. Pure.

The settings of a balancer are flat text, so that they can travel with a version and be compared by an operator that did
not make it, of this release or another one. Routes are compared by the configurations themselves: they are part of the
file with the Static data plane only.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from wsroute.dataplane.ir import Configuration, Listener, Location, RouteRef, Upstream

Settings = Mapping[str, str]
"""What a version says of the balancer itself: a text for each field."""

MAX_CHANGES: Final = 8
"""Changes that are told of one version; the last one counts the others where there are more."""

_MAX_TEXT: Final = 64 * 1024
_MAX_VALUE: Final = 200
_REASON: Final = re.compile(r"[A-Za-z]{1,64}", re.ASCII)
_LISTENER: Final = re.compile(r"spec\.listeners\[[^\]]*\]")


class Reason(StrEnum):
    """What can make another file necessary; part of the API (``status.lastReload.changes``)."""

    LISTENER_ADDED = "ListenerAdded"
    LISTENER_REMOVED = "ListenerRemoved"
    LISTENER_CHANGED = "ListenerChanged"
    CERTIFICATES = "Certificates"
    TIMEOUT_CLASSES = "TimeoutClasses"
    REQUEST_HEADERS = "RequestHeaders"
    WORKER_SETTINGS = "WorkerSettings"
    TRUSTED_PROXIES = "TrustedProxies"
    TEMPLATE = "Template"
    DATA_PLANE = "DataPlane"
    IPV6 = "IPv6"
    RELEASE = "Release"
    ROUTES = "Routes"
    ENDPOINTS = "Endpoints"
    ENDPOINT_REMOVAL = "EndpointRemoval"
    UNKNOWN = "Unknown"


class Change(NamedTuple):
    """One difference: its reason, in one word, and what it is about: a field of the balancer, or a route."""

    reason: str
    subject: str

    @property
    def known_reason(self) -> Reason:
        """The reason, where this release has it: what was read may be any word."""
        return Reason(self.reason) if self.reason in list(Reason) else Reason.UNKNOWN

    def __str__(self) -> str:
        return f"{self.reason} ({self.subject})" if self.subject else self.reason


_PLANE: Final = "spec.dataPlane"
_RELEASE: Final = "the operator's release"
_IPV6: Final = "IPv6 of the pods"
_REASONS: Final = {
    _PLANE: Reason.DATA_PLANE,
    "spec.trustedProxies": Reason.TRUSTED_PROXIES,
    "spec.nginx.workerProcesses": Reason.WORKER_SETTINGS,
    "spec.nginx.workerConnections": Reason.WORKER_SETTINGS,
    "spec.nginx.templateRef": Reason.TEMPLATE,
    "spec.requestHeaders": Reason.REQUEST_HEADERS,
    "spec.maximums.idle": Reason.TIMEOUT_CLASSES,
    "connect timeouts": Reason.TIMEOUT_CLASSES,
    _IPV6: Reason.IPV6,
    _RELEASE: Reason.RELEASE,
}


_WITH_THE_PLANE: Final = frozenset({_RELEASE, "spec.requestHeaders", "spec.maximums.idle", "connect timeouts"})
"""What one data plane's file has and the other's has not, or in words of its own."""


def settings_of(configuration: Configuration, *, release: str) -> Settings:
    """The settings that a configuration follows from. ``release`` names what the file's own words come from."""
    shell = configuration.shell
    found = {
        _RELEASE: release,
        _IPV6: str(configuration.ipv6),
        _PLANE: "Static" if shell is None else "Dynamic",
        "spec.trustedProxies": " ".join(configuration.trusted_proxies),
        "spec.nginx.workerProcesses": str(configuration.worker_processes or "auto"),
        "spec.nginx.workerConnections": str(configuration.worker_connections),
        "spec.nginx.templateRef": _digest(configuration.main_template) if configuration.main_template else "",
    }
    if shell is not None:
        found["spec.requestHeaders"] = " ".join(shell.headers)
        found["spec.maximums.idle"] = " ".join(map(str, shell.idle_timeouts))
        found["connect timeouts"] = " ".join(map(str, shell.connect_timeouts))
    for listener in configuration.listeners:
        found[_field_of(listener.name)] = _describe(listener)
        if listener.tls is not None:
            found[f"{_field_of(listener.name)}.tls"] = _digest(repr(listener.tls))
    return {field: value if len(value) <= _MAX_VALUE else _digest(value) for field, value in found.items()}


def _field_of(listener: str) -> str:
    return f"spec.listeners[{listener}]"


def _describe(listener: Listener) -> str:
    tls = " with TLS" if listener.tls is not None else ""
    return f"{listener.port}{tls}, seen as {listener.public_scheme} {listener.public_port}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


def settings_to_text(settings: Settings) -> str:
    """As they travel in an annotation: the same settings give the same bytes."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def settings_from_text(text: str) -> Settings | None:
    """Settings as another operator wrote them, of this release or not; None for what are none. Fields that this release
    does not know stay among them."""
    raw = _parse(text)
    if not isinstance(raw, dict) or not raw or not all(isinstance(value, str) for value in raw.values()):
        return None
    return raw


def changed_settings(before: Settings | None, after: Settings) -> tuple[Change, ...]:
    """What differs, in a fixed order. Where nothing is known of what was before, another release made it."""
    if before is None:
        return (Change(Reason.RELEASE, _RELEASE),)
    fields = sorted(before.keys() | after.keys(), key=lambda field: (field not in _REASONS, field))
    changes = [
        Change(_reason(field, before, after), field)
        for field in fields
        if before.get(field) != after.get(field)
        and not _is_told_by_listener(field, before, after)
        and not _is_told_by_plane(field, before, after)
    ]
    return tuple(sorted(changes, key=_rank))


def _reason(field: str, before: Settings, after: Settings) -> Reason:
    if _LISTENER.fullmatch(field):
        if field in before and field in after:
            return Reason.LISTENER_CHANGED
        return Reason.LISTENER_ADDED if field in after else Reason.LISTENER_REMOVED
    if _LISTENER.match(field):
        return Reason.CERTIFICATES
    return _REASONS.get(field, Reason.RELEASE)  # a field that this release does not have, or the other one had not


def _is_told_by_listener(field: str, before: Settings, after: Settings) -> bool:
    """Certificates are news where the listener has ended TLS before and goes on to do so."""
    return _LISTENER.match(field) is not None and field.endswith(".tls") and not (field in before and field in after)


def _is_told_by_plane(field: str, before: Settings, after: Settings) -> bool:
    """Another data plane is news by itself."""
    return field in _WITH_THE_PLANE and before.get(_PLANE) != after.get(_PLANE)


def serves_alike(before: Settings, after: Settings, listeners: Iterable[str]) -> bool:
    """Whether a version with these settings gives a Dynamic balancer's route on these listeners what another one would:
    the listeners themselves, the timeouts and the headers."""
    fields = [_PLANE, "spec.requestHeaders", "spec.maximums.idle", "connect timeouts"]
    fields += map(_field_of, listeners)
    return all(before.get(field) == after.get(field) for field in fields)


# --- routes ---


def changed_routes(before: Configuration, after: Configuration) -> tuple[Change, ...]:
    """The routes that are served otherwise, each once. Parts that did not change are the same objects."""
    return by_route((*_changed_upstreams(before, after), *_changed_locations(before, after)))


def by_route(found: Iterable[tuple[RouteRef, Reason]]) -> tuple[Change, ...]:
    """Each route once, with the first of its reasons."""
    reasons: dict[RouteRef, Reason] = {}
    for route, reason in found:
        known = reasons.get(route)
        if known is None or _rank(Change(reason, "")) < _rank(Change(known, "")):
            reasons[route] = reason
    changes = [Change(reason, f"WebSocketRoute {route}") for route, reason in reasons.items()]
    return tuple(sorted(changes, key=_rank))


def _changed_upstreams(before: Configuration, after: Configuration) -> Iterator[tuple[RouteRef, Reason]]:
    old = {upstream.name: upstream for upstream in before.upstreams}
    new = {upstream.name: upstream for upstream in after.upstreams}
    for name in old.keys() | new.keys():
        was, now = old.get(name), new.get(name)
        if was is not now and was != now:
            yield owner(name), _endpoint_change(was, now)


def _endpoint_change(was: Upstream | None, now: Upstream | None) -> Reason:
    if was is None or now is None:
        return Reason.ROUTES
    if (was.balancing, was.hash_key) != (now.balancing, now.hash_key):
        return Reason.ROUTES
    addresses = {(endpoint.address, endpoint.port) for endpoint in now.endpoints}
    left = any((endpoint.address, endpoint.port) not in addresses for endpoint in was.endpoints)
    return Reason.ENDPOINT_REMOVAL if left else Reason.ENDPOINTS


def owner(upstream: str) -> RouteRef:
    """The route of an upstream, whose name is made of it and a number (``dataplane.build``)."""
    namespace, _, rest = upstream.partition("_")
    return RouteRef(namespace, rest.rpartition("_")[0])


def _changed_locations(before: Configuration, after: Configuration) -> Iterator[tuple[RouteRef, Reason]]:
    kept: frozenset[int] = frozenset()
    if before.listeners == after.listeners:
        kept = frozenset(map(id, before.servers)) & frozenset(map(id, after.servers))
    for _, _, location in _locations(before, kept) ^ _locations(after, kept):
        yield location.route, Reason.ROUTES


def _locations(configuration: Configuration, kept: Collection[int]) -> set[tuple[int, str, Location]]:
    """Each location with each port and host that it is for, but those of some servers."""
    ports = {listener.name: listener.port for listener in configuration.listeners}
    return {
        (ports[name], server.host, location)
        for server in configuration.servers
        if id(server) not in kept
        for name in server.listeners
        for location in server.locations
    }


# --- how they are told ---

_ORDER: Final = [str(reason) for reason in Reason]


def _rank(change: Change) -> tuple[int, str]:
    return _ORDER.index(change.reason), change.subject


def shortened(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """No more than are told: the last one counts those that are left out."""
    if len(changes) <= MAX_CHANGES:
        return changes
    told = changes[: MAX_CHANGES - 1]
    return (*told, Change(changes[len(told)].reason, f"and {len(changes) - len(told)} more"))


def changes_to_text(changes: Iterable[Change]) -> str:
    """As they travel in an annotation."""
    return json.dumps([list(change) for change in changes], separators=(",", ":"), ensure_ascii=False)


def changes_from_text(text: str) -> tuple[Change, ...]:
    """Changes as an operator wrote them, which may know other reasons; what are none is left out."""
    raw = _parse(text)
    found = []
    for item in raw[:MAX_CHANGES] if isinstance(raw, list) else []:
        match item:
            case [str(reason), str(subject)] if _REASON.fullmatch(reason) and len(subject) <= 2 * _MAX_VALUE:
                found.append(Change(reason, "".join(char if char.isprintable() else " " for char in subject)))
    return tuple(found)


def _parse(text: str) -> Any:
    if len(text) > _MAX_TEXT:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
