"""Why another version comes in force, over passes and writes: for the operator that made what runs, and for another."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.world import SYSTEM, TEAM, Planner, SmallWorld, rollout_writes
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller import generated, making
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.reconciler import status_targets
from wsroute.controller.statuses import StatusKey
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.bundle import FILE_KEY, digest

WS = {"name": "ws", "port": 8080, "protocol": "HTTP"}
EXTRA = {"name": "extra", "port": 9090, "protocol": "HTTP"}
UNHURRIED = {"minInterval": "10s", "maxDrainingGenerations": 3, "drainTimeout": "1h"}


def planner_of(data_plane: str, **fields: Any) -> Planner:
    """A balancer that runs its first version, from long ago."""
    world = SmallWorld()
    world.balancer(dataPlane=data_plane, **fields)
    world.service("chat", "10.0.0.1", "10.0.0.2")
    world.service("other", "10.0.1.1")
    world.route("one")
    world.route("two", service="other")
    planner = Planner(world)
    settle(planner)
    planner.now += 100.0
    return planner


def settle(planner: Planner) -> BalancerPlan:
    """All is written and loaded; the pods have all tables."""
    for _ in range(10):
        plan = planner.settle()
        for name, said in list(planner.world.said.items()):
            planner.world.say(name, version=said.version, table=planner.world.version)
        if not planner.plan().writes:
            return plan
    raise AssertionError("no end")


@pytest.fixture
def dynamic() -> Planner:
    return planner_of("Dynamic")


@pytest.fixture
def static() -> Planner:
    return planner_of("Static")


def anew(planner: Planner) -> Planner:
    """Another operator, which remembers nothing."""
    other = Planner(planner.world)
    other.now = planner.now
    return other


def changes(planner: Planner) -> list[str]:
    """What the status says of the last version that came in force."""
    told = planner.balancer_status()["lastReload"].get("changes", [])
    return [f"{change['reason']} {change['subject']}" for change in told]


def test_the_first_version_is_no_change(dynamic: Planner, static: Planner) -> None:
    assert changes(dynamic) == changes(static) == []


@pytest.mark.parametrize("who", [lambda planner: planner, anew], ids=["the same operator", "another"])
def test_a_dynamic_balancer_tells_which_setting_it_was(dynamic: Planner, who: Callable[[Planner], Planner]) -> None:
    planner = who(dynamic)
    planner.world.balancer(dataPlane="Dynamic", listeners=[WS, EXTRA], requestHeaders=["X-Team"])
    settle(planner)
    told = ["ListenerAdded spec.listeners[extra]", "RequestHeaders spec.requestHeaders"]
    assert changes(planner) == changes(anew(planner)) == told


@pytest.mark.parametrize("who", [lambda planner: planner, anew], ids=["the same operator", "another"])
def test_a_static_balancer_tells_whose_change_it_was(static: Planner, who: Callable[[Planner], Planner]) -> None:
    planner = who(static)
    planner.world.service("other", "10.0.1.1", "10.0.1.2")
    settle(planner)
    assert changes(planner) == ["Endpoints WebSocketRoute team-a/two"]
    planner = who(static)
    planner.world.service("chat", "10.0.0.2")
    planner.world.route("two", service="other", path="/edited", generation=2)
    planner.world.route("three")
    settle(planner)
    assert changes(planner) == [
        "Routes WebSocketRoute team-a/three",
        "Routes WebSocketRoute team-a/two",
        "EndpointRemoval WebSocketRoute team-a/one",
    ]


EDITS: dict[str, Callable[[SmallWorld], None]] = {
    "an endpoint more": lambda world: world.service("chat", "10.0.0.1", "10.0.0.2", "10.0.0.3"),
    "an endpoint less": lambda world: world.service("chat", "10.0.0.1"),
    "no endpoint": lambda world: world.service("chat"),
    "another Service": lambda world: world.route("one", service="other", generation=2),
    "another host": lambda world: world.route("one", host="new.example.com", generation=2),
    "a route more": lambda world: world.route("three"),
    "a route more on a host that is taken": lambda world: world.route("three", host="one.example.com", path="/three"),
    "a route less": lambda world: world.remove(Kind.ROUTE, "one", "team-a"),
    "a listener more": lambda world: world.balancer(listeners=[WS, EXTRA]),
    "another port": lambda world: world.balancer(listeners=[{**WS, "port": 8090}]),
    "other workers": lambda world: world.balancer(nginx={"workerConnections": 2048}),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_another_operator_reads_of_the_files_what_the_one_that_made_them_knows(
    static: Planner, edit: Callable[[SmallWorld], None]
) -> None:
    edit(static.world)
    found = []
    for planner in (static, anew(static)):
        wanted = [write.wanted for write in rollout_writes(planner.plan())]
        assert wanted
        found.append({each.annotations.get(names.CHANGES_ANNOTATION, "[]") for each in wanted} - {"[]"})
    assert found[0] == found[1]
    assert len(found[0]) == 1


def test_what_changes_for_routes_of_a_dynamic_balancer_is_no_reload(dynamic: Planner) -> None:
    before = generated.read_published(nginx(dynamic)).version
    dynamic.world.service("chat", "10.0.0.9")
    dynamic.world.route("three")
    dynamic.world.remove(Kind.ROUTE, "two", "team-a")
    assert {write.wanted.role for write in dynamic.plan().writes} <= {names.ROLE_TABLE, names.ROLE_STATE}
    settle(dynamic)
    assert generated.read_published(nginx(dynamic)).version == before
    assert changes(dynamic) == []


def test_the_order_in_which_an_admin_writes_is_no_change() -> None:
    planner = planner_of("Dynamic", listeners=[WS, EXTRA], requestHeaders=["X-A", "X-B"])
    planner.world.balancer(dataPlane="Dynamic", listeners=[EXTRA, WS], requestHeaders=["X-B", "X-A"])
    before = nginx(planner)
    plan = settle(planner)
    assert plan.desired == generated.read_published(before).version
    assert nginx(planner).data == before.data


# --- what needs a reload holds nothing up that needs none ---


def nginx(planner: Planner) -> Any:
    return planner.world.snapshot.config_maps[Key(SYSTEM, "shared-nginx")]


def tables(planner: Planner) -> str:
    """All that stands in tables."""
    maps = planner.world.snapshot.config_maps
    return "".join(each.data.get("table", "") for each in maps.values())


def add_route_and_endpoint(planner: Planner) -> None:
    """A pass and its writes for a new route and an endpoint of another one; the pods have it then."""
    planner.world.route("new")
    planner.world.service("other", "10.0.1.7")
    for _ in range(3):
        planner.world.commit(planner.plan())
    for name, said in list(planner.world.said.items()):
        planner.world.say(name, version=said.version, table=planner.world.version, failure=said.failure)
    assert '"new.example.com"' in tables(planner)
    assert '"10.0.1.7:8080"' in tables(planner)


def held_by_the_interval(planner: Planner) -> None:
    fields = {"dataPlane": "Dynamic", "reload": UNHURRIED, "nginx": {"workerConnections": 2048}}
    planner.world.balancer(**fields)
    settle(planner)
    planner.now += 1.0
    planner.world.balancer(**fields, listeners=[WS, EXTRA])
    plan = planner.plan()
    assert plan.released is not None
    assert plan.released.hold is not None


def under_canary(planner: Planner) -> None:
    planner.world.balancer(dataPlane="Dynamic", listeners=[WS, EXTRA])
    planner.world.commit(planner.plan())
    assert planner.plan().before[1] is not None


def refused(planner: Planner) -> None:
    """All pods refuse the listener: its port is in use."""
    under_canary(planner)
    for _ in range(4):
        trial = planner.plan().before[1]
        assert trial is not None
        said = planner.world.said[trial.canary]
        words = "nginx: [emerg] bind() to 0.0.0.0:9090 failed (98: Address already in use)"
        failure = Failure(trial.version, "load", words)
        planner.world.say(trial.canary, version=said.version, table=said.table, failure=failure)
        planner.world.commit(planner.plan())
    assert all(said.failure is not None for said in planner.world.said.values())
    conditions = dict(balancer_conditions(planner))
    assert conditions["Programmed"][1] == "ConfigRejected"


def balancer_conditions(planner: Planner) -> Iterator[tuple[str, tuple[bool, str]]]:
    target = status_targets(planner.result(), planner.memo)[StatusKey(Kind.BALANCER, Key(SYSTEM, "shared"))]
    for condition in target.conditions:
        yield str(condition.type), (condition.status, str(condition.reason))


@pytest.mark.parametrize("hindered", [held_by_the_interval, under_canary, refused])
@pytest.mark.parametrize("who", [lambda planner: planner, anew], ids=["the same operator", "another"])
def test_tables_go_on_whatever_becomes_of_the_file(
    dynamic: Planner, hindered: Callable[[Planner], None], who: Callable[[Planner], Planner]
) -> None:
    hindered(dynamic)
    planner = who(dynamic)
    before = generated.read_published(nginx(planner)).version
    add_route_and_endpoint(planner)
    assert generated.read_published(nginx(planner)).version == before
    # It is on all listeners, and so on one that is not there yet.
    assert not planner.programmed("new")[0]


@pytest.mark.parametrize("hindered", [held_by_the_interval, under_canary, refused])
@pytest.mark.parametrize("who", [lambda planner: planner, anew], ids=["the same operator", "another"])
def test_a_route_that_has_its_listener_is_programmed_whatever_becomes_of_another(
    dynamic: Planner, hindered: Callable[[Planner], None], who: Callable[[Planner], Planner]
) -> None:
    only_ws(dynamic, "one")
    only_ws(dynamic, "two", service="other")
    settle(dynamic)
    hindered(dynamic)
    planner = who(dynamic)
    add_route_and_endpoint(planner)
    only_ws(planner, "new")
    for _ in range(3):
        planner.world.commit(planner.plan())
    for name, said in list(planner.world.said.items()):
        planner.world.say(name, version=said.version, table=planner.world.version, failure=said.failure)
    assert [planner.programmed(name)[:2] for name in ("one", "two", "new")] == [(True, "Programmed")] * 3


def only_ws(planner: Planner, name: str, *, service: str = "chat") -> None:
    spec = {
        "balancerRef": {"name": "shared", "namespace": SYSTEM},
        "listeners": ["ws"],
        "hosts": [f"{name}.example.com"],
        "paths": [{"path": "/ws", "backends": [{"service": service, "port": 80}]}],
    }
    planner.world.put(Kind.ROUTE, name, "team-a", spec=spec, generation=3)


# --- versions that differ in comments only ---


def of_another_release(planner: Planner, change: Callable[[str], str]) -> str:
    """Make what stands look like the work of another release, whose file has other words; gives its version."""
    known = nginx(planner)
    version = generated.read_published(known).version
    other = f"{int(version, 16) ^ 1:012x}"
    text = change(known.data[FILE_KEY]).replace(version, other)
    annotations = {
        **known.annotations,
        names.VERSION_ANNOTATION: other,
        names.DIGEST_ANNOTATION: digest(text.encode()),
        names.STRUCTURE_ANNOTATION: "another",
        names.MADE_FOR_ANNOTATION: "another",
    }
    annotations.pop(names.SETTINGS_ANNOTATION)
    data = {**known.data, FILE_KEY: text}
    planner.world.put(Kind.CONFIG_MAP, "shared-nginx", SYSTEM, labels=known.labels, annotations=annotations, data=data)
    for name, said in list(planner.world.said.items()):
        planner.world.say(name, version=other, table=said.table)
    return other


@pytest.mark.parametrize("data_plane", ["Dynamic", "Static"])
def test_a_release_with_other_comments_takes_over_what_runs(data_plane: str) -> None:
    before = planner_of(data_plane)
    version = of_another_release(before, lambda text: f"# Another banner\n\n{text}")
    planner = anew(before)
    plan = settle(planner)
    assert plan.desired == version
    known = nginx(planner)
    assert generated.read_published(known).version == version
    assert known.data[FILE_KEY].startswith("# Another banner")
    assert generated.read_settings(known) is not None, "the next one knows what it is"
    assert planner.programmed("one")[0]
    assert changes(planner) == []
    # What changes then is told, and is a version of our own.
    planner.world.balancer(dataPlane=data_plane, listeners=[WS, EXTRA])
    planner.now += 100.0
    assert settle(planner).desired != version
    assert changes(planner)[0] == "ListenerAdded spec.listeners[extra]"


@pytest.mark.parametrize("data_plane", ["Dynamic", "Static"])
def test_a_release_that_says_something_else_is_a_reload_with_a_reason(data_plane: str) -> None:
    before = planner_of(data_plane)
    version = of_another_release(before, lambda text: text.replace("server_tokens          off;", ""))
    planner = anew(before)
    assert settle(planner).desired != version
    assert changes(planner)[0] == "Release the operator's release"


def test_a_comment_of_the_main_template_is_no_reload() -> None:
    template = "events {{}}\n{{{{ required.main }}}}\nhttp {{ {{{{ required.http }}}} }}\n# {}\n"
    world = SmallWorld()
    fields = {"dataPlane": "Dynamic", "nginx": {"templateRef": {"configMap": "template"}}}

    def write(comment: str) -> None:
        labels = {names.BALANCER_LABEL: "shared", names.ROLE_LABEL: names.ROLE_TEMPLATE}
        data = {"nginx.conf.j2": template.format(comment)}
        world.put(Kind.CONFIG_MAP, "template", SYSTEM, labels=labels, data=data)

    write("a comment")
    world.balancer(**fields)
    planner = Planner(world)
    version = settle(planner).desired
    write("another comment")
    assert settle(planner).desired == version
    assert "# a comment" in nginx(planner).data[FILE_KEY]
    write("another comment\nenv A=b;")
    planner.now += 100.0
    assert settle(planner).desired != version
    assert changes(planner) == ["Template spec.nginx.templateRef"]


def test_a_file_that_a_hand_has_damaged_is_not_taken_over(dynamic: Planner) -> None:
    known = nginx(dynamic)
    data = {**known.data, FILE_KEY: known.data[FILE_KEY] + "# more\n"}
    dynamic.world.put(
        Kind.CONFIG_MAP, "shared-nginx", SYSTEM, labels=known.labels, annotations=known.annotations, data=data
    )
    settle(dynamic)
    assert nginx(dynamic).data == known.data


def test_the_release_of_the_operator_is_among_the_settings(dynamic: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file says of the balancer is kept up to date although nothing is loaded for it."""
    monkeypatch.setattr(generated, "__version__", "99.0")
    monkeypatch.setattr(making, "__version__", "99.0")
    planner = anew(dynamic)
    plan = settle(planner)
    assert plan.desired == generated.read_published(nginx(dynamic)).version
    settings = generated.read_settings(nginx(planner)) or {}
    assert settings["the operator's release"].startswith("99.0 ")


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("count", [32, 33])
def test_a_host_with_one_path_more_or_less_names_the_route_that_was_edited(fresh: bool, count: int) -> None:
    """From 33 paths on nginx is told of all of a host's paths in other words."""
    world = SmallWorld()
    world.service("chat", "10.0.0.1")
    for number in range(count):
        world.route(f"r{number}", path=f"/a.b{number}", host="chat.example.com")
    planner = Planner(world)
    settle(planner)
    if fresh:
        planner = Planner(world)
    if count == 32:
        world.route("more", path="/more", host="chat.example.com")
    else:
        world.remove(Kind.ROUTE, "r7", TEAM)
    settle(planner)
    assert changes(planner) == [f"Routes WebSocketRoute team-a/{'more' if count == 32 else 'r7'}"]
    if fresh:
        planner = Planner(world)
    world.route("r3", path="/a.c", host="chat.example.com", generation=2)
    settle(planner)
    assert changes(planner) == ["Routes WebSocketRoute team-a/r3"]


def test_a_maximum_makes_a_file_and_is_the_same_however_it_is_written() -> None:
    planner = planner_of("Dynamic", maximums={"idle": "2h"})
    before = planner.settle()
    assert before.obstacle == ""
    assert before.desired
    planner.world.balancer(dataPlane="Dynamic", maximums={"idle": "120m"})
    assert planner.settle().desired == before.desired
