"""What other objects would make of the balancers of a cluster: two passes like the operator's, compared. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from wsroute.cluster.balancer_state import BalancerState, read_state
from wsroute.cluster.kinds import Kind, parse_record
from wsroute.cluster.objects import Key, Snapshot
from wsroute.cluster.state import ClusterState
from wsroute.dataplane.build import build_file
from wsroute.dataplane.build_table import build_table
from wsroute.dataplane.ir import Configuration, PathMatch, Refuse
from wsroute.dataplane.main_template import find_main_template
from wsroute.dataplane.names import state_name
from wsroute.dataplane.reload_changes import Change, changed_routes, changed_settings, settings_of
from wsroute.dataplane.table import Forward
from wsroute.graph.build import build_graph
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode, Graph, GraphSettings
from wsroute.graph.status import count_endpoints

Name = tuple[Kind, Key]
"""Names an object."""

Objects = Mapping[Name, Mapping[str, Any]]
"""Objects as the API server gives them."""


class Place(NamedTuple):
    """Where a route takes requests."""

    host: str
    listeners: tuple[str, ...]
    path: str
    match: PathMatch


class Effect(StrEnum):
    """What becomes of a route."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class RouteView:
    """A route as a balancer has it. ``problems`` keep it from being accepted, ``unresolved`` take endpoints away;
    ``serves`` are its paths, also those that it holds and refuses; ``endpoints`` is how many are ready."""

    balancer: Key | None
    problems: tuple[str, ...]
    unresolved: tuple[str, ...]
    urls: tuple[str, ...]
    serves: Mapping[Place, Forward | Refuse]
    endpoints: int


@dataclass(frozen=True, slots=True)
class RouteChange:
    """A route before and after, None where there is none. ``asked`` says that the change names it."""

    route: Key
    asked: bool
    before: RouteView | None
    after: RouteView | None

    @property
    def effect(self) -> Effect:
        """What becomes of it."""
        if self.before is None:
            return Effect.ADDED
        if self.after is None:
            return Effect.REMOVED
        return Effect.UNCHANGED if self.before == self.after else Effect.CHANGED

    @property
    def new_problems(self) -> tuple[str, ...]:
        """What is wrong with it then, and, with a route of somebody else, is not so now."""
        after = () if self.after is None else (*self.after.problems, *self.after.unresolved)
        known = () if self.asked or self.before is None else (*self.before.problems, *self.before.unresolved)
        return tuple(problem for problem in after if problem not in known)

    @property
    def is_harmed(self) -> bool:
        """Whether it would have problems, or without being asked for lose paths or all of its endpoints."""
        if self.new_problems or self.asked or self.before is None:
            return bool(self.new_problems)
        return bool(self.lost or (self.before.endpoints and self.after is not None and not self.after.endpoints))

    @property
    def changes(self) -> Iterator[tuple[Place, Forward | Refuse | None, Forward | Refuse | None]]:
        """Where it would do something else than now, and what each; None where it has no such path."""
        was = {} if self.before is None else self.before.serves
        will = {} if self.after is None else self.after.serves
        for place in sorted(was.keys() | will.keys()):
            if was.get(place) != will.get(place):
                yield place, was.get(place), will.get(place)

    @property
    def lost(self) -> tuple[Place, ...]:
        """Where it takes sockets now, and would not."""
        after = {} if self.after is None else self.after.serves
        return tuple(place for place in _open(self.before) if not isinstance(after.get(place), Forward))


def _open(view: RouteView | None) -> Iterator[Place]:
    for place, action in ({} if view is None else view.serves).items():
        if isinstance(action, Forward):
            yield place


@dataclass(frozen=True, slots=True)
class BalancerChange:
    """A balancer before and after. ``reload`` is what makes another nginx.conf necessary; None where that can't be said
    or there is nothing to compare. ``rollout`` says what becomes of its Deployment's pods, empty when nothing does."""

    key: Key
    before: BalancerNode | None
    after: BalancerNode | None
    reload: tuple[Change, ...] | None
    rollout: str = ""

    @property
    def closes(self) -> bool:
        """Whether it ends pods, and with them sockets."""
        spec = None if self.after is None else self.after.spec
        return bool(self.rollout or (self.reload and spec is not None and spec.reload.restarts))


@dataclass(frozen=True, slots=True)
class Preview:
    """What differs: all balancers for which something does, and those routes."""

    balancers: tuple[BalancerChange, ...]
    routes: tuple[RouteChange, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator was told. Of ``watched`` namespaces, unless there are none, routes are served and of no
    others. ``wall`` is the time, seconds since the epoch."""

    settings: GraphSettings
    watched: frozenset[str] = field(default_factory=frozenset)
    wall: float = 0.0


def preview(before: Objects, after: Objects, asked: Collection[Name], terms: Terms) -> Preview:
    """Compare a cluster with what it would be. ``asked`` are the objects that the change names."""
    memo = Memo()
    old_world, new_world = _snapshot(before, terms), _snapshot(after, terms)
    states = {key: _state(before, key) for key in old_world.balancers}
    old = build_graph(old_world, terms.settings, memo, states=states, wall=terms.wall)
    # What is on record of the hosts once the operator has seen what is there now.
    new = build_graph(new_world, terms.settings, memo, states=old.states, wall=terms.wall)
    was, will = _routes(old), _routes(new)
    routes = [
        RouteChange(key, (Kind.ROUTE, key) in asked, was.get(key), will.get(key))
        for key in sorted(was.keys() | will.keys())
    ]
    balancers = []
    for key in sorted(old.balancers.keys() | new.balancers.keys()):
        pair = old.balancers.get(key), new.balancers.get(key)
        reload = _reload(pair, old_world, new_world, memo)
        balancers.append(BalancerChange(key, *pair, reload, _rollout(pair, before, after)))
    told = [each for each in routes if each.asked or each.effect is not Effect.UNCHANGED]
    named = {view.balancer for each in told for view in (each.before, each.after) if view is not None}
    return Preview(
        balancers=tuple(
            each
            for each in balancers
            if each.reload or each.rollout or each.key in named or (Kind.BALANCER, each.key) in asked
        ),
        routes=tuple(told),
    )


def _snapshot(objects: Objects, terms: Terms) -> Snapshot:
    state = ClusterState(kinds=())
    for (kind, key), raw in objects.items():
        record = parse_record(kind, raw)
        if record is not None and not (kind is Kind.ROUTE and terms.watched and key.namespace not in terms.watched):
            state.upsert(record)
    return state.snapshot()


def _state(objects: Objects, balancer: Key) -> BalancerState:
    raw = objects.get((Kind.CONFIG_MAP, Key(balancer.namespace, state_name(balancer.name))), {})
    data = raw.get("data")
    return read_state(data if isinstance(data, dict) else {}).state


def _routes(graph: Graph) -> dict[Key, RouteView]:
    served: defaultdict[Key, dict[Place, Forward | Refuse]] = defaultdict(dict)
    for balancer in graph.balancers.values():
        if balancer.spec is not None:
            for host in build_table(balancer, memo=Memo()).hosts:
                for path in host.paths:
                    place = Place(host.host, host.listeners, path.path, path.match)
                    served[Key(*path.route)][place] = path.action
    return {
        key: RouteView(
            balancer=node.balancer,
            problems=tuple(map(str, node.acceptance_problems)),
            unresolved=tuple(map(str, node.reference_problems)),
            urls=node.urls,
            serves=served[key],
            endpoints=count_endpoints(node)[0],
        )
        for key, node in graph.routes.items()
    }


def _reload(
    pair: tuple[BalancerNode | None, BalancerNode | None], old: Snapshot, new: Snapshot, memo: Memo
) -> tuple[Change, ...] | None:
    before, after = (
        None if node is None or node.spec is None else _file(node, world, memo)
        for node, world in zip(pair, (old, new), strict=True)
    )
    if before is None or after is None:
        return None
    changes = changed_settings(settings_of(before, release=""), settings_of(after, release=""))
    return changes + changed_routes(before, after)


def _file(node: BalancerNode, world: Snapshot, memo: Memo) -> Configuration:
    template = find_main_template(node, world.config_maps)
    return build_file(node, ipv6=True, main_template=template if isinstance(template, str) else None, memo=memo)


_ENDS: Final = "{} of its {} pods end"


def _rollout(pair: tuple[BalancerNode | None, BalancerNode | None], before: Objects, after: Objects) -> str:
    """What becomes of the pods of a balancer's Deployment."""
    node = pair[0]
    if node is None or node.deployment is None:
        return ""
    name = (Kind.DEPLOYMENT, node.deployment.meta.key)
    was, will = before.get(name), after.get(name)
    if was is None or was is will:
        return ""
    if will is None:
        return _ENDS.format("all", node.deployment.replicas)
    if was["spec"].get("template") != will["spec"].get("template"):
        return "all of its pods are replaced"
    fewer = was["spec"].get("replicas", 1) - will["spec"].get("replicas", 1)
    return _ENDS.format(fewer, was["spec"].get("replicas", 1)) if fewer > 0 else ""
