"""A balancer, three innocent neighbours in other namespaces, and whatever an attacker writes: what comes of it.

Everything goes the way that the operator's own events go: ``read_change``, the feed, a pass, the statuses, the Events
and the ConfigMaps. Nothing on that way may raise, whatever an object holds.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from tests.hostile.fields import specimen
from tests.support import objects as made
from tests.support.nginx_tokens import Directive, parse
from wsroute.cluster.kinds import Kind, Record, parse_record
from wsroute.cluster.objects import Key
from wsroute.cluster.state import ClusterState
from wsroute.controller.feed import Feed, read_change
from wsroute.controller.generated import apply_body
from wsroute.controller.reconciler import PassMemo, plan_pass, status_targets
from wsroute.controller.statuses import due_at, news, status_body
from wsroute.dataplane.bundle import unpack
from wsroute.dataplane.names import ROLE_NEXT, ROLE_NGINX
from wsroute.graph.conditions import explain_idle
from wsroute.graph.model import GraphSettings, RouteNode
from wsroute.kube.events import build, reference

Json = dict[str, Any]

BALANCER: Final = made.BALANCER
MALLORY: Final = "team-m"
ATTACKED: Final = Key(MALLORY, "chat")
INNOCENTS: Final = ("team-a", "team-b", "team-z")
LABELS: Final = {"websockets": "yes"}
SETTINGS: Final = GraphSettings(default_balancer=BALANCER)
NOW: Final = "2026-02-01T00:00:00Z"
_MOMENT: Final = datetime(2026, 2, 1, tzinfo=UTC)

_ROUTE_FIELDS: Final = {
    "spec.balancerRef": {"name": BALANCER.name, "namespace": BALANCER.namespace},
    "spec.listeners[]": "ws",
    "spec.hosts": ["m.example.com", "*.m.example.com"],
    "spec.paths[].rewritePrefix": "/app",
    "spec.paths[].backends[].weight": 3,
    "spec.timeouts.connect": "3s",
    "spec.timeouts.idle": "30m",
    "spec.pingInterval": "20s",
    "spec.loadBalancing.policy": "Hash",
    "spec.loadBalancing.hash.by": "Query",
    "spec.headers.remove[]": "X-Debug",
}
APART: Final = {
    "WebSocketRoute": ("spec.loadBalancing.stickyCookie",),
    "WebSocketBalancer": ("spec.defaults.loadBalancing.stickyCookie", "spec.listeners[].tls"),
}
"""By kind, what the balancer of this world can't do, or does with another protocol: only objects that are attacked in
just these fields have them."""

ROUTE_SPEC: Final = specimen("WebSocketRoute", {**_ROUTE_FIELDS, **dict.fromkeys(APART["WebSocketRoute"])})
WHOLE_ROUTE_SPEC: Final = specimen("WebSocketRoute", _ROUTE_FIELDS)
WALL: Final = 1_790_000_000.0
"""The time of all passes, seconds since the epoch."""

_BALANCER_FIELDS: Final = {
    "spec.serviceRef.name": "shared",
    "spec.domain": "ws.example.net",
    "spec.listeners[].name": "ws",
    "spec.listeners[].port": 8080,
    "spec.listeners[].public.port": 80,
    "spec.allowedRoutes.namespaces.from": "Selector",
    "spec.allowedRoutes.namespaces.selector.matchLabels": LABELS,
    "spec.allowedRoutes.namespaces.selector.matchExpressions[].key": "websockets",
    "spec.allowedRoutes.hosts[]": "*",
    "spec.allowedRoutes.maxPerNamespace": 500,
    "spec.allowedRoutes.manualEndpoints": False,
    "spec.requestHeaders": ["X-Team", "X-Debug"],
    "spec.defaults.timeouts.connect": "4s",
    "spec.defaults.timeouts.idle": "1h",
    "spec.defaults.pingInterval": "30s",
    "spec.maximums.idle": "24h",
    "spec.nginx.workerProcesses": 2,
    "spec.defaults.loadBalancing.policy": "Hash",
    "spec.defaults.loadBalancing.hash.by": "Header",
    "spec.nginx.workerConnections": 1024,
}
BALANCER_SPEC: Final = specimen("WebSocketBalancer", {**_BALANCER_FIELDS, **dict.fromkeys(APART["WebSocketBalancer"])})
WHOLE_BALANCER_SPEC: Final = specimen("WebSocketBalancer", _BALANCER_FIELDS)


def team(namespace: str, number: int, **route: Any) -> list[Json]:
    """A namespace with a route, its Service and an endpoint."""
    ports = [made.service_port(8080, "web")]
    slice_ports = [{"name": "web", "port": 8080, "protocol": "TCP"}]
    return [
        made.namespace(namespace, LABELS),
        made.route("chat", namespace, **route),
        made.service("chat", namespace, ports=ports),
        made.endpoint_slice("chat", namespace, [f"10.0.{number}.1"], ports=slice_ports),
    ]


def neighbours() -> list[Json]:
    """The balancer's own objects and the innocents'. Two are older than the attacker's, one is younger."""
    found = [
        made.balancer(spec=BALANCER_SPEC),
        made.deployment(),
        made.pod(ip="10.99.0.1"),
        made.service("shared", BALANCER.namespace, ports=[made.service_port(80, "ws", target=8080)]),
    ]
    for number, namespace in enumerate(INNOCENTS, start=1):
        paths = [made.path("/ws", [made.backend(port="web")]), made.path("/pages", upgrade="Optional")]
        created = f"202{5 + number // 3}-0{number}-01T00:00:00Z"
        found += team(namespace, number, hosts=[f"{namespace}.example.org"], paths=paths, created=created)
    return found


def attacker() -> list[Json]:
    """The attacker's objects while they are still harmless: a route that uses every field, and what it refers to."""
    created = "2026-01-01T00:00:00Z"
    return team(MALLORY, 9, spec=ROUTE_SPEC, hosts=None, created=created, annotations={"note": "harmless"})


def find(objects: Iterable[Json], kind: str, namespace: str | None = None) -> Json:
    """The first object of a kind, in a namespace."""
    return next(
        raw for raw in objects if raw["kind"] == kind and namespace in (None, raw["metadata"].get("namespace", None))
    )


def blocks_of(text: str, namespaces: Iterable[str]) -> dict[str, str]:
    """The upstreams and servers of these namespaces' routes: blocks below a comment that names one of them."""
    found = {}
    for block in text.split("\n\n    # ")[1:]:
        title, _, _ = block.partition("\n")
        if any(f"{namespace}/" in title for namespace in namespaces):
            body = block.rstrip("}\n ")
            # An upstream's title is its routes, which several upstreams may share.
            found[f"{title} {body.split('{')[0]}"] = body
    return found


@dataclass(frozen=True)
class Outcome:
    """What came of an attack. ``text`` is the nginx.conf, empty when none was made; ``node`` the attacked route's."""

    text: str
    obstacle: str
    node: RouteNode | None
    complaints: tuple[tuple[str, str], ...]
    """Field path and sentence of each problem of the attacked route or, when it is attacked itself, the balancer."""
    said: tuple[str, ...]
    """Every message that statuses and Events hold."""

    @cached_property
    def tree(self) -> Directive:
        """The file as nginx reads it."""
        return parse(self.text)

    @property
    def innocent(self) -> dict[str, str]:
        """The bytes of the neighbours."""
        return blocks_of(self.text, INNOCENTS)


class World:
    """Innocents and what a test adds to them. Passes share their memo, as the operator's do."""

    def __init__(self) -> None:
        self.memo = PassMemo()
        self.revision = 0
        self._known: list[Record] = []
        for raw in neighbours():
            record = parse_record(Kind(raw["kind"]), raw)
            assert record is not None, raw
            self._known.append(record)

    def attack(self, raws: Iterable[Any], *, attacked: Key = ATTACKED) -> Outcome:
        """One pass over the innocents and these objects. Those of an innocent's name take its place."""
        state = ClusterState(kinds=[])
        feed = Feed(state, changed=lambda: None)
        for record in self._known:
            state.upsert(record)
        for raw in raws:
            kind = raw.get("kind") if isinstance(raw, dict) else None
            change = read_change(Kind(kind) if isinstance(kind, str) else Kind.ROUTE, raw, deleted=False)
            if change is not None:
                feed.observe(change)
        self.revision += 1
        result = plan_pass(state.snapshot(), SETTINGS, self.memo, revision=self.revision, epoch=1, now=0.0, wall=WALL)
        plan = result.plans[BALANCER]
        said: list[str] = []
        for key, target in status_targets(result, self.memo).items():
            snapshot = state.snapshot()
            record = (snapshot.routes if key.kind is Kind.ROUTE else snapshot.balancers)[key.key]
            due_at(target, record.status, last_write=0.0)
            status_body(target, record.status, now=NOW)
            said += [condition.message for condition in target.conditions]
            said += [item.note for item in news(target, record.status)]
            regarding = {"kind": key.kind, "metadata": {"name": key.key.name, "namespace": key.key.namespace}}
            for item in news(target, record.status):
                build(
                    reference(regarding),
                    reason=item.reason,
                    note=item.note,
                    action="Reconcile",
                    type_=item.type,
                    instance="test",
                    moment=_MOMENT,
                )
        text = ""
        for write in plan.writes:
            if write.wanted.role not in (ROLE_NGINX, ROLE_NEXT):
                continue
            body = apply_body(write.wanted, uid="", version=1)
            if text := body.get("data", {}).get("nginx.conf", "") or _unpacked(write.wanted):
                break
        node = result.graph.routes.get(attacked)
        problems = [(problem.path, problem.message) for problem in plan.node.acceptance_problems]
        if node is not None:
            found = (*node.acceptance_problems, *node.reference_problems)
            problems += [(problem.path, problem.message) for problem in found]
            problems += [("endpoints", text) for text in (explain_idle(node), *_left_out(node)) if text]
        return Outcome(text, plan.obstacle, node, tuple(problems), tuple(said))


def _left_out(node: RouteNode) -> Iterable[str]:
    for path in node.paths:
        for backend in path.backends:
            yield backend.endpoints.explanation()


def _unpacked(wanted: Any) -> str:
    return unpack(wanted.data, wanted.binary_data, expected_digest=wanted.annotations["wsroute.dev/digest"])


def changed(raw: Mapping[str, Any], place: tuple[str | int, ...], value: Any) -> Json:
    """A copy with one value replaced; the object itself when the place is empty."""
    if not place:
        return value  # type: ignore[no-any-return]
    copied: Json = copy.deepcopy(dict(raw))
    target: Any = copied
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    return copied


def places(raw: Any, above: tuple[str | int, ...] = ()) -> Iterable[tuple[str | int, ...]]:
    """Where something stands in an object, containers included."""
    if above:
        yield above
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(raw, dict):
        items = raw.items()
    elif isinstance(raw, list):
        items = enumerate(raw)
    for key, value in items:
        yield from places(value, (*above, key))


def spell(place: tuple[str | int, ...], *, indices: bool = True) -> str:
    """A place as Kubernetes writes it: ``spec.hosts[0]``; without indices ``spec.hosts[]``."""
    text = ""
    for step in place:
        text += (f"[{step}]" if indices else "[]") if isinstance(step, int) else f"{'.' if text else ''}{step}"
    return text


def place_of(path: str) -> tuple[str | int, ...]:
    """The place that a path of ``fields`` means in a specimen: each list's first item."""
    place: list[str | int] = []
    for part in path.split("."):
        name, *brackets = part.split("[")
        place.append(name)
        place += [0] * len(brackets)
    return tuple(place)
