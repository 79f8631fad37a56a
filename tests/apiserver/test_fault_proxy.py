"""The fault proxy does what the tests with it rely on, to our own client."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.api_requests import ApiRequest, parse_request
from tests.support.apiserver import ADMIN, ApiServer
from tests.support.fault_proxy import FaultProxy, HalfOpen, InStream, Reset, Stall, Status, Truncated, Where
from wsroute.kube.client import KubeClient
from wsroute.kube.port import (
    CONFIG_MAPS,
    ConflictError,
    ForbiddenError,
    GoneError,
    KubeError,
    UnavailableError,
    WatchEvent,
)

LONG = 60.0
"""Seconds for a request that is answered."""

MAPS = Where(resources=frozenset({"configmaps"}))


@pytest.fixture
async def through(apiserver: ApiServer, proxy: FaultProxy) -> AsyncIterator[KubeClient]:
    """A client whose requests go through the proxy."""
    client = await KubeClient.from_kubeconfig(apiserver.kubeconfig(through=proxy), timeout=LONG)
    yield client
    await client.close()


@pytest.fixture
async def impatient(apiserver: ApiServer, proxy: FaultProxy) -> AsyncIterator[KubeClient]:
    """Another one, for requests that get no answer."""
    client = await KubeClient.from_kubeconfig(apiserver.kubeconfig(through=proxy), timeout=1.0)
    yield client
    await client.close()


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/namespaces/a/pods", {}, ApiRequest("u", "list", "", "pods", "", "a", "")),
        ("GET", "/api/v1/pods", {"watch": "1"}, ApiRequest("u", "watch", "", "pods", "", "", "")),
        (
            "GET",
            "/api/v1/namespaces/a/secrets",
            {"watch": "true", "fieldSelector": "metadata.name=x"},
            ApiRequest("u", "watch", "", "secrets", "", "a", "x"),
        ),
        ("GET", "/api/v1/namespaces", {}, ApiRequest("u", "list", "", "namespaces", "", "", "")),
        ("GET", "/api/v1/namespaces/a", {}, ApiRequest("u", "get", "", "namespaces", "", "", "a")),
        (
            "PATCH",
            "/apis/wsroute.dev/v1alpha1/namespaces/a/websocketroutes/r/status",
            {},
            ApiRequest("u", "patch", "wsroute.dev", "websocketroutes", "status", "a", "r"),
        ),
        (
            "POST",
            "/apis/coordination.k8s.io/v1/namespaces/a/leases",
            {},
            ApiRequest("u", "create", "coordination.k8s.io", "leases", "", "a", ""),
        ),
        ("GET", "/version", {}, ApiRequest("u", "get", name="/version")),
        ("GET", "/apis/apps/v1", {}, ApiRequest("u", "get", name="/apis/apps/v1")),
    ],
)
def test_requests_are_read_as_the_authorizer_does(
    method: str, path: str, query: dict[str, str], expected: ApiRequest
) -> None:
    assert parse_request("u", method, path, query) == expected


async def test_it_passes_on_and_notes_who_asked_for_what(
    proxy: FaultProxy, through: KubeClient, namespace: str
) -> None:
    await _make(through, namespace, "one")
    listing = await through.list(CONFIG_MAPS, namespace=namespace)
    assert "one" in {item["metadata"]["name"] for item in listing.items}
    async with _watching(through, namespace, listing.resource_version) as events:
        await _make(through, namespace, "two")
        assert (await events.get()).object["metadata"]["name"] == "two"
    made = ApiRequest(ADMIN, "create", "", "configmaps", "", namespace)
    assert proxy.requests[made, 201] == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, ForbiddenError), (403, ForbiddenError), (409, ConflictError), (410, GoneError), (503, UnavailableError)],
)
async def test_statuses(
    proxy: FaultProxy, through: KubeClient, namespace: str, status: int, error: type[KubeError]
) -> None:
    with proxy.fault(Status(status), MAPS), pytest.raises(error) as raised:
        await through.list(CONFIG_MAPS, namespace=namespace)
    assert raised.value.status == status
    await through.list(CONFIG_MAPS, namespace=namespace)


async def test_it_says_when_to_come_back(proxy: FaultProxy, through: KubeClient, namespace: str) -> None:
    with proxy.fault(Status(429, retry_after=7), MAPS), pytest.raises(UnavailableError) as raised:
        await through.list(CONFIG_MAPS, namespace=namespace)
    assert raised.value.retry_after == 7


@pytest.mark.parametrize("fault", [Reset(), Stall(), Truncated()])
async def test_answers_that_do_not_come(
    proxy: FaultProxy, through: KubeClient, impatient: KubeClient, namespace: str, fault: Reset | Stall | Truncated
) -> None:
    with proxy.fault(fault, MAPS), pytest.raises(UnavailableError):
        await impatient.list(CONFIG_MAPS, namespace=namespace)
    await through.list(CONFIG_MAPS, namespace=namespace)


async def test_while_it_is_away_nobody_listens(proxy: FaultProxy, through: KubeClient, namespace: str) -> None:
    async with proxy.away():
        with pytest.raises(UnavailableError, match="out of reach"):
            await through.list(CONFIG_MAPS, namespace=namespace)
    await through.list(CONFIG_MAPS, namespace=namespace)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (InStream(410), GoneError),
        (InStream(500), UnavailableError),
        (Reset(), UnavailableError),
        (Status(403), UnavailableError),
    ],
)
async def test_a_fault_takes_hold_of_watches_that_stand(
    proxy: FaultProxy,
    through: KubeClient,
    namespace: str,
    fault: InStream | Reset | Status,
    error: type[KubeError],
) -> None:
    async def watch() -> None:
        listing = await through.list(CONFIG_MAPS, namespace=namespace)
        async with _watching(through, namespace, listing.resource_version):
            with proxy.fault(fault, MAPS):
                await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await watch()
    assert isinstance(raised.value.exceptions[0], error)


async def test_half_open_watches_say_nothing_and_are_reset_in_the_end(
    proxy: FaultProxy, through: KubeClient, client: KubeClient, namespace: str
) -> None:
    async def watch() -> None:
        listing = await through.list(CONFIG_MAPS, namespace=namespace)
        async with _watching(through, namespace, listing.resource_version) as old:
            with proxy.fault(HalfOpen(old_only=True), MAPS):
                await _make(client, namespace, "unseen")
                async with _watching(through, namespace, listing.resource_version) as new:
                    assert (await new.get()).object["metadata"]["name"] == "unseen"
                assert old.empty()
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await watch()
    assert isinstance(raised.value.exceptions[0], UnavailableError)


async def test_one_request_is_held_and_let_go(
    proxy: FaultProxy, through: KubeClient, impatient: KubeClient, client: KubeClient, namespace: str
) -> None:
    with proxy.hold(Where(verbs=frozenset({"create"}), resources=frozenset({"configmaps"}))) as held:
        with pytest.raises(UnavailableError):
            await _make(impatient, namespace, "late")
        assert held.arrived.is_set()
        await _make(through, namespace, "other")
        await _make(client, namespace, "late")
        assert await held.let_go() == 409


async def test_no_watch_outlives_the_proxy(apiserver: ApiServer, namespace: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(apiserver.proxy())
        client = await KubeClient.from_kubeconfig(apiserver.kubeconfig(through=proxy), timeout=LONG)
        stack.push_async_callback(client.close)
        listing = await client.list(CONFIG_MAPS, namespace=namespace)
        stream: Any = client.watch(CONFIG_MAPS, namespace=namespace, resource_version=listing.resource_version)
        await stack.enter_async_context(contextlib.aclosing(stream))
        await anext(stream)  # it stands
    del proxy, stack
    gc.collect()  # what is left of a handler would complain here, and fail this test


async def _make(client: KubeClient, namespace: str, name: str) -> None:
    await client.create(CONFIG_MAPS, {"metadata": {"namespace": namespace, "name": name}})


@contextlib.asynccontextmanager
async def _watching(client: KubeClient, namespace: str, since: str) -> AsyncIterator["asyncio.Queue[WatchEvent]"]:
    """The events of a watch that stands when the block begins; its failure ends the block."""
    events: asyncio.Queue[WatchEvent] = asyncio.Queue()
    standing = asyncio.Event()

    async def watch() -> None:
        stream: Any = client.watch(CONFIG_MAPS, namespace=namespace, resource_version=since)
        async with contextlib.aclosing(stream):
            async for event in stream:
                standing.set()
                if event.type != "BOOKMARK":
                    events.put_nowait(event)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch())
        await standing.wait()
        yield events
        task.cancel()
