"""What the routes' definition says of routes that are not there, and the guard that asks it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from tests.support.fake_cluster import FakeCluster
from tests.support.waiting import until
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller.definition import (
    ACCEPT_ANNOTATION,
    NAME,
    NO_DEFINITION,
    Definition,
    Trust,
    parse_definition,
)
from wsroute.controller.feed import Change
from wsroute.controller.guard import RouteGuard
from wsroute.kube.port import (
    DEFINITIONS,
    ClusterClient,
    ForbiddenError,
    KubeError,
    Listing,
    UnavailableError,
    WatchEvent,
)

FIRST, MARKED = Definition(1, "a"), Definition(2, "a", terminating=True)
GONE, SECOND = Definition(3), Definition(4, "b")
ACCEPTED = Definition(5, "b", accepted="b")


def after(*looks: Definition) -> Trust:
    trust = Trust()
    for look in looks:
        trust = trust.look(look)
    return trust


def test_nothing_is_vouched_for_before_the_first_look() -> None:
    assert not Trust().vouches
    assert not Trust().knows("a")
    assert Trust().explain() == ""


def test_a_definition_that_stands_vouches() -> None:
    trust = after(FIRST)
    assert trust.vouches
    assert trust.knows("")
    assert trust.knows("a")
    assert trust.explain() == ""


@pytest.mark.parametrize("looks", [(FIRST, MARKED), (FIRST, MARKED, GONE), (FIRST, GONE, SECOND)])
def test_one_that_goes_does_not_and_says_what_to_do(looks: tuple[Definition, ...]) -> None:
    trust = after(*looks)
    assert not trust.vouches
    assert trust.knows("a")  # what is held is known
    assert "go on being served" in trust.explain()
    assert "pply the routes" in trust.explain()


def test_the_next_one_vouches_once_it_is_accepted_by_its_uid() -> None:
    held = after(FIRST, MARKED, GONE, SECOND)
    assert f"{ACCEPT_ANNOTATION}=b" in held.explain()
    assert not held.look(Definition(5, "b", accepted="a")).vouches
    accepted = held.look(ACCEPTED)
    assert accepted.vouches
    assert accepted.knows("a")
    assert accepted.knows("b")
    assert accepted.explain() == ""
    # It says nothing about the one after it.
    assert not accepted.look(Definition(6)).look(Definition(7, "c", accepted="b")).vouches


def test_an_older_look_changes_nothing() -> None:
    assert after(SECOND, FIRST) == after(SECOND)


def test_a_fresh_operator_does_not_know_the_routes_of_another_definition() -> None:
    fresh = after(SECOND)
    assert fresh.vouches
    assert not fresh.knows("a")
    assert "has started since" in fresh.explain_freeze()
    assert fresh.look(ACCEPTED).knows("a")
    assert "is gone" in after(MARKED).explain_freeze()


def test_where_definitions_may_not_be_read_routes_are_taken_as_they_come() -> None:
    for trust in (Trust().refused(), NO_DEFINITION):
        assert trust.vouches
        assert trust.knows("a")
    assert not after(FIRST, GONE).refused().vouches


@pytest.mark.parametrize(
    "metadata", [None, "x", {}, {"uid": 7}, {"annotations": "x"}, {"annotations": {ACCEPT_ANNOTATION: []}}]
)
def test_whatever_a_definition_holds_it_reads_as_something(metadata: object) -> None:
    assert parse_definition({"metadata": metadata}, version=1) == Definition(1)


# --- the guard ---


class Definitions:
    """An API server with the definition alone."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.failure: KubeError | None = None
        self.looks = 0

    async def list(self, resource: Any, *, field_selector: str, **_: object) -> Listing:
        assert resource == DEFINITIONS
        assert field_selector == f"metadata.name={NAME}"
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        return await self.cluster.list(resource)

    def watch(self, resource: Any, *, resource_version: str, **_: object) -> AsyncIterator[WatchEvent]:
        return self.cluster.watch(resource, resource_version=resource_version)


class Scene:
    """A guard, and what came of it."""

    def __init__(self) -> None:
        self.server = Definitions()
        self.seen: list[Change] = []
        self.changes = 0
        self.lists = 0
        self.guard = RouteGuard(
            cast("ClusterClient", self.server), observe=self.seen.append, changed=self.change, complete=self.complete
        )

    def change(self) -> None:
        self.changes += 1

    def complete(self) -> None:
        self.lists += 1

    def define(self, **metadata: Any) -> None:
        self.server.cluster.put(DEFINITIONS, NAME, **metadata)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    scene.define()
    task = asyncio.create_task(scene.guard.run())
    yield scene
    task.cancel()
    await asyncio.wait([task])


DELETION = Change(Kind.ROUTE, Key("team-a", "chat"), "uid-1", None)


async def test_a_deletion_counts_once_the_definition_vouches_for_it(scene: Scene) -> None:
    await until(lambda: scene.guard.trust.vouches)
    looks = scene.server.looks
    scene.server.failure = UnavailableError("no answer")
    scene.guard.observe(DELETION)
    await until(lambda: scene.server.looks > looks)
    assert scene.seen == []
    scene.server.failure = None
    await until(lambda: scene.seen == [DELETION])


async def test_what_goes_with_its_definition_stays_until_the_next_one_is_accepted(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: scene.guard.trust.vouches)
    lists = scene.lists
    scene.server.cluster.remove(DEFINITIONS, NAME)
    scene.guard.observe(DELETION)
    await until(lambda: not scene.guard.trust.vouches)
    assert "is gone" in caplog.text
    scene.define()
    await until(lambda: "made anew" in scene.guard.trust.explain())
    assert not await scene.guard.vouches()
    assert scene.seen == []
    assert scene.lists == lists
    uid = scene.server.cluster.find(DEFINITIONS, NAME)["metadata"]["uid"]
    scene.define(annotations={ACCEPT_ANNOTATION: uid})
    await until(lambda: scene.lists == lists + 1)
    assert await scene.guard.vouches()


async def test_other_changes_pass_at_once() -> None:
    scene = Scene()
    change = Change(Kind.SERVICE, Key("team-a", "chat"), "uid-1", None)
    scene.guard.observe(change)
    assert scene.seen == [change]
    assert scene.server.looks == 0


async def test_without_the_right_to_look_deletions_count_and_that_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    scene.server.failure = ForbiddenError("no")
    task = asyncio.create_task(scene.guard.run())
    for _ in range(2):
        scene.guard.observe(DELETION)
    await until(lambda: len(scene.seen) == 2)
    task.cancel()
    await asyncio.wait([task])
    assert scene.guard.trust.known
    assert caplog.text.count("not guarded") == 1
