"""What ``wsroute plan`` foretells is what the operator then does: any change of a small cluster, foretold and made."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.world import BEGIN, SHARED, SYSTEM, Planner, SmallWorld
from wsroute.api.conditions import ConditionType
from wsroute.cli.operators import Operator
from wsroute.cli.preview import Place, Preview, Terms, preview
from wsroute.cluster.kinds import Kind, Record, parse_record
from wsroute.cluster.objects import Key
from wsroute.controller.generated import apply_body
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.published_tables import HOSTS
from wsroute.controller.reconciler import PassResult, status_targets
from wsroute.controller.statuses import StatusKey, Target
from wsroute.controller.tables import find_tables
from wsroute.dataplane import names
from wsroute.dataplane.ir import Configuration, Proxy, RefusalReason, Refuse
from wsroute.dataplane.reload_changes import shortened
from wsroute.dataplane.shards import TABLE_KEY, parse_hosts
from wsroute.dataplane.table import Forward

Raw = Mapping[str, Any]

TEAMS = ("team-a", "team-b", "team-c")
NAMES = ("one", "two")
HOSTNAMES = ("a.example.com", "b.example.com", "*.example.com", "c.other.com")


class RememberingPlanner(Planner):
    """A planner that still knows the versions of a balancer that is gone."""

    def __init__(self, world: SmallWorld) -> None:
        super().__init__(world)
        self.versions: dict[str, Configuration] = {}

    def result(self) -> PassResult:
        result = super().result()
        if SHARED in self.memo.balancers:
            for version, made in self.memo.balancers[SHARED].made.items():
                self.versions[version] = made.configuration
        return result


class WrittenWorld(SmallWorld):
    """A small world whose objects are kept as the API server gives them, too."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, Key], Raw] = {}
        super().__init__()

    def raw(self, kind: Kind, name: str, namespace: str, **content: Any) -> dict[str, Any]:
        """What is made anew has another uid."""
        made = super().raw(kind, name, namespace, **content)
        known = self.objects.get((kind, Key(namespace, name)))
        made["metadata"]["uid"] = f"uid-{self.version}" if known is None else known["metadata"]["uid"]
        return made

    def put(self, kind: Kind, name: str, namespace: str, **content: Any) -> Record:
        raw = self.raw(kind, name, namespace, **content)
        record = parse_record(kind, raw)
        assert record is not None
        self.objects[kind, Key(namespace, name)] = raw
        self.revision += self.state.upsert(record) and kind is not Kind.CONFIG_MAP
        return record

    def remove(self, kind: Kind, name: str, namespace: str) -> None:
        known = self.objects.pop((kind, Key(namespace, name)), None)
        if known is not None:
            self.revision += self.state.delete(kind, Key(namespace, name), known["metadata"]["uid"])

    def commit(self, plan: BalancerPlan) -> None:
        for write in plan.writes:
            body = apply_body(write.wanted, uid=f"uid-{write.wanted.role}", version=self.version + 1)
            self.objects[Kind.CONFIG_MAP, write.wanted.key] = body
        super().commit(plan)


@dataclass(frozen=True, slots=True)
class Edit:
    """Something that is done to a world."""

    what: str
    content: tuple[tuple[str, Any], ...]
    later: float
    """Seconds that pass before."""

    def apply(self, world: WrittenWorld) -> None:
        values = dict(self.content)
        getattr(self, f"_{self.what}")(world, **values)

    def _route(self, world: WrittenWorld, *, team: str, name: str, spec: Raw) -> None:
        world.put(Kind.ROUTE, name, team, spec=spec, generation=world.version)

    def _unroute(self, world: WrittenWorld, *, team: str, name: str) -> None:
        world.remove(Kind.ROUTE, name, team)

    def _service(self, world: WrittenWorld, *, team: str, name: str, addresses: list[str]) -> None:
        world.service(name, *addresses, namespace=team)

    def _unservice(self, world: WrittenWorld, *, team: str, name: str) -> None:
        world.remove(Kind.SERVICE, name, team)

    def _namespace(self, world: WrittenWorld, *, team: str, labels: dict[str, str]) -> None:
        world.put(Kind.NAMESPACE, team, "", labels=labels)

    def _balancer(self, world: WrittenWorld, *, changes: Raw) -> None:
        world.balancer(**changes)

    def _unbalancer(self, world: WrittenWorld) -> None:
        world.remove(Kind.BALANCER, "shared", SYSTEM)


def one_of(**choices: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these fields."""
    return st.fixed_dictionaries({}, optional=choices)


PATHS = st.fixed_dictionaries(
    {
        "path": st.sampled_from(["/", "/ws", "/ws/x", "/play"]),
        "backends": st.lists(
            st.fixed_dictionaries(
                {"service": st.sampled_from(NAMES), "port": st.sampled_from([80, 81])},
                optional={"weight": st.integers(0, 2)},
            ),
            min_size=1,
            max_size=2,
        ),
    },
    optional={"type": st.sampled_from(["Exact", "Prefix"])},
)
SPECS = st.builds(
    lambda known, more: {**known, **more},
    st.fixed_dictionaries(
        {
            "balancerRef": st.just({"name": "shared", "namespace": SYSTEM}),
            "hosts": st.lists(st.sampled_from(HOSTNAMES), min_size=1, max_size=2, unique=True),
            "paths": st.lists(PATHS, min_size=1, max_size=2),
        }
    ),
    one_of(
        listeners=st.sampled_from([["ws"], ["two"], ["none"]]),
        timeouts=st.sampled_from([{"idle": "10m"}, {"idle": "soon"}, {"connect": "2s"}]),
        loadBalancing=st.sampled_from([{"policy": "Random"}, {"policy": "Best"}]),
        balancerRef=st.sampled_from([{"name": "other", "namespace": SYSTEM}]),
    ),
)
LISTENERS = st.lists(
    st.sampled_from(
        [
            {"name": "ws", "port": 8080, "protocol": "HTTP"},
            {"name": "two", "port": 8090, "protocol": "HTTP"},
            {"name": "ws", "port": 8070, "protocol": "HTTP", "public": {"scheme": "wss"}},
            {"name": "two", "port": 80, "protocol": "HTTP"},
        ]
    ),
    min_size=1,
    max_size=2,
)
ALLOWED = st.fixed_dictionaries(
    {
        "namespaces": st.sampled_from(
            [{"from": "All"}, {"from": "All"}, {"from": "Selector", "selector": {"matchLabels": {"team": "yes"}}}]
        ),
        "hosts": st.sampled_from([["*.example.com", "*.other.com"], ["*.example.com"], ["a.example.com"]]),
    },
    optional={"maxPerNamespace": st.integers(1, 2)},
)
BALANCERS = one_of(
    dataPlane=st.sampled_from(["Static", "Dynamic"]),
    listeners=LISTENERS,
    allowedRoutes=ALLOWED,
    nginx=st.sampled_from([{"workerProcesses": 2}, {"templateRef": {"configMap": "none"}}]),
    maximums=st.sampled_from([{"idle": "2h"}]),
    defaults=st.sampled_from([{"timeouts": {"idle": "20m"}}]),
)


def edit(what: str, **content: st.SearchStrategy[Any]) -> st.SearchStrategy[Edit]:
    return st.builds(
        lambda values, later: Edit(what, tuple(values.items()), later),
        st.fixed_dictionaries(content),
        st.sampled_from([0.0, 0.0, 1.0, 300.0, 700.0]),
    )


TEAM, NAME = st.sampled_from(TEAMS), st.sampled_from(NAMES)
EDITS = st.one_of(
    edit("route", team=TEAM, name=NAME, spec=SPECS),
    edit("route", team=TEAM, name=NAME, spec=SPECS),
    edit("unroute", team=TEAM, name=NAME),
    edit(
        "service",
        team=TEAM,
        name=NAME,
        addresses=st.lists(st.sampled_from(["10.0.1.1", "10.0.1.2"]), max_size=2, unique=True),
    ),
    edit("unservice", team=TEAM, name=NAME),
    edit("namespace", team=TEAM, labels=st.sampled_from([{}, {"team": "yes"}])),
    edit("balancer", changes=BALANCERS),
    edit("unbalancer"),
)


@settings(max_examples=60, phases=(Phase.generate,))  # to make a failure smaller takes minutes
@given(st.sampled_from(["Static", "Dynamic"]), st.lists(EDITS, min_size=1, max_size=10))
def test_what_is_foretold_comes_to_pass(plane: str, edits: list[Edit]) -> None:
    world = WrittenWorld()
    for team in TEAMS:
        world.put(Kind.NAMESPACE, team, "", labels={"team": "yes"})
        world.service("one", "10.0.0.1", namespace=team)
    world.balancer(dataPlane=plane)
    planner = RememberingPlanner(world)
    settle(planner)
    for each in edits:
        planner.now += each.later
        settle(planner)
        node = planner.result().graph.balancers.get(SHARED)
        sure = node is not None and node.spec is not None
        before, stood = dict(world.objects), dict(serving(planner))
        each.apply(world)
        asked = frozenset(
            name for name in before.keys() | world.objects.keys() if before.get(name) is not world.objects.get(name)
        )
        found = preview(before, world.objects, asked, Terms((Operator(),), (Operator(),), BEGIN + planner.now))
        result = planner.result()
        check_reload(found, result.plans.get(SHARED))
        settle(planner)
        check_routes(found, planner, asked)
        if sure:  # else it is unknown what pods serve
            told = {each.route for each in found.routes}
            was = {place: what for place, what in stood.items() if place[0] not in told}
            now = {place: what for place, what in serving(planner) if place[0] not in told}
            assert was.keys() == now.keys()
            assert all(
                was[each] == now[each] or alike(was[each], now[each]) or alike(now[each], was[each]) for each in was
            )


def settle(planner: RememberingPlanner) -> None:
    """Have everything written and done that there is to do."""
    for _ in range(40):
        plan = planner.result().plans.get(SHARED)
        if plan is None:
            return
        if plan.writes:
            planner.world.commit(plan)
            continue
        force, trial = plan.before
        told = {pod.name: force.version for pod in plan.pods if force is not None}
        if trial is not None:
            told[trial.canary] = trial.version
        late = [pod.name for pod in plan.pods if pod.name in told and not pod.runs(told[pod.name])]
        if not late:
            return
        for name in late:
            planner.world.say(name, version=told[name])
    raise AssertionError("no end")


def check_reload(found: Preview, plan: BalancerPlan | None) -> None:
    if plan is None or plan.before[0] is None:
        return
    told = [each.reload for each in found.balancers if each.key == SHARED]
    if told == [None]:
        return  # what pods serve of a balancer that was not valid, or not there, is unknown
    same = not plan.desired or plan.desired == plan.before[0].version
    expected = () if same or plan.released is None else plan.released.since.changes
    full = told[0] or () if told else ()
    assert shortened(full) == expected


def check_routes(found: Preview, planner: RememberingPlanner, asked: Iterable[tuple[Kind, Key]]) -> None:
    result = planner.result()
    targets = status_targets(result, planner.memo)
    served = dict(serving(planner))
    # What pods serve that had no valid balancer, and get none, is unknown.
    pairs = [(each.before, each.after) for each in found.balancers if each.key == SHARED]
    known = any(node is not None and node.spec is not None for pair in pairs for node in pair)
    views = {each.route: each.after for each in found.routes}
    for kind, key in asked:
        assert kind is not Kind.ROUTE or key in views
    for key, view in views.items():
        target = targets.get(StatusKey(Kind.ROUTE, key))
        assert (view is None) == (target is None)
        own = {place: what for (route, place), what in served.items() if route == key}
        if view is None or target is None:
            assert not own or not known or next(each for each in found.routes if each.route == key).frozen
            continue
        accepted, resolved = (condition(target, kind) for kind in (ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS))
        assert accepted[0] == (not view.problems)
        assert all(problem in accepted[1] for problem in view.problems[:1])
        assert target.body["endpoints"]["ready"] == view.endpoints
        assert target.body.get("urls", []) == list(view.urls)
        assert not (resolved[0] and view.unresolved)
        if not known:
            continue
        assert view.serves.keys() == own.keys()
        assert all(alike(told, own[place]) for place, told in view.serves.items())


def condition(target: Target, kind: ConditionType) -> tuple[bool, str]:
    [found] = [each for each in target.conditions if each.type is kind]
    return found.status, found.message


def alike(told: Any, made: Any) -> bool:
    """Whether a path does what was told of it, with either data plane: where nothing is ready, a Static one has a
    refusal in the place of an upstream."""
    if isinstance(made, Proxy):
        fields = ("websocket_only", "rewrite_prefix", "connect_timeout", "idle_timeout", "set_headers", "origins")
        return isinstance(told, Forward) and all(getattr(told, each) == getattr(made, each) for each in fields)
    if isinstance(made, Refuse) and made.reason is RefusalReason.NO_ENDPOINTS:
        return isinstance(told, Forward)
    return bool(told == made)


def serving(planner: RememberingPlanner) -> Iterator[tuple[tuple[Key, Place], Any]]:
    """What stands for the pods: in tables, or in the version in force."""
    maps = planner.world.snapshot.config_maps
    nginx = maps.get(Key(SYSTEM, "shared-nginx"))
    if nginx is None:
        return
    if names.TABLE_FORMAT_ANNOTATION in nginx.annotations:
        for (family, _), part in find_tables(SHARED, maps).items():
            for host in parse_hosts(part.data.get(TABLE_KEY, "")) if family == HOSTS.family else ():
                for path in host.paths:
                    for listener in host.listeners:
                        place = Place(host.host, path.path, path.match, listener)
                        yield (Key(*path.route), place), path.action
        return
    configuration = planner.versions[nginx.annotations[names.VERSION_ANNOTATION]]
    for server in configuration.servers:
        for location in server.locations:
            for listener in server.listeners:
                place = Place(server.host, location.path, location.match, listener)
                yield (Key(*location.route), place), location.action
