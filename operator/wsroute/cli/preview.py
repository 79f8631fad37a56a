"""What other objects would make of the balancers of a cluster: two passes like the operator's, compared. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

from wsroute.api.conditions import Problem
from wsroute.cli.operators import Name, Objects, Operator
from wsroute.cluster.balancer_state import BalancerState, read_state
from wsroute.cluster.kinds import Kind, parse_record
from wsroute.cluster.objects import Deployment, Key, Snapshot
from wsroute.cluster.quarantine import Quarantined
from wsroute.cluster.state import ClusterState
from wsroute.dataplane.build import build_file
from wsroute.dataplane.build_table import build_table
from wsroute.dataplane.certificates import ListenerTls
from wsroute.dataplane.ir import Configuration, PathMatch, RefusalReason, Refuse
from wsroute.dataplane.main_template import describe_refused, find_main_template, still_refused
from wsroute.dataplane.names import BALANCER_LABEL, state_name
from wsroute.dataplane.reload_changes import Change, changed_routes, changed_settings, settings_of
from wsroute.dataplane.table import Forward
from wsroute.graph.build import build_graph
from wsroute.graph.endpoints import NO_ENDPOINTS
from wsroute.graph.memo import Memo
from wsroute.graph.model import BackendNode, BalancerNode, GraphSettings, RouteNode
from wsroute.graph.status import count_endpoints


class Place(NamedTuple):
    """Where a route takes requests."""

    host: str
    path: str
    match: PathMatch
    listener: str


class Difference(NamedTuple):
    """Where a route would do something else than now, and what each; None where it has no such path."""

    host: str
    path: str
    match: PathMatch
    listeners: tuple[str, ...]
    before: Forward | Refuse | None
    after: Forward | Refuse | None


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
    """A route before and after, None where there is none. ``asked`` says that the change names it, and ``frozen`` that
    its balancer would be gone or not valid, so that the pods go on with it as it is now."""

    route: Key
    asked: bool
    before: RouteView | None
    after: RouteView | None
    frozen: bool = False

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
    def listeners(self) -> frozenset[str]:
        """All that it is on, before or after."""
        return frozenset(place.listener for place in self._was.keys() | self._will.keys())

    @property
    def changes(self) -> Iterator[Difference]:
        """Where it would do something else than now. What is the same on several listeners is told once."""
        was, will = self._was, self._will
        found: dict[tuple[Any, ...], list[str]] = {}
        for place in sorted(was.keys() | will.keys()):
            pair = was.get(place), will.get(place)
            if pair[0] != pair[1]:
                found.setdefault((*place[:3], *pair), []).append(place.listener)
        for (host, path, match, before, after), listeners in found.items():
            yield Difference(host, path, match, tuple(listeners), before, after)

    @property
    def lost(self) -> tuple[Place, ...]:
        """Where it takes sockets now, and would not."""
        after = self._will
        return tuple(
            place
            for place, action in self._was.items()
            if isinstance(action, Forward) and not isinstance(after.get(place), Forward)
        )

    @property
    def _was(self) -> Mapping[Place, Forward | Refuse]:
        return {} if self.before is None else self.before.serves

    @property
    def _will(self) -> Mapping[Place, Forward | Refuse]:
        if self.after is not None:
            return self.after.serves
        return self.before.serves if self.frozen and self.before is not None else {}


@dataclass(frozen=True, slots=True)
class BalancerChange:
    """A balancer before and after. ``reload`` is what makes another nginx.conf necessary; None where that can't be said
    or there is nothing to compare. ``rollout`` says what becomes of its Deployment's pods, empty when nothing does.
    ``problems`` of what stands beside it (its Deployment, its Service, its template) are new."""

    key: Key
    before: BalancerNode | None
    after: BalancerNode | None
    reload: tuple[Change, ...] | None
    rollout: str = ""
    problems: tuple[str, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether it would have another Deployment's pods."""
        pair = self.before, self.after
        was, will = (None if node is None or node.spec is None else node.spec.deployment_ref for node in pair)
        return was is not None and will is not None and was != will

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
    """Which operators there are, and would be. ``wall`` is the time, seconds since the epoch."""

    before: tuple[Operator, ...]
    after: tuple[Operator, ...]
    wall: float


@dataclass(slots=True)
class _World:
    """What the operators make of some objects. ``snapshots`` are what each balancer's operator sees."""

    states: dict[Key, BalancerState] = field(default_factory=dict)
    balancers: dict[Key, BalancerNode] = field(default_factory=dict)
    snapshots: dict[Key, Snapshot] = field(default_factory=dict)
    routes: dict[Key, RouteNode] = field(default_factory=dict)


def preview(before: Objects, after: Objects, asked: Collection[Name], terms: Terms) -> Preview:
    """Compare a cluster with what it would be. ``asked`` are the objects that the change names."""
    memo = Memo()
    old = _world(before, terms.before, memo, {}, terms.wall)
    # What is on record of the hosts once the operator has seen what is there now.
    new = _world(after, terms.after, memo, old.states, terms.wall)
    refused = _refused(old)
    was = _views(old, {key: entry for key, (entry, _) in refused.items()})
    # What nginx refused is tried again once it is another thing.
    still = {key: entry for key, (entry, told) in refused.items() if _told(new.routes.get(key)) == told}
    will = _views(new, still)
    frozen = {key for key in old.balancers if key not in new.balancers or new.balancers[key].spec is None}
    routes = [
        _route_change(key, (Kind.ROUTE, key) in asked, was.get(key), will.get(key), frozen)
        for key in sorted(was.keys() | will.keys())
    ]
    balancers = []
    for key in sorted(old.balancers.keys() | new.balancers.keys()):
        pair = old.balancers.get(key), new.balancers.get(key)
        files = _file(key, old, memo), _file(key, new, memo)
        known = _beside(key, old)
        balancers.append(
            BalancerChange(
                key,
                *pair,
                reload=_reload(*files),
                rollout=_rollout(pair, before, after),
                problems=tuple(problem for problem in _beside(key, new) if problem not in known),
            )
        )
    told = [each for each in routes if each.asked or each.effect is not Effect.UNCHANGED]
    named = {view.balancer for each in told for view in (each.before, each.after) if view is not None}
    return Preview(
        balancers=tuple(
            each
            for each in balancers
            if each.reload
            or each.rollout
            or each.problems
            or each.moves
            or each.key in named
            or (Kind.BALANCER, each.key) in asked
        ),
        routes=tuple(told),
    )


def _world(
    objects: Objects, operators: Iterable[Operator], memo: Memo, known: Mapping[Key, BalancerState], wall: float
) -> _World:
    world = _World()
    for operator in operators:
        snapshot = _snapshot(objects, operator)
        states = {key: known[key] if key in known else _state(snapshot, key) for key in snapshot.balancers}
        settings = GraphSettings(default_balancer=operator.default)
        graph = build_graph(snapshot, settings, memo, states=states, wall=wall)
        world.states |= graph.states
        world.balancers |= graph.balancers
        world.snapshots |= dict.fromkeys(graph.balancers, snapshot)
        # Several operators may look at a route: it is for the one that has its balancer.
        world.routes |= {
            key: node for key, node in graph.routes.items() if key not in world.routes or node.balancer is not None
        }
    return world


def _snapshot(objects: Objects, operator: Operator) -> Snapshot:
    state = ClusterState(kinds=())
    for (kind, key), raw in objects.items():
        record = parse_record(kind, raw) if operator.sees(kind, key) else None
        if record is not None:
            state.upsert(record)
    return state.snapshot()


def _state(snapshot: Snapshot, balancer: Key) -> BalancerState:
    found = snapshot.config_maps.get(Key(balancer.namespace, state_name(balancer.name)))
    ours = found is not None and found.labels.get(BALANCER_LABEL) == balancer.name
    return read_state(found.data if found is not None and ours else {}).state


def _refused(world: _World) -> dict[Key, tuple[Quarantined, object]]:
    """The routes of Static balancers that nginx refused as they are, and what it is told of them."""
    found = {}
    for key, node in world.balancers.items():
        if node.spec is not None and not node.spec.is_dynamic:
            for route, entry in world.states[key].refusals.quarantined.items():
                own = world.routes.get(route)
                known = entry.uid, entry.generation
                if own is not None and own.balancer == key and (own.uid, own.generation) == known:
                    found[route] = entry, _told(own)
    return found


def _told(node: RouteNode | None) -> object:
    """What nginx is told of a route, but for its endpoints."""
    if node is None:
        return None
    paths = [replace(path, backends=tuple(_bare(each) for each in path.backends)) for path in node.paths]
    served = node.hosts, node.listeners, paths, node.withdrawn_paths, node.settings
    return node.uid, node.generation, node.balancer, *served


def _bare(backend: BackendNode) -> BackendNode:
    return replace(backend, endpoints=NO_ENDPOINTS)


def _views(world: _World, refused: Mapping[Key, Quarantined]) -> dict[Key, RouteView]:
    served: defaultdict[Key, dict[Place, Forward | Refuse]] = defaultdict(dict)
    for balancer in world.balancers.values():
        if balancer.spec is not None:
            for host in build_table(balancer, memo=Memo()).hosts:
                for path in host.paths:
                    key = Key(*path.route)
                    entry = refused.get(key)
                    if entry is None or not entry.left_out:
                        action = path.action if entry is None else Refuse(RefusalReason.ROUTE_INVALID)
                        for listener in host.listeners:
                            served[key][Place(host.host, path.path, path.match, listener)] = action
    return {
        key: RouteView(
            balancer=node.balancer,
            problems=tuple(map(str, node.acceptance_problems)),
            unresolved=(
                *map(str, node.reference_problems),
                *([f"nginx refuses it as it is: {refused[key].message}"] if key in refused else ()),
            ),
            urls=node.urls,
            serves=served[key],
            endpoints=count_endpoints(node)[0],
        )
        for key, node in world.routes.items()
    }


def _route_change(
    key: Key, asked: bool, before: RouteView | None, after: RouteView | None, frozen: Collection[Key]
) -> RouteChange:
    stays = before is not None and before.balancer in frozen
    if stays and before is not None and after is not None:
        after = replace(after, serves={**before.serves, **after.serves})
    return RouteChange(key, asked, before, after, frozen=stays)


def _file(key: Key, world: _World, memo: Memo) -> Configuration | None:
    """What stands in a balancer's nginx.conf, None where nothing new does."""
    node = world.balancers.get(key)
    if node is None or node.spec is None:
        return None
    found = _template(key, world)
    # What Secrets hold is unknown here: that a listener has the same ones is all that can be told.
    tls = {
        each.name: ListenerTls(tuple(ref.secret_name for ref in each.tls.certificates), ())
        for each in node.spec.listeners
        if each.tls is not None
    }
    return build_file(node, ipv6=True, main_template=found if isinstance(found, str) else None, tls=tls, memo=memo)


def _template(key: Key, world: _World) -> str | Problem | None:
    """The custom main template, or why there is none."""
    found = find_main_template(world.balancers[key], world.snapshots[key].config_maps)
    refused = still_refused(world.states[key].refused_template, found if isinstance(found, str) else None)
    return found if refused is None else describe_refused(refused)


def _beside(key: Key, world: _World) -> list[str]:
    """What is wrong with what stands beside a valid balancer."""
    node = world.balancers.get(key)
    if node is None or node.spec is None:
        return []
    template = _template(key, world)
    return [*map(str, node.deployment_problems), *([str(template)] if isinstance(template, Problem) else ())]


def _reload(before: Configuration | None, after: Configuration | None) -> tuple[Change, ...] | None:
    if before is None or after is None:
        return None
    changes = changed_settings(settings_of(before, release=""), settings_of(after, release=""))
    return changes + changed_routes(before, after)


_ENDS: Final = "{} of its {} pods end"


def _rollout(pair: tuple[BalancerNode | None, BalancerNode | None], before: Objects, after: Objects) -> str:
    """What becomes of the pods of a balancer's Deployment."""
    node = pair[0]
    if node is None or node.deployment is None:
        return ""
    name = (Kind.DEPLOYMENT, node.deployment.meta.key)
    raw, fresh = before.get(name), after.get(name)
    was, will = (None if each is None else parse_record(Kind.DEPLOYMENT, each) for each in (raw, fresh))
    if raw is fresh or not isinstance(was, Deployment):
        return ""
    if fresh is None or not isinstance(will, Deployment):
        return _ENDS.format("all", was.replicas)
    fewer = was.replicas - will.replicas
    if raw is not None and _of(raw, "template") != _of(fresh, "template") and not _of(fresh, "paused"):
        return "all of its pods are replaced"
    return _ENDS.format(fewer, was.replicas) if fewer > 0 else ""


def _of(deployment: Mapping[str, Any], field: str) -> Any:
    spec = deployment.get("spec")
    return spec.get(field) if isinstance(spec, Mapping) else None
