"""The client's requests, and what it makes of a server that misbehaves. The real server: tests/apiserver."""

import asyncio
import contextlib
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from wsroute.kube import client as module
from wsroute.kube import connection
from wsroute.kube.client import KubeClient
from wsroute.kube.port import (
    BALANCERS,
    CONFIG_MAPS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    ForbiddenError,
    GoneError,
    KubeError,
    RejectedError,
    UnavailableError,
)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
TOKEN = "a-secret-token"


@contextlib.asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[KubeClient]:
    """A client that talks to ``handler`` in place of an API server."""
    server = web.Server(handler)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    configuration = Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    configuration.api_key["BearerToken"] = f"Bearer {TOKEN}"
    client = KubeClient(configuration, **options)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


async def test_a_list_is_fetched_in_pages() -> None:
    asked: list[dict[str, str]] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(dict(request.query))
        assert request.path == "/api/v1/namespaces/shop/configmaps"
        page = int(request.query.get("continue", "0"))
        following = {"continue": str(page + 1)} if page < 2 else {}
        names = {"items": [{"metadata": {"name": f"c{page}"}}], "metadata": {"resourceVersion": "7", **following}}
        return web.json_response(names)

    async with serving(handler) as client:
        listing = await client.list(CONFIG_MAPS, namespace="shop", label_selector="a=b", field_selector="c=d")
    assert [item["metadata"]["name"] for item in listing.items] == ["c0", "c1", "c2"]
    assert {(item["apiVersion"], item["kind"]) for item in listing.items} == {("v1", "ConfigMap")}
    assert listing.resource_version == "7"
    assert [query.get("continue") for query in asked] == [None, "1", "2"]
    assert all(query["limit"] == "500" and query["labelSelector"] == "a=b" for query in asked)


async def test_a_list_that_expires_between_pages_is_fetched_in_one_piece() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if "continue" in request.query:
            return status(410, "The provided continue parameter is too old")
        more = {"continue": "x"} if "limit" in request.query else {}
        return web.json_response({"items": None, "metadata": {"resourceVersion": "7" if more else "8", **more}})

    async with serving(handler) as client:
        listing = await client.list(PODS)
    assert (listing.items, listing.resource_version) == ([], "8")


async def test_of_what_a_list_holds_only_what_is_wanted_is_kept() -> None:
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        node = {"metadata": {"name": "a"}, "status": {"images": ["x"]}}
        return web.json_response({"items": [node, node], "metadata": {"resourceVersion": "7"}})

    async with serving(handler) as client:
        listing = await client.list(NODES, keep=lambda item: {"kind": item["kind"], "metadata": item["metadata"]})
    assert listing.items == [{"kind": "Node", "metadata": {"name": "a"}}] * 2


async def test_an_apply_says_who_and_what() -> None:
    seen: dict[str, Any] = {}

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.update(method=request.method, path=request.path, query=dict(request.query), body=await request.json())
        seen["type"], seen["agent"] = request.content_type, request.headers["User-Agent"]
        return web.json_response({"metadata": {"resourceVersion": "2"}})

    async with serving(handler) as client:
        body = {"metadata": {"namespace": "shop", "name": "web"}, "status": {}}
        await client.apply(BALANCERS, body, manager="wsroute", subresource="status", force=False)
    assert seen["method"] == "PATCH"
    assert seen["path"] == "/apis/wsroute.dev/v1alpha1/namespaces/shop/websocketbalancers/web/status"
    assert seen["query"] == {"fieldManager": "wsroute", "force": "false", "fieldValidation": "Ignore"}
    assert seen["body"] == {"apiVersion": "wsroute.dev/v1alpha1", "kind": "WebSocketBalancer", **body}
    assert seen["type"] == "application/apply-patch+yaml"
    assert seen["agent"].startswith("wsroute/")


async def test_cluster_scoped_objects_have_no_namespace_in_their_path() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"path": request.path})

    async with serving(handler) as client:
        assert (await client.get(NAMESPACES, namespace="", name="shop"))["path"] == "/api/v1/namespaces/shop"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../secrets/x", "a%2fb"])
async def test_a_name_can_not_lead_elsewhere(name: str) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError(f"asked for {request.path}")

    async with serving(handler) as client:
        with pytest.raises(RejectedError, match="can't be the name"):
            await client.get(CONFIG_MAPS, namespace="shop", name=name)
        with pytest.raises(RejectedError, match=r"can't be the name|needs a namespace"):
            await client.get(CONFIG_MAPS, namespace=name, name="x")


async def test_odd_characters_stay_in_their_segment() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"path": request.path, "query": request.query_string})

    async with serving(handler) as client:
        answer = await client.get(CONFIG_MAPS, namespace="shop", name="a?b#c d:e")
    assert answer == {"path": "/api/v1/namespaces/shop/configmaps/a?b#c d:e", "query": ""}


async def test_deleting_what_is_gone_is_no_error() -> None:
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return status(404, "not found")

    async with serving(handler) as client:
        await client.delete(PODS, namespace="shop", name="web-0")


async def test_a_request_that_hangs_ends() -> None:
    release = asyncio.Event()

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.json_response({})

    async with serving(handler, timeout=0.1) as client:
        try:
            with pytest.raises(UnavailableError, match="Reading Pod shop/web-0: no answer from the API server within"):
                await client.get(PODS, namespace="shop", name="web-0")
            with pytest.raises(UnavailableError, match="Watching pods: no answer"):
                await anext(client.watch(PODS, resource_version="1"))
        finally:
            release.set()


async def test_a_lease_does_not_wait_behind_other_requests() -> None:
    release, busy = asyncio.Event(), asyncio.Semaphore(0)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if "leases" not in request.path:
            busy.release()
            await release.wait()
        return web.json_response({})

    async with serving(handler) as client:
        reads = [asyncio.create_task(client.get(PODS, namespace="a", name=f"p{n}")) for n in range(module.PARALLEL + 5)]
        for _ in range(module.PARALLEL):
            await busy.acquire()
        assert await client.get(LEASES, namespace="a", name="leader") == {}
        assert busy.locked(), "more than PARALLEL requests are under way"
        release.set()
        await asyncio.gather(*reads)


@pytest.mark.parametrize("body", ["<html>", "[]", "null"])
async def test_an_answer_that_is_no_object_is_no_api_server(body: str) -> None:
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=body)

    async with serving(handler) as client:
        with pytest.raises(UnavailableError, match="no JSON object"):
            await client.get(PODS, namespace="shop", name="x")


async def test_no_server_at_all() -> None:
    client = KubeClient(Configuration(host="http://127.0.0.1:1"))
    with pytest.raises(UnavailableError, match="out of reach"):
        await client.get(PODS, namespace="shop", name="x")
    await client.close()


async def test_no_exception_holds_the_token() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        if request.path.endswith("/cut"):
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text="no", status=403)

    async with serving(handler) as client:
        for name, kind in (("cut", UnavailableError), ("refused", ForbiddenError)):
            with pytest.raises(kind) as caught:
                await client.get(PODS, namespace="shop", name=name)
            assert TOKEN not in "".join(traceback.format_exception(caught.value))
            assert caught.value.__cause__ is None
            assert TOKEN not in repr(caught.value)


async def _stream(request: web.BaseRequest, *chunks: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
    return response


async def test_a_watch_tells_first_that_it_stands() -> None:
    large = "x" * 3_000_000
    event = json.dumps({"type": "ADDED", "object": {"metadata": {"resourceVersion": "5"}, "data": large}}).encode()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        assert request.query["watch"] == "1"
        assert request.query["allowWatchBookmarks"] == "true"
        assert request.query["resourceVersion"] == "4"
        assert 240 <= int(request.query["timeoutSeconds"]) <= 360
        return await _stream(request, event[:1_000_000], event[1_000_000:] + b"\n" + event + b"\n", b'{"type":"unfin')

    async with serving(handler) as client:
        events = [event async for event in client.watch(CONFIG_MAPS, resource_version="4")]
    assert [event.type for event in events] == ["BOOKMARK", "ADDED", "ADDED"]
    assert events[0].object == {"metadata": {"resourceVersion": "4"}}
    assert events[2].object["data"] == large


async def test_a_watch_may_be_refused_at_once_or_in_the_stream() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.query["resourceVersion"] == "1":
            return status(410, "too old")
        error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
        return await _stream(request, json.dumps(error).encode() + b"\n")

    async with serving(handler) as client:
        with pytest.raises(GoneError, match="Watching pods in namespace shop: the API server answers 410: too old"):
            await anext(client.watch(PODS, resource_version="1", namespace="shop"))
        with pytest.raises(GoneError):
            [event async for event in client.watch(PODS, resource_version="2")]


async def test_a_silent_watch_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.1)
    release = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = await _stream(request)
        await release.wait()
        return response

    async with serving(handler) as client:
        with pytest.raises(UnavailableError, match="no answer from the API server within"):
            [event async for event in client.watch(PODS, resource_version="2")]
        release.set()


async def test_a_watch_that_is_cut_off_is_no_ordinary_end() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = await _stream(request, b'{"type":')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serving(handler) as client:
        with pytest.raises(UnavailableError, match="Watching pods"):
            [event async for event in client.watch(PODS, resource_version="2")]


def account(folder: Path, token: str) -> Path:
    (folder / "ca.crt").write_text("")
    (folder / "token").write_text(token + "\n")
    return folder


async def test_a_pod_uses_its_newest_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    configuration = connection.in_cluster(account=account(tmp_path, "first"), environment=environment)
    assert configuration.host == "https://[fd00::1]:443"
    assert await connection.authorization(configuration) == {"Authorization": "Bearer first"}
    account(tmp_path, "second")
    assert await connection.authorization(configuration) == {"Authorization": "Bearer first"}
    monkeypatch.setattr(connection, "REFRESH", 0.0)
    assert await connection.authorization(configuration) == {"Authorization": "Bearer second"}


def test_outside_of_a_pod_the_way_out_is_told(tmp_path: Path) -> None:
    with pytest.raises(KubeError, match="Name a kubeconfig instead"):
        connection.in_cluster(environment={})
    there = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(KubeError, match="mount the pod's service account token"):
        connection.in_cluster(account=tmp_path, environment=there)


@pytest.mark.parametrize("content", ["", "[]", "a: [", "{}", "{contexts: [], current-context: x, clusters: []}"])
async def test_a_kubeconfig_that_is_not_usable_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(KubeError, match=r"kubeconfig .* is not usable"):
        await KubeClient.from_kubeconfig(path)


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KubeError, match="is not usable"):
        await KubeClient.from_kubeconfig(tmp_path / "none")


async def test_a_token_file_of_a_kubeconfig_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("first")
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {"tokenFile": "token"}}],
            }
        )
    )
    configuration = await connection.from_kubeconfig(path)
    assert await connection.authorization(configuration) == {"Authorization": "Bearer first"}
    (tmp_path / "token").write_text("second")
    monkeypatch.setattr(connection, "REFRESH", 0.0)
    assert await connection.authorization(configuration) == {"Authorization": "Bearer second"}
