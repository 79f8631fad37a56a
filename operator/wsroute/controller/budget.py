"""The reload budget of a balancer: may a change be brought in now, and if not, why and until when. Pure.

Each reload leaves a generation of old workers in each pod, with the memory that they need, for as long as their sockets
live. So reloads are held:

- for ``minInterval`` after the last one, so that a burst becomes one reload (an isolated change goes at once);
- while a pod has ``maxDrainingGenerations`` that still hold sockets. It ends as soon as one of them has ended, at the
  latest with the oldest one's ``drainTimeout``.

Neither holds the removal of an endpoint, as another tenant's pod may get its address: an address that leaves a route's
upstreams, be it by the route's deletion. Within the interval it goes alone, as the version that stands with other
endpoints: on all pods at once and without canary, and the wait of all else goes on. Where that can't be (a route loses
its last endpoint, or is deleted or edited), and while a pod is full, as the reload costs it a generation in any case,
it takes along all that waits.

What has to be remembered stands in annotations of the two ConfigMaps, as wall-clock time, and in what pods acknowledge.
Times are seconds since the epoch.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from wsroute.api.fields import Duration
from wsroute.api.v1alpha1 import WebSocketBalancerSpec
from wsroute.controller.rollout import SILENCE, BalancerPod
from wsroute.dataplane.ir import Configuration
from wsroute.dataplane.reload_changes import Change

LATE: Final = 600.0
"""Seconds after its drain timeout for which an acknowledged generation still counts: its workers are ended one after
another. After that its agent is dead, or wrong, and holds nothing up any more."""

AHEAD: Final = 300.0
"""Seconds by which a pod's clock may be ahead of ours for its acknowledgement to count."""

Endpoints = Mapping[str, frozenset[tuple[str, int]]]
"""Addresses and ports by the name of their upstream."""


class Cause(StrEnum):
    """What makes a reload necessary; part of the API (``status.lastReload.reason``)."""

    CONFIGURATION = "Configuration"
    ENDPOINTS = "Endpoints"
    REMOVAL = "EndpointRemoval"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a balancer allows. Seconds; the texts are as its admin wrote them."""

    min_interval: float
    max_generations: int
    drain_timeout: float
    min_interval_text: str
    drain_timeout_text: str
    removals_wait: bool = False
    """With strategy Restart nothing goes out of turn: each time it does, all sockets are cut."""


@dataclass(frozen=True, slots=True)
class Reload:
    """When a version was published, and why. The next interval counts from ``interval_from``, which is before ``time``
    for what was published out of turn. ``cause`` is what the budget goes by, and ``changes`` tell what it was."""

    time: float
    cause: str
    interval_from: float
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Full:
    """A pod that has as many draining generations as it may.

    ``until`` is when the time of the oldest is over. ``coming`` means that it has one less and yet to load the version
    that stands, which leaves another one.
    """

    pod: str
    generations: int
    until: float
    coming: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """The change waits. ``look_at`` is when it would go although nothing else happens."""

    message: str
    look_at: float


@dataclass(frozen=True, slots=True)
class Go:
    """The change goes; ``alone`` if what could have waited is to stay behind."""

    alone: bool = False


def terms_of(spec: WebSocketBalancerSpec) -> Terms:
    """The terms of a balancer."""
    reload = spec.reload

    def seconds(duration: Duration) -> float:
        return duration / 1000

    return Terms(
        min_interval=seconds(reload.interval),
        max_generations=reload.max_draining_generations,
        drain_timeout=seconds(reload.drains_for),
        min_interval_text=reload.interval.text,
        drain_timeout_text=reload.drains_for.text,
        removals_wait=reload.restarts,
    )


def judge(cause: Cause, *, terms: Terms, last: Reload | None, full: Full | None, now: float) -> Go | Hold:
    """Whether a change goes now. ``last`` is the reload before it, ``full`` a pod that has no room for another one."""
    if full is not None:
        return Go() if cause is Cause.REMOVAL else _held_by_pod(full, terms)
    # A time to come is some other clock's: it holds nothing.
    if last is None or last.interval_from > now:
        return Go()
    until = last.interval_from + terms.min_interval
    if now >= until:
        return Go()
    if cause is Cause.REMOVAL and not terms.removals_wait:
        return Go(alone=True)
    message = (
        f"Reloads keep {terms.min_interval_text} apart (spec.reload.minInterval of the balancer), and the last one was "
        f"at {_clock(last.interval_from)}: the change is brought in at {_clock(until)}."
    )
    return Hold(message, until)


def find_full(
    pods: Iterable[BalancerPod], *, standing: str, published: float | None, terms: Terms, now: float
) -> Full | None:
    """The pod for which all others wait: of those that have no room, the one whose oldest generation lives longest.

    ``standing`` is the version that pods load or run, and ``published`` when it was.
    """
    found: list[Full] = []
    for pod in pods:
        if pod.said is None:
            continue
        draining = pod.said.draining
        until = draining.oldest + terms.drain_timeout
        believed = draining.oldest <= now + AHEAD and now < until + LATE
        generations = draining.generations if believed else 0
        if generations >= terms.max_generations:
            found.append(Full(pod.name, generations, until))
        elif generations + _coming(pod, standing, published, now) >= terms.max_generations and published is not None:
            found.append(Full(pod.name, generations, published + SILENCE, coming=True))
    return max(found, key=lambda full: (not full.coming, full.until, full.pod), default=None)


def _coming(pod: BalancerPod, standing: str, published: float | None, now: float) -> bool:
    """Whether a pod will soon have one generation more. One that takes longer than that is not counted on."""
    said = pod.said
    return (
        said is not None
        and published is not None
        and pod.ready
        and said.version not in ("", standing)
        and not pod.refused(standing)
        and said.sockets > said.draining.sockets
        and published <= now < published + SILENCE
    )


def _held_by_pod(full: Full, terms: Terms) -> Hold:
    if full.coming:
        message = f"The change waits until pod {full.pod} has loaded the version before, until {_clock(full.until)}."
        return Hold(message, full.until)
    message = (
        f"{describe_full(full, terms)} The change waits until one of them has ended, at the latest until shortly after "
        f"{_clock(full.until)}, when the drainTimeout ({terms.drain_timeout_text}) of the oldest is over."
    )
    return Hold(message, full.until + LATE)


def describe_full(full: Full, terms: Terms) -> str:
    """That a pod is full, as a sentence."""
    return (
        f"Pod {full.pod} has {full.generations} draining generations that hold sockets, and "
        f"spec.reload.maxDrainingGenerations of the balancer is {terms.max_generations}."
    )


def describe_backlog(full: Full, terms: Terms, *, waiting: bool) -> str:
    """The same for the balancer's condition."""
    what = "Changes wait now" if waiting else "Changes will wait"
    return (
        f"{describe_full(full, terms)} {what} until one of them has ended, at the latest until shortly after "
        f"{_clock(full.until)}; only the removal of an endpoint goes at once, and ends the oldest generation early."
    )


# --- what changes ---


def removes(before: Configuration, after: Configuration) -> bool:
    """Whether an address leaves the upstreams of a route. Parts that did not change are the same objects."""
    kept = {id(upstream) for upstream in after.upstreams}
    touched = {_owner(upstream.name) for upstream in before.upstreams if id(upstream) not in kept}
    return bool(touched) and _leave(_endpoints(before, touched), _endpoints(after, touched))


def removes_of(before: Endpoints, after: Configuration) -> bool:
    """The same, where no more is known of what stands than its addresses."""
    return _leave(before, _endpoints(after, {_owner(name) for name in before}))


def _leave(before: Endpoints, after: Endpoints) -> bool:
    remaining = _by_route(after)
    return any(addresses - remaining.get(route, frozenset()) for route, addresses in _by_route(before).items())


def _endpoints(configuration: Configuration, routes: Collection[str]) -> Endpoints:
    return {
        upstream.name: frozenset((endpoint.address, endpoint.port) for endpoint in upstream.endpoints)
        for upstream in configuration.upstreams
        if _owner(upstream.name) in routes
    }


def _owner(upstream: str) -> str:
    """The route of an upstream: its name ends in a number (``dataplane.build``)."""
    return upstream.rpartition("_")[0]


def _by_route(endpoints: Endpoints) -> Endpoints:
    routes: dict[str, frozenset[tuple[str, int]]] = {}
    for name, addresses in endpoints.items():
        routes[_owner(name)] = routes.get(_owner(name), frozenset()) | addresses
    return routes


def only_endpoints(standing: Configuration, desired: Configuration) -> Configuration | None:
    """What stands, with the endpoints of what is desired; None when addresses leave that this would not take away.

    Upstreams whose backends are others stay as they are: they wait with their route.
    """
    mixed = with_endpoints(standing, desired)
    return None if removes(mixed, desired) else mixed


def with_endpoints(standing: Configuration, desired: Configuration) -> Configuration:
    """What stands, with the endpoints of what is desired where the backends are the same and some are left."""
    wanted = {upstream.name: upstream for upstream in desired.upstreams}
    upstreams = []
    for old in standing.upstreams:
        new = wanted.get(old.name)
        same = new is not None and (new.balancing, new.sources) == (old.balancing, old.sources)
        upstreams.append(new if new is not None and same else old)
    return replace(standing, upstreams=tuple(upstreams))


# --- times ---


def to_text(moment: float) -> str:
    """RFC 3339, to the millisecond; what was read is written as it was."""
    return datetime.fromtimestamp(round(moment, 3), UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def from_text(text: str) -> float | None:
    """The moment that ``to_text`` wrote; None for what a hand has put there."""
    if not text.endswith("Z") or len(text) > 40:
        return None
    try:
        return datetime.fromisoformat(text.removesuffix("Z") + "+00:00").timestamp()
    except (ValueError, OverflowError):
        return None


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
