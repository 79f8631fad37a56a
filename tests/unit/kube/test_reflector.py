"""Following a kind of object through every kind of trouble, against a scripted server."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wsroute.kube import reflector
from wsroute.kube.backoff import Backoff
from wsroute.kube.port import (
    PODS,
    ClusterClient,
    ForbiddenError,
    GoneError,
    Json,
    KubeError,
    Listing,
    NotFoundError,
    Resource,
    UnavailableError,
    WatchEvent,
)
from wsroute.kube.reflector import Deleted, Replaced, Upserted, reflect

AGAIN = "trying again until it works. Watching pods: the API server is out of reach"
QUICK = Backoff(first=0.001, cap=0.002)


def pod(name: str, version: str) -> Json:
    return {"metadata": {"name": name, "resourceVersion": version}}


def bookmark(version: str) -> WatchEvent:
    return WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": version}})


@dataclass
class Script:
    """Answers in turn; when they are used up the stream hangs. ``asked`` notes the calls."""

    lists: list[Listing | KubeError]
    watches: list[list[WatchEvent | KubeError]]
    asked: list[str] = field(default_factory=list)

    async def list(self, _: Resource, **__: Any) -> Listing:
        self.asked.append("list")
        answer = self.lists.pop(0)
        if isinstance(answer, KubeError):
            raise answer
        return answer

    async def watch(self, _: Resource, *, resource_version: str, **__: Any) -> AsyncIterator[WatchEvent]:
        self.asked.append(resource_version)
        if not self.watches:
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, KubeError):
                raise event
            yield event


async def follow(script: Script, count: int, **options: Any) -> list[Replaced | Upserted | Deleted]:
    """The first ``count`` things that a reflector tells, once the script is used up."""
    told: list[Replaced | Upserted | Deleted] = []
    changes = reflect(cast("ClusterClient", script), PODS, namespace="shop", backoff=QUICK, **options)

    async def collect() -> None:
        async for change in changes:
            told.append(change)  # noqa: PERF401 (looked at meanwhile)

    task = asyncio.create_task(collect())
    await until(lambda: len(told) >= count and not script.watches and not script.lists)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await cast("Any", changes).aclose()
    assert len(told) == count
    return told


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_list_and_then_its_changes() -> None:
    script = Script(
        [Listing([pod("a", "1")], "10")],
        [
            [
                bookmark("10"),
                WatchEvent("ADDED", pod("b", "11")),
                WatchEvent("MODIFIED", pod("a", "12")),
                WatchEvent("DELETED", pod("b", "13")),
                bookmark("20"),
            ]
        ],
    )
    assert await follow(script, 4) == [
        Replaced([pod("a", "1")], "10"),
        Upserted(pod("b", "11")),
        Upserted(pod("a", "12")),
        Deleted(pod("b", "13")),
    ]
    assert script.asked[:2] == ["list", "10"]


async def test_a_stream_that_ends_goes_on_where_it_was() -> None:
    script = Script(
        [Listing([], "10")],
        [[bookmark("10"), WatchEvent("ADDED", pod("b", "11"))], [bookmark("15")], [UnavailableError("cut")], []],
    )
    await follow(script, 2)
    assert script.asked[:5] == ["list", "10", "11", "15", "15"]


async def test_a_position_that_is_too_old_means_a_new_list() -> None:
    script = Script([Listing([pod("a", "1")], "10"), Listing([], "90")], [[GoneError("too old")], [bookmark("90")]])
    assert await follow(script, 2) == [Replaced([pod("a", "1")], "10"), Replaced([], "90")]
    assert script.asked[:4] == ["list", "10", "list", "90"]


async def test_a_definition_that_went_away_means_a_new_list_and_empties_nothing() -> None:
    script = Script(
        [Listing([pod("a", "1")], "10"), NotFoundError("no such resource"), Listing([pod("a", "50")], "51")],
        [[NotFoundError("no such resource")], []],
    )
    assert await follow(script, 2) == [Replaced([pod("a", "1")], "10"), Replaced([pod("a", "50")], "51")]


async def test_a_failing_list_is_tried_again_and_nothing_is_told() -> None:
    failures: list[Listing | KubeError] = [ForbiddenError("no"), UnavailableError("down"), UnavailableError("down")]
    script = Script([*failures, Listing([], "10")], [[bookmark("10")]])
    assert await follow(script, 1) == [Replaced([], "10")]


async def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(reflector, "time", SimpleNamespace(monotonic=lambda: 100.0))
    down: list[WatchEvent | KubeError] = [UnavailableError("Watching pods: the API server is out of reach.")]
    script = Script([Listing([], "10")], [[bookmark("11")], down, down, down, [bookmark("12")], down, [bookmark("13")]])
    await follow(script, 1)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        (
            "WARNING",
            f"Following pods in namespace shop is interrupted, what is known stays as it is; {AGAIN}.",
        ),
        ("INFO", "Following pods in namespace shop works again after 0 s."),
    ], "one failure alone, at the end, is not told"


async def test_a_refusal_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    script = Script([ForbiddenError("Listing pods: forbidden"), Listing([], "10")], [[bookmark("10")]])
    await follow(script, 1)
    assert "Listing pods: forbidden" in caplog.text


async def test_whoever_can_go_on_without_hears_of_each_refusal() -> None:
    refusals = [ForbiddenError("no", status=403), ForbiddenError("who?", status=401)]
    heard: list[ForbiddenError] = []
    script = Script(
        [refusals[0], UnavailableError("down"), Listing([], "10")], [[bookmark("10")], [refusals[1]], [bookmark("10")]]
    )
    assert await follow(script, 1, refused=heard.append) == [Replaced([], "10")]
    assert heard == refusals


async def test_a_right_that_may_be_missing_for_good_is_waited_for_longer_than_the_end_of_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    answers = [ForbiddenError("no", status=403), UnavailableError("down"), ForbiddenError("who?", status=401)]
    script = Script([*answers * 3, Listing([], "1")], [[]])
    usual, rare = Backoff(first=1.0, cap=1.0, spread=0.0), Backoff(first=10.0, cap=20.0, spread=0.0)
    changes = reflect(cast("ClusterClient", script), PODS, backoff=usual, refusals=rare)
    async with aclosing(cast("Any", changes)):
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", note)
            await anext(changes)
    assert slept == [10.0, 1.0, 1.0, 20.0, 1.0, 1.0, 20.0, 1.0, 1.0]


async def test_the_server_s_wish_for_patience_is_heard_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    busy = UnavailableError("busy", status=429, retry_after=7.0)
    longer = UnavailableError("busy", status=429, retry_after=7_000.0)
    script = Script([busy, longer, Listing([], "1")], [[]])
    changes = reflect(cast("ClusterClient", script), PODS, backoff=Backoff(cap=30.0))
    async with aclosing(cast("Any", changes)):
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", note)
            await anext(changes)
    assert slept == [7.0, 30.0]


async def test_streams_that_end_at_once_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    script = Script([Listing([], "1")], [[bookmark("1")]] * 6)
    changes = reflect(cast("ClusterClient", script), PODS, backoff=Backoff(first=1.0, spread=0.0))

    async def drain() -> None:
        async for _ in changes:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", note)
        task = asyncio.create_task(drain())
        async with asyncio.timeout(60):
            while len(script.asked) < 8:
                await sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    # The first end is ordinary; those that follow without anything new are not.
    assert slept == [1.0, 2.0, 4.0, 8.0, 16.0]


async def test_leaving_closes_the_stream() -> None:
    closed = asyncio.Event()

    class Server(Script):
        async def watch(self, *_: Any, **__: Any) -> AsyncIterator[WatchEvent]:
            try:
                while True:
                    yield WatchEvent("ADDED", pod("a", "2"))
            finally:
                closed.set()

    changes = reflect(cast("ClusterClient", Server([Listing([], "1")], [])), PODS)
    async with aclosing(cast("Any", changes)):
        await anext(changes)
        await anext(changes)
    assert closed.is_set()
