"""kopf's supervision: a thread of its own, started again when it ends, stopped when told to."""

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import Any, cast

import kopf
import pytest

from tests.support.fake_cluster import FakeCluster
from tests.support.waiting import until
from wsroute.cluster.kinds import Kind
from wsroute.cluster.state import ClusterState
from wsroute.controller.feed import Feed
from wsroute.controller.resync import Resync
from wsroute.controller.scope import Scope
from wsroute.controller.settings import kopf_settings, register_login
from wsroute.controller.watching import OwnLoop, Watching, insist, supervise
from wsroute.kube import connection
from wsroute.kube.backoff import Backoff
from wsroute.kube.port import ROUTES, NotFoundError
from wsroute.observability.metrics import Metrics

QUICK = Backoff(first=0.001, cap=0.002)


async def test_main_runs_in_another_thread_and_its_end_is_ours() -> None:
    names: list[str] = []

    async def main(_stop: asyncio.Event) -> None:
        names.append(threading.current_thread().name)

    await OwnLoop(main).run()
    assert names == ["kopf"]


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3)])
async def test_what_main_raises_is_raised_here(error: BaseException) -> None:
    async def main(_stop: asyncio.Event) -> None:
        raise error

    with pytest.raises(RuntimeError):
        await OwnLoop(main).run()


async def test_cancelling_sets_the_event_and_waits_for_the_end() -> None:
    started, ended = threading.Event(), threading.Event()

    async def main(stop: asyncio.Event) -> None:
        started.set()
        await stop.wait()
        await asyncio.sleep(0.01)
        ended.set()

    task = asyncio.create_task(OwnLoop(main).run())
    await until(started.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_tasks_of_our_loop_survive_what_happens_in_the_other() -> None:
    async def main(_stop: asyncio.Event) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # what kopf does at its end

    ours = asyncio.create_task(asyncio.sleep(60))
    await OwnLoop(main).run()
    assert not ours.done()
    ours.cancel()


async def test_it_is_started_again_however_it_ends_and_a_list_heals_the_gap(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0
    cluster = FakeCluster()
    feed = Feed(ClusterState(kinds=[Kind.SERVICE]), changed=lambda: None)
    metrics = Metrics()
    resync = Resync(cluster, feed, metrics, kinds=[Kind.SERVICE], apart=0.0)

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ConnectionError("watch broken")
        if runs >= 3:
            await asyncio.Event().wait()

    listing = asyncio.create_task(resync.run())
    await until(feed.synced.is_set)
    before = len(cluster.lists)
    task = asyncio.create_task(supervise(run, resync, metrics, backoff=QUICK, settle=0.01))
    await until(lambda: runs == 3 and len(cluster.lists) > before)
    task.cancel()
    listing.cancel()
    await asyncio.wait([task, listing])
    assert "The watching half failed" in caplog.text
    assert b"wsroute_watch_restarts_total 2.0" in metrics.render()


def test_kopf_neither_gives_up_nor_writes() -> None:
    settings = kopf_settings()
    delays = iter(settings.networking.error_backoffs)  # type: ignore[arg-type]
    assert all(0 < next(delays) <= 30 for _ in range(1000))
    assert settings.posting.enabled is False
    assert settings.peering.standalone is True
    assert settings.watching.inactivity_timeout == 70.0


def test_with_a_list_of_namespaces_kopf_asks_for_nothing_of_the_clusters() -> None:
    assert kopf_settings(discover=False).scanning.disabled
    assert not kopf_settings().scanning.disabled


async def test_with_a_list_of_namespaces_kopf_starts_once_the_custom_resources_are_there() -> None:
    cluster = FakeCluster()
    cluster.fail = lambda _verb, resource, namespace: (
        NotFoundError("no such resource", status=404) if (resource, namespace) == (ROUTES, "team-a") else None
    )
    feed = Feed(ClusterState(), changed=lambda: None)
    resync = Resync(cluster, feed, Metrics())
    watching = Watching(cluster, feed.observe, resync, Metrics(), scope=Scope(("team-a",)), kubeconfig=None)
    with pytest.raises(NotFoundError):
        await watching._run_once()


async def test_kopf_logs_in_with_the_token_that_the_file_holds_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.crt").write_text("")
    environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    account = partial(connection.in_cluster, account=tmp_path, environment=environment)
    monkeypatch.setattr(connection, "in_cluster", account)
    registry = kopf.OperatorRegistry()
    register_login(registry, None)
    (handler,) = registry._activities.get_all_handlers()
    for token in ("first", "second"):
        (tmp_path / "token").write_text(f"{token}\n")
        info = await cast("Any", handler).fn()
        assert info.as_http_headers() == {"Authorization": f"Bearer {token}"}
        assert info.server == "https://10.96.0.1:443"
        assert info.ca_path == str(tmp_path / "ca.crt")
        assert not info.insecure


async def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    """What a watch of kopf does when it waits for an answer at the end."""
    swallowed = asyncio.Event()

    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    insisting = asyncio.create_task(insist(asyncio.Event(), pause=0.001))
    await asyncio.sleep(0)
    watch = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    for task in (insisting, watch):
        task.cancel()
    await asyncio.wait([insisting, watch])
    assert swallowed.is_set()
    assert watch.cancelled()
    assert insisting.cancelled()


async def test_a_kopf_that_is_told_to_stop_need_not_wait_for_us() -> None:
    stop = asyncio.Event()
    insisting = asyncio.create_task(insist(stop))
    stop.set()
    await asyncio.wait_for(insisting, timeout=60)
