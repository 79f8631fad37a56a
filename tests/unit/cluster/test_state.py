"""The state against what watches and lists do to it: late, doubled, lost and overtaken news."""

import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import objects as made
from wsroute.cluster.kinds import Kind, Record, parse_record
from wsroute.cluster.objects import Key, Route, Service
from wsroute.cluster.state import REMEMBERED_DELETIONS, ClusterState

CHAT = Key("team-a", "chat")


def record(raw: made.Json) -> Any:
    found = parse_record(Kind(raw["kind"]), raw)
    assert found is not None
    return found


def route(*, version: int, uid: str = "u1", hosts: Iterable[str] = ("a.example.com",), **more: Any) -> Route:
    found = record(made.route(version=version, uid=uid, hosts=list(hosts), **more))
    assert isinstance(found, Route)
    return found


def slice_of(service: str, *addresses: str, name: str, version: int = 1) -> Any:
    return record(made.endpoint_slice(service, endpoints=list(addresses), name=name, version=version))


def test_the_same_again_does_not_matter() -> None:
    state = ClusterState()
    assert state.upsert(route(version=5))
    assert not state.upsert(route(version=5))


def test_a_status_does_not_matter_but_is_kept() -> None:
    state = ClusterState()
    state.upsert(route(version=5))
    before = state.snapshot().routes[CHAT]
    assert not state.upsert(route(version=6, status={"hosts": ["x"]}, annotations={"a": "b"}))
    after = state.snapshot().routes[CHAT]
    assert after.status == {"hosts": ["x"]}
    assert after.meta.version == 6
    assert after.spec is before.spec
    assert after.claims is before.claims


def test_what_a_pass_looks_at_matters() -> None:
    state = ClusterState()
    state.upsert(route(version=5))
    assert state.upsert(route(version=6, hosts=["b.example.com"]))
    assert state.upsert(route(version=7, hosts=["b.example.com"], generation=2)), "a status repeats the generation"
    assert state.upsert(route(version=8, hosts=["b.example.com"], generation=2, uid="u2"))
    deployment = record(made.deployment(version=1, generation=1))
    assert state.upsert(deployment)
    assert not state.upsert(record(made.deployment(version=2, generation=2)))
    assert state.upsert(record(made.deployment(version=3, generation=2, ready=1)))


def test_old_news_is_no_news() -> None:
    state = ClusterState()
    state.upsert(route(version=7, hosts=["new.example.com"]))
    assert not state.upsert(route(version=6, hosts=["old.example.com"]))
    assert state.snapshot().routes[CHAT].meta.version == 7


def test_versions_that_do_not_parse_let_the_later_word_count() -> None:
    state = ClusterState()
    state.upsert(route(version=7, hosts=["a.example.com"]))
    raw = made.route(hosts=["b.example.com"], uid="u1")
    raw["metadata"]["resourceVersion"] = "opaque"
    assert state.upsert(record(raw))
    assert state.replace(Kind.ROUTE, [route(version=1, hosts=["c.example.com"])], -1)
    assert state.snapshot().routes[CHAT].claims.hosts == ("c.example.com",)  # type: ignore[union-attr]


def test_deletion_counts_for_its_uid_only() -> None:
    """An object deleted and made anew under its name: the end of the old one may be told last."""
    state = ClusterState()
    state.upsert(route(version=5, uid="old"))
    assert state.upsert(route(version=9, uid="new"))
    assert not state.delete(Kind.ROUTE, CHAT, "old")
    assert state.snapshot().routes[CHAT].meta.uid == "new"
    assert state.delete(Kind.ROUTE, CHAT, "new")
    assert not state.delete(Kind.ROUTE, CHAT, "new")
    assert state.snapshot().routes == {}


def test_the_deleted_stay_deleted() -> None:
    state = ClusterState()
    state.upsert(route(version=5))
    state.delete(Kind.ROUTE, CHAT, "u1")
    assert not state.upsert(route(version=6)), "a late event"
    assert not state.replace(Kind.ROUTE, [route(version=5)], 6), "a list from before the deletion"
    assert state.size(Kind.ROUTE) == 0


def test_what_lost_the_label_that_it_is_watched_by_comes_back_with_it() -> None:
    """The watch tells of a deletion then, though the object lives; so does a list that leaves it out."""
    state = ClusterState()
    state.upsert(route(version=5))
    assert state.delete(Kind.ROUTE, CHAT, "u1", 6)
    assert not state.upsert(route(version=5)), "a late event"
    assert not state.replace(Kind.ROUTE, [route(version=5)], 5), "a late list"
    assert state.upsert(route(version=7))
    assert not state.delete(Kind.ROUTE, CHAT, "u1", 6), "the same end again, told late"
    assert state.replace(Kind.ROUTE, [], 8)
    assert not state.upsert(route(version=7))
    assert state.upsert(route(version=9))


def test_what_a_list_left_out_does_not_come_back_by_a_late_event() -> None:
    state = ClusterState()
    state.replace(Kind.ROUTE, [], 20)
    assert not state.upsert(route(version=15))
    assert state.upsert(route(version=21))


def test_a_list_removes_what_it_must_know_of() -> None:
    state = ClusterState()
    state.upsert(route(version=5))
    assert not state.replace(Kind.ROUTE, [], 4), "made after the list"
    assert state.size(Kind.ROUTE) == 1
    assert state.replace(Kind.ROUTE, [], 5)
    assert state.size(Kind.ROUTE) == 0


def test_a_list_overwrites_only_with_newer() -> None:
    state = ClusterState()
    state.upsert(route(version=8, hosts=["watch.example.com"]))
    assert not state.replace(Kind.ROUTE, [route(version=6, hosts=["list.example.com"])], 7)
    assert state.replace(Kind.ROUTE, [route(version=9, hosts=["list.example.com"])], 10)


def test_an_older_list_knows_nothing() -> None:
    state = ClusterState()
    state.replace(Kind.ROUTE, [], 20)
    assert not state.replace(Kind.ROUTE, [route(version=5)], 10)


def test_memory_of_deletions_is_bounded() -> None:
    state = ClusterState()
    for number in range(REMEMBERED_DELETIONS + 10):
        state.delete(Kind.POD, Key("a", f"p{number}"), f"uid-{number}")
    assert len(state._stores[Kind.POD].deleted) == REMEMBERED_DELETIONS


def test_objects_from_files_have_no_uid_and_may_return() -> None:
    state = ClusterState()
    one = route(version=1, uid="")
    assert state.upsert(one)
    assert state.delete(Kind.ROUTE, CHAT, "")
    assert state.upsert(one)


def test_slices_are_grouped_by_service_and_sorted() -> None:
    state = ClusterState()
    second = slice_of("chat", "10.0.0.2", name="b")
    first = slice_of("chat", "10.0.0.1", name="a")
    other = slice_of("other", "10.0.0.3", name="c")
    for entry in (second, other, first):
        assert state.upsert(entry)
    slices = state.snapshot().slices
    assert slices == {CHAT: (first, second), Key("team-a", "other"): (other,)}
    moved = slice_of("other", "10.0.0.1", name="a", version=2)
    assert state.upsert(moved)
    assert state.snapshot().slices == {CHAT: (second,), Key("team-a", "other"): (moved, other)}
    assert state.delete(Kind.ENDPOINT_SLICE, Key("team-a", "b"), second.meta.uid)
    assert CHAT not in state.snapshot().slices


def test_snapshots_do_not_change() -> None:
    state = ClusterState()
    state.upsert(route(version=5))
    state.upsert(slice_of("chat", "10.0.0.1", name="a"))
    before = state.snapshot()
    routes, slices = dict(before.routes), dict(before.slices)
    state.upsert(route(version=6, hosts=["b.example.com"]))
    state.upsert(slice_of("chat", "10.0.0.2", name="a", version=2))
    state.upsert(slice_of("chat", "10.0.0.3", name="b"))
    state.replace(Kind.ROUTE, [], 100)
    assert (before.routes, before.slices) == (routes, slices)


def test_untouched_kinds_are_not_copied() -> None:
    state = ClusterState()
    state.upsert(route(version=5))
    before = state.snapshot()
    state.upsert(record(made.service()))
    after = state.snapshot()
    assert after.routes is before.routes
    assert after.services is not before.services


def test_ready_when_every_awaited_kind_was_listed() -> None:
    state = ClusterState(kinds=(Kind.ROUTE, Kind.SERVICE))
    assert not state.ready
    state.mark_synced(Kind.ROUTE)
    state.mark_synced(Kind.ROUTE)
    assert state.awaited == {Kind.SERVICE}
    state.mark_synced(Kind.SERVICE)
    assert state.ready


def test_an_event_costs_little_among_40_000_endpoints() -> None:
    """The cost of the usual event does not grow with the number of endpoints elsewhere: a bound far above the truth."""
    state = ClusterState()
    for number in range(400):
        addresses = [f"10.{number // 250}.{number % 250}.{host}" for host in range(100)]
        state.upsert(slice_of(f"s{number}", *addresses, name=f"s{number}"))
    changes = [slice_of("s7", "10.9.9.9", f"10.9.8.{turn}", name="s7", version=turn + 2) for turn in range(100)]
    began = time.process_time()
    for change in changes:
        assert state.upsert(change)
        state.snapshot()
    assert (time.process_time() - began) / len(changes) < 0.005


NAMES = ("a", "b", "c")


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[str, Service]], list[tuple[int, list[Service]]]]:
    """What happened to some Services, as watch events, and lists taken at some of the times. What is deleted may come
    back as itself: a watch with a label selector tells so of an object that loses its label."""
    live: dict[str, Service] = {}
    hidden: dict[str, str] = {}
    events: list[tuple[str, Service]] = []
    lists: list[tuple[int, list[Service]]] = [(0, [])]
    for version in range(1, draw(st.integers(1, 12)) + 1):
        name = draw(st.sampled_from(NAMES))
        if name not in live and name in hidden and draw(st.booleans()):
            live[name] = record(made.service(name, uid=hidden[name], version=version))  # its label is back
            events.append(("MODIFIED", live[name]))
        elif name in live and draw(st.booleans()):
            gone = live.pop(name)
            hidden[name] = gone.meta.uid
            raw = made.service(name, uid=gone.meta.uid, version=version)
            events.append(("DELETED", record(raw)))
        else:
            uid = live[name].meta.uid if name in live else f"{name}-{version}"
            hidden.pop(name, None)
            port = draw(st.integers(1, 3))
            live[name] = record(made.service(name, uid=uid, version=version, ports=[made.service_port(port)]))
            events.append(("MODIFIED", live[name]))
        if draw(st.booleans()):
            lists.append((version, list(live.values())))
    lists.append((len(events), list(live.values())))
    return events, lists


@given(history=histories(), data=st.data())
def test_any_order_of_events_and_lists_ends_as_the_last_list(
    history: tuple[list[tuple[str, Service]], list[tuple[int, list[Service]]]], data: st.DataObject
) -> None:
    """Events may be lost, doubled and late (though one object's come in order), lists may be late: once the last list
    is in, and whatever comes after it, the state is what the cluster is."""
    events, lists = history
    state = ClusterState()
    steps: list[Any] = [("list", entry) for entry in data.draw(st.lists(st.sampled_from(lists), max_size=3))]
    steps += [("event", entry) for entry in data.draw(st.lists(st.sampled_from(events), max_size=20))]
    steps = list(data.draw(st.permutations(steps)))
    steps.insert(data.draw(st.integers(0, len(steps))), ("list", lists[-1]))
    for what, entry in steps:
        if what == "list":
            state.replace(Kind.SERVICE, entry[1], entry[0])
        elif entry[0] == "DELETED":
            state.delete(Kind.SERVICE, entry[1].meta.key, entry[1].meta.uid, entry[1].meta.version)
        else:
            state.upsert(entry[1])
    assert state.snapshot().services == {found.meta.key: found for found in lists[-1][1]}


def test_every_kind_has_its_place_in_a_snapshot() -> None:
    raws = [made.route(), made.balancer(), made.service(), made.endpoint_slice(), made.namespace(), made.pod()]
    raws += [made.deployment(), made.config_map("x")]
    records: list[Record] = [record(raw) for raw in raws]
    state = ClusterState()
    assert [state.upsert(entry) for entry in records] == [True] * 8
    snapshot = state.snapshot()
    held = [snapshot.routes, snapshot.balancers, snapshot.services, snapshot.slices, snapshot.namespaces, snapshot.pods]
    held += [snapshot.deployments, snapshot.config_maps]
    assert [len(mapping) for mapping in held] == [1] * 8


@pytest.mark.parametrize("kind", Kind)
def test_lists_of_every_kind(kind: Kind) -> None:
    state = ClusterState()
    assert not state.replace(kind, [], 3)
    assert state.size(kind) == 0
