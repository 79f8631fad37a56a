"""The feed, the lists and the followed kinds, on a cluster in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import jumping
from tests.support.fake_cluster import FakeCluster
from tests.support.waiting import until
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.cluster.state import ClusterState
from wsroute.controller import following
from wsroute.controller.feed import Change, Feed, read_change
from wsroute.controller.following import FOLLOWED, addresses_of, follow_all
from wsroute.controller.resync import WATCHED, Resync, is_sudden
from wsroute.controller.scope import Scope, follow_namespaces, scope_of
from wsroute.dataplane.names import BALANCER_LABEL
from wsroute.kube.backoff import Backoff
from wsroute.kube.port import (
    CONFIG_MAPS,
    NAMESPACES,
    NODES,
    PODS,
    ROUTES,
    SERVICES,
    ForbiddenError,
    GoneError,
    KubeError,
    Resource,
    UnavailableError,
)
from wsroute.observability.metrics import Metrics

SYSTEM, OTHER = "wsroute-system", "wsroute-other"


@contextlib.asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs a coroutine beside the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Counted:
    """A feed with a count of what it asked for."""

    def __init__(self, *kinds: Kind, namespaces: tuple[str, ...] = ()) -> None:
        self.triggers = 0
        self.state = ClusterState(kinds=kinds)
        self.feed = Feed(self.state, changed=self.count, split=dict.fromkeys(FOLLOWED, namespaces))

    def count(self) -> None:
        self.triggers += 1


def quick(cluster: FakeCluster, feed: Feed, *kinds: Kind, metrics: Metrics | None = None) -> Resync:
    """A resync without pauses."""
    return Resync(cluster, feed, metrics or Metrics(), kinds=kinds, apart=0.0, backoff=Backoff(first=0.001, cap=0.002))


async def test_nothing_is_asked_for_before_every_kind_was_listed_once() -> None:
    cluster = FakeCluster()
    world = Counted(Kind.SERVICE, Kind.NAMESPACE)
    cluster.put(SERVICES, "chat", namespace="team-a", spec={})
    change = read_change(Kind.SERVICE, cluster.find(SERVICES, "chat", namespace="team-a"), deleted=False)
    assert change is not None
    world.feed.observe(change)
    world.feed.listed(Kind.SERVICE, [], 1)
    assert world.triggers == 0
    assert not world.feed.synced.is_set()
    world.feed.listed(Kind.NAMESPACE, [], 1)
    assert world.triggers == 1
    assert world.feed.synced.is_set()


async def test_a_deletion_that_no_watch_told_of_is_healed_by_the_next_list() -> None:
    cluster = FakeCluster()
    world = Counted(Kind.SERVICE)
    cluster.put(SERVICES, "chat", namespace="team-a", spec={})
    cluster.put(SERVICES, "page", namespace="team-a", spec={})
    resync = quick(cluster, world.feed, Kind.SERVICE)
    async with in_background(resync.run()):
        await until(lambda: world.state.size(Kind.SERVICE) == 2)
        cluster.remove(SERVICES, "chat", namespace="team-a")
        resync.request(Kind.SERVICE)
        await until(lambda: world.state.size(Kind.SERVICE) == 1)
    assert world.triggers == 2


async def test_lists_come_by_themselves_too() -> None:
    cluster = FakeCluster()
    world = Counted(Kind.SERVICE)
    resync = Resync(cluster, world.feed, Metrics(), kinds=[Kind.SERVICE], period=0.01, apart=0.0)
    async with in_background(resync.run()):
        await until(lambda: len(cluster.lists) >= 3)


@jumping
async def test_a_burst_of_requests_gives_one_list_at_once_and_one_later() -> None:
    cluster = FakeCluster()
    world = Counted(Kind.SERVICE)
    resync = Resync(cluster, world.feed, Metrics(), kinds=[Kind.SERVICE], apart=0.05)
    async with in_background(resync.run()):
        await until(world.feed.synced.is_set)
        for _ in range(100):
            resync.request_all()
            await asyncio.sleep(0)
        assert len(cluster.lists) == 1
        await until(lambda: len(cluster.lists) == 2)


async def test_a_list_that_fails_empties_nothing_and_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    cluster = FakeCluster()
    world = Counted(Kind.SERVICE)
    metrics = Metrics()
    cluster.put(SERVICES, "chat", namespace="team-a", spec={})
    resync = quick(cluster, world.feed, Kind.SERVICE, metrics=metrics)
    async with in_background(resync.run()):
        await until(world.feed.synced.is_set)
        cluster.fail = lambda verb, *_: UnavailableError("no answer") if verb == "list" else None
        resync.request(Kind.SERVICE)
        await until(lambda: len(cluster.lists) >= 6)
        assert world.state.size(Kind.SERVICE) == 1
        cluster.fail = lambda *_: None
        cluster.remove(SERVICES, "chat", namespace="team-a")
        await until(lambda: world.state.size(Kind.SERVICE) == 0)
    assert caplog.text.count("can't be listed") == 1
    assert b'wsroute_resync_failures_total{kind="Service"}' in metrics.render()


def split_in_two(*kinds: Kind) -> Counted:
    """A feed for which these kinds are complete once both namespaces were listed."""
    world = Counted(*kinds)
    world.feed = Feed(world.state, changed=world.count, split=dict.fromkeys(kinds, ("team-a", "team-b")))
    return world


def quick_in(cluster: FakeCluster, feed: Feed, *kinds: Kind) -> Resync:
    """A resync of two namespaces without pauses."""
    backoff = Backoff(first=0.001, cap=0.002)
    return Resync(cluster, feed, Metrics(), kinds=kinds, namespaces=("team-a", "team-b"), apart=0.0, backoff=backoff)


async def test_with_a_list_of_namespaces_each_is_listed_by_itself_and_no_other() -> None:
    cluster = FakeCluster()
    world = split_in_two(Kind.SERVICE)
    for namespace in ("team-a", "team-b", "team-c"):
        cluster.put(SERVICES, "chat", namespace=namespace, spec={})
    resync = quick_in(cluster, world.feed, Kind.SERVICE)
    async with in_background(resync.run()):
        await until(world.feed.synced.is_set)
        assert set(world.state.snapshot().services) == {Key("team-a", "chat"), Key("team-b", "chat")}
        cluster.remove(SERVICES, "chat", namespace="team-b")
        cluster.put(SERVICES, "page", namespace="team-a", spec={})
        resync.request(Kind.SERVICE)
        await until(lambda: set(world.state.snapshot().services) == {Key("team-a", "chat"), Key("team-a", "page")})


REFUSED = ForbiddenError("no", status=403)


async def test_a_namespace_that_refuses_us_is_passed_over_until_it_lets_us_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A team can delete the Role in its namespace: the others must not wait for it."""
    cluster = FakeCluster()
    world = split_in_two(Kind.SERVICE, Kind.ROUTE)
    cluster.put(SERVICES, "chat", namespace="team-a", spec={})
    cluster.put(SERVICES, "chat", namespace="team-b", spec={})
    cluster.fail = lambda _verb, _resource, namespace: REFUSED if namespace == "team-b" else None
    async with in_background(quick_in(cluster, world.feed, Kind.SERVICE, Kind.ROUTE).run()):
        await until(world.feed.synced.is_set)
        assert set(world.state.snapshot().services) == {Key("team-a", "chat")}
        cluster.fail = lambda *_: None
        await until(lambda: Key("team-b", "chat") in world.state.snapshot().services)
    assert caplog.text.count("There is no right to list Service in team-b") == 1


async def test_what_is_known_of_a_namespace_stays_when_it_begins_to_refuse_us() -> None:
    cluster = FakeCluster()
    world = split_in_two(Kind.SERVICE)
    cluster.put(SERVICES, "chat", namespace="team-b", spec={})
    resync = quick_in(cluster, world.feed, Kind.SERVICE)
    async with in_background(resync.run()):
        await until(world.feed.synced.is_set)
        cluster.fail = lambda _verb, _resource, namespace: REFUSED if namespace == "team-b" else None
        resync.request(Kind.SERVICE)
        await until(lambda: len(cluster.lists) > 20)
        assert set(world.state.snapshot().services) == {Key("team-b", "chat")}


UNKNOWN = ForbiddenError("who?", status=401)


@pytest.mark.parametrize("error", [REFUSED, UNKNOWN, UnavailableError("no answer")], ids=str)
async def test_an_api_server_that_refuses_everything_is_waited_for(error: KubeError) -> None:
    """As it does when it starts, or when our token is bad. Taken for empty namespaces it would cut everybody off."""
    cluster = FakeCluster()
    world = split_in_two(Kind.SERVICE)
    cluster.fail = lambda *_: error
    async with in_background(quick_in(cluster, world.feed, Kind.SERVICE).run()):
        await until(lambda: len(cluster.lists) > 40)
        assert not world.feed.synced.is_set()


async def test_our_token_going_bad_is_no_namespaces_refusal() -> None:
    cluster = FakeCluster()
    world = split_in_two(Kind.SERVICE)
    cluster.fail = lambda _verb, _resource, namespace: UNKNOWN if namespace == "team-b" else None
    async with in_background(quick_in(cluster, world.feed, Kind.SERVICE).run()):
        await until(lambda: len(cluster.lists) > 40)
        assert not world.feed.synced.is_set()


async def test_namespaces_of_a_list_are_followed_by_their_names() -> None:
    cluster = FakeCluster()
    scope = scope_of(["team-b", "team-a"], ["team-a"])
    assert scope.namespaces == ("team-a", "team-b")
    world = split_in_two(Kind.NAMESPACE)
    cluster.put(NAMESPACES, "team-a", labels={"tier": "gold"})
    cluster.put(NAMESPACES, "team-c")

    def labels() -> dict[str, dict[str, str]]:
        return {key.name: dict(found.labels) for key, found in world.state.snapshot().namespaces.items()}

    async with in_background(follow_namespaces(cluster, world.feed, Metrics(), scope)):
        await until(world.feed.synced.is_set)
        assert labels() == {"team-a": {"tier": "gold"}}
        cluster.put(NAMESPACES, "team-b")
        cluster.put(NAMESPACES, "team-a", labels={"tier": "iron"})
        await until(lambda: labels() == {"team-a": {"tier": "iron"}, "team-b": {}})
        cluster.remove(NAMESPACES, "team-a")
        await until(lambda: labels() == {"team-b": {}})


def test_without_a_list_everything_is_watched() -> None:
    assert scope_of([], ["wsroute-system"]) == Scope()
    assert Scope().kinds == WATCHED
    assert not Scope().split
    assert Kind.NAMESPACE not in scope_of(["team-a"], ["wsroute-system"]).kinds


async def test_a_list_that_lacks_most_of_what_is_known_is_confirmed_by_a_second_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = FakeCluster()
    world = Counted(Kind.SERVICE)
    for number in range(30):
        cluster.put(SERVICES, f"chat-{number}", namespace="team-a", spec={})
    resync = Resync(cluster, world.feed, Metrics(), kinds=[Kind.SERVICE], apart=0.0, confirm=0.0)
    whole, empty = cluster.objects, cluster.objects.__class__()
    async with in_background(resync.run()):
        await until(world.feed.synced.is_set)
        # One list lacks all of them, and the next one has them again.
        lists = len(cluster.lists)
        cluster.objects = empty
        cluster.version += 1
        cluster.fail = lambda *_: setattr(cluster, "objects", whole if len(cluster.lists) > lists + 1 else empty)
        resync.request(Kind.SERVICE)
        await until(lambda: len(cluster.lists) >= lists + 2)
        await asyncio.sleep(0.01)
        assert world.state.size(Kind.SERVICE) == 30
        assert "lacks 30 that are known" in caplog.text
        # Gone for good: the second list says so too.
        cluster.fail = lambda *_: None
        cluster.objects = empty
        resync.request(Kind.SERVICE)
        await until(lambda: world.state.size(Kind.SERVICE) == 0)


@pytest.mark.parametrize(
    ("missing", "known", "doubtful"), [(10, 10, False), (11, 11, True), (11, 22, False), (12, 23, True), (0, 0, False)]
)
def test_what_is_doubtful(missing: int, known: int, doubtful: bool) -> None:
    assert is_sudden(missing, of=known) is doubtful


async def test_routes_that_a_list_lacks_stay_while_nobody_vouches_for_their_deletion() -> None:
    cluster = FakeCluster()
    world = Counted(Kind.ROUTE)
    vouched = False
    looked = 0

    async def vouches() -> bool:
        nonlocal looked
        looked += 1
        return vouched

    cluster.put(ROUTES, "old", namespace="team-a", spec={})
    resync = Resync(cluster, world.feed, Metrics(), kinds=[Kind.ROUTE], apart=0.0, vouches=vouches)
    async with in_background(resync.run()):
        await until(world.feed.synced.is_set)
        assert looked == 0  # nothing was missing
        cluster.remove(ROUTES, "old", namespace="team-a")
        cluster.put(ROUTES, "new", namespace="team-a", spec={})
        resync.request(Kind.ROUTE)
        await until(lambda: world.state.size(Kind.ROUTE) == 2)
        vouched = True
        resync.request(Kind.ROUTE)
        await until(lambda: world.state.size(Kind.ROUTE) == 1)


async def test_the_followed_kinds_are_complete_when_each_namespace_was_listed() -> None:
    cluster = FakeCluster()
    world = Counted(*FOLLOWED, namespaces=(SYSTEM, OTHER))
    world.feed.listed_in(SYSTEM, Kind.POD, [], 1)
    assert Kind.POD in world.state.awaited
    world.feed.listed_in(OTHER, Kind.POD, [], 1)
    assert Kind.POD not in world.state.awaited
    async with in_background(follow_all(cluster, world.feed, Metrics(), namespaces=(SYSTEM, OTHER))):
        await until(world.feed.synced.is_set)
        cluster.put(PODS, "a", namespace=SYSTEM, spec={})
        cluster.put(PODS, "b", namespace=OTHER, spec={})
        cluster.put(PODS, "c", namespace="elsewhere", spec={})
        await until(lambda: world.state.size(Kind.POD) == 2)
        cluster.remove(PODS, "a", namespace=SYSTEM)
        await until(lambda: world.state.size(Kind.POD) == 1)


async def test_a_list_of_one_namespace_leaves_the_objects_of_the_others() -> None:
    cluster = FakeCluster()
    world = Counted(Kind.POD, namespaces=(SYSTEM, OTHER))
    for namespace in (SYSTEM, OTHER):
        raw = cluster.put(PODS, "a", namespace=namespace, spec={})
        world.feed.wrote(Kind.POD, raw)
    world.feed.listed_in(SYSTEM, Kind.POD, [], 1000)
    assert list(world.state.snapshot().pods) == [Key(OTHER, "a")]


@pytest.mark.parametrize("lasting", [False, True])
async def test_followed_objects_that_a_list_lacks_are_looked_for_once_more(
    monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    monkeypatch.setattr(following, "CONFIRM", 0.0)
    cluster = FakeCluster()
    cluster.put(PODS, "a", namespace=SYSTEM, spec={})
    world = Counted(*FOLLOWED, namespaces=(SYSTEM,))
    whole, lists = dict(cluster.objects), 0

    def lose(verb: str, resource: Resource, _: str) -> KubeError | None:
        """The watch of pods has a gap; the list after it is empty, and the one after that only when it is lasting."""
        nonlocal lists
        if resource != PODS or (verb == "watch" and lists):
            return None
        if verb == "watch":
            lists = 1
            return GoneError("too old")
        if lists:
            lists += 1
            cluster.version += 1
            cluster.objects = {} if lists == 2 or lasting else whole
        return None

    async with in_background(follow_all(cluster, world.feed, Metrics(), namespaces=(SYSTEM,))):
        await until(world.feed.synced.is_set)
        cluster.fail = lose
        cluster.put(SERVICES, "news", namespace=SYSTEM, spec={})  # wakes the watch
        await until(lambda: lists == 3)
        await until(lambda: world.state.size(Kind.POD) == (0 if lasting else 1))
        await asyncio.sleep(0.01)
        assert world.state.size(Kind.POD) == (0 if lasting else 1)


async def test_only_labelled_config_maps_are_followed() -> None:
    cluster = FakeCluster()
    cluster.put(CONFIG_MAPS, "foreign", namespace=SYSTEM, data={})
    cluster.put(CONFIG_MAPS, "ours", namespace=SYSTEM, labels={BALANCER_LABEL: "shared"}, data={})
    world = Counted(*FOLLOWED, namespaces=(SYSTEM,))
    async with in_background(follow_all(cluster, world.feed, Metrics(), namespaces=(SYSTEM,))):
        await until(world.feed.synced.is_set)
    assert list(world.state.snapshot().config_maps) == [Key(SYSTEM, "ours")]


async def test_an_answer_to_our_own_write_counts_at_once_and_its_echo_asks_for_nothing() -> None:
    cluster = FakeCluster()
    world = Counted(Kind.CONFIG_MAP)
    world.feed.listed(Kind.CONFIG_MAP, [], 1)
    raw = cluster.put(CONFIG_MAPS, "ours", namespace=SYSTEM, labels={BALANCER_LABEL: "shared"}, data={"a": "1"})
    world.feed.wrote(Kind.CONFIG_MAP, raw)
    assert world.triggers == 2
    echo = read_change(Kind.CONFIG_MAP, raw, deleted=False)
    assert echo is not None
    world.feed.observe(echo)
    assert world.triggers == 2


async def test_a_write_can_be_taken_in_quietly() -> None:
    cluster = FakeCluster()
    world = Counted(Kind.POD)
    world.feed.listed(Kind.POD, [], 1)
    triggers, revision = world.triggers, world.feed.revision
    world.feed.wrote(Kind.POD, cluster.put(PODS, "ours", namespace=SYSTEM, spec={}), quietly=True)
    assert list(world.state.snapshot().pods) == [Key(SYSTEM, "ours")]
    assert (world.triggers, world.feed.revision) == (triggers, revision + 1)


async def test_an_object_that_becomes_unusable_counts_as_gone_until_it_is_usable_again() -> None:
    world = Counted(Kind.ENDPOINT_SLICE)
    world.feed.listed(Kind.ENDPOINT_SLICE, [], 1)
    metadata = {"name": "chat-1", "namespace": "a", "uid": "u", "resourceVersion": "5"}
    labelled = {**metadata, "labels": {"kubernetes.io/service-name": "chat"}}
    bare, again = {**metadata, "resourceVersion": "6"}, {**labelled, "resourceVersion": "7"}
    for raw, size in (({"metadata": labelled}, 1), ({"metadata": bare}, 0), ({"metadata": again}, 1)):
        change = read_change(Kind.ENDPOINT_SLICE, raw, deleted=False)
        assert change is not None
        world.feed.observe(change)
        assert world.state.size(Kind.ENDPOINT_SLICE) == size


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
METADATA = st.fixed_dictionaries(
    {},
    optional={"name": JSON, "namespace": JSON, "uid": JSON, "resourceVersion": JSON, "labels": JSON},
)


@given(
    kind=st.sampled_from(list(Kind)),
    raw=JSON | st.fixed_dictionaries({}, optional={"metadata": METADATA | JSON, "spec": JSON, "status": JSON}),
    deleted=st.booleans(),
)
def test_no_object_however_odd_raises(kind: Kind, raw: Any, deleted: bool) -> None:
    change = read_change(kind, raw, deleted=deleted)
    assert change is None or isinstance(change, Change)


def test_every_kind_is_watched_or_followed_and_none_twice() -> None:
    assert sorted([*WATCHED, *FOLLOWED, Kind.NODE]) == sorted(Kind)


def node_of(address: str, **more: Any) -> dict[str, Any]:
    """What the kubelet says of its node, over and over."""
    return {"status": {"addresses": [{"type": "InternalIP", "address": address}], **more}}


async def test_nodes_are_followed_and_only_their_addresses_ask_for_a_pass() -> None:
    cluster, world = FakeCluster(), Counted(Kind.NODE)
    cluster.put(NODES, "node-1", **node_of("172.16.0.1"))
    async with in_background(follow_all(cluster, world.feed, Metrics(), namespaces=())):
        await world.feed.synced.wait()
        first = world.triggers
        cluster.put(NODES, "node-1", **node_of("172.16.0.1", conditions=[{"type": "Ready", "status": "False"}]))
        newest = cluster.version
        await until(lambda: world.state.snapshot().nodes[Key("", "node-1")].meta.version == newest)
        assert world.triggers == first
        cluster.put(NODES, "node-2", **node_of("172.16.0.2"))
        await until(lambda: world.state.size(Kind.NODE) == 2)
        assert world.triggers == first + 1
        cluster.remove(NODES, "node-1")
        await until(lambda: world.state.size(Kind.NODE) == 1)
        assert world.triggers == first + 2


async def test_without_the_right_to_list_nodes_all_goes_on_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wsroute.controller.following.REFUSALS", Backoff(first=0.001, cap=0.002))
    cluster, world = FakeCluster(), Counted(Kind.NODE, Kind.POD, namespaces=(SYSTEM,))
    cluster.put(NODES, "node-1", **node_of("172.16.0.1"))

    def forbid(_verb: str, resource: Resource, _name: str) -> KubeError | None:
        return ForbiddenError("no", status=403) if resource == NODES else None

    cluster.fail = forbid
    async with in_background(follow_all(cluster, world.feed, Metrics(), namespaces=(SYSTEM,))):
        await world.feed.synced.wait()
        await until(lambda: cluster.lists.count("nodes") >= 3)
        assert world.state.size(Kind.NODE) == 0
        assert sum("no right to list and watch nodes" in text for text in caplog.messages) == 1
        cluster.fail = lambda *_: None
        await until(lambda: world.state.size(Kind.NODE) == 1)


@pytest.mark.parametrize("error", [UnavailableError("down", status=503), ForbiddenError("who?", status=401)])
async def test_no_answer_about_nodes_is_waited_for(monkeypatch: pytest.MonkeyPatch, error: KubeError) -> None:
    """Else the first pass after a start would let endpoints in that the next one takes away."""
    monkeypatch.setattr("wsroute.controller.following.REFUSALS", Backoff(first=0.001, cap=0.002))
    cluster, world = FakeCluster(), Counted(Kind.NODE)
    cluster.fail = lambda _verb, resource, _name: error if resource == NODES else None
    async with in_background(follow_all(cluster, world.feed, Metrics(), namespaces=())):
        await until(lambda: cluster.lists.count("nodes") >= 3)
        assert not world.feed.synced.is_set()
        cluster.fail = lambda *_: None
        await world.feed.synced.wait()


@pytest.mark.parametrize("field", ["metadata", "status"])
@pytest.mark.parametrize("junk", [None, "x", [], 1])
def test_a_node_of_any_shape_can_be_made_smaller(field: str, junk: Any) -> None:
    raw = {"metadata": {"name": "node-1", "managedFields": ["x"]}, **node_of("172.16.0.1", images=["x"])}
    assert "x" not in str(addresses_of(raw))
    addresses_of({**raw, field: junk})
