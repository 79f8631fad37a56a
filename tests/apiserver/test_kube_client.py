"""The client, the reflector, the election and the Events against a real API server."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from tests.support.apiserver import NOBODY, ApiServer
from tests.support.controlled import until_served
from tests.support.waiting import until
from wsroute.kube import client as module
from wsroute.kube import connection, events
from wsroute.kube.backoff import Backoff
from wsroute.kube.client import KubeClient
from wsroute.kube.elector import Elector
from wsroute.kube.leader import Timing
from wsroute.kube.port import (
    BALANCERS,
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    NAMESPACES,
    ROUTES,
    ConflictError,
    ForbiddenError,
    GoneError,
    Json,
    NotFoundError,
    RejectedError,
    Resource,
    UnavailableError,
    WatchEvent,
)
from wsroute.kube.reflector import Deleted, Replaced, Upserted, reflect

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
DEADLINE = 60.0


def config_map(namespace: str, name: str, **data: str) -> Json:
    return {"metadata": {"namespace": namespace, "name": name}, "data": data}


# Lists and single objects


async def test_a_large_list_comes_whole_and_in_pages(
    client: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [config_map(namespace, f"c{number:04}", number=str(number)) for number in range(1_200)]
    await asyncio.gather(*(client.create(CONFIG_MAPS, body) for body in bodies))
    pages: list[str] = []
    send = client._send

    async def counting(method: str, path: str, *arguments: Any, **options: Any) -> Json:
        pages.append(path)
        return await send(method, path, *arguments, **options)

    monkeypatch.setattr(client, "_send", counting)
    listing = await client.list(CONFIG_MAPS, namespace=namespace)
    assert [item["metadata"]["name"] for item in listing.items] == [body["metadata"]["name"] for body in bodies]
    assert len(pages) == 3
    one = await client.get(CONFIG_MAPS, namespace=namespace, name="c0007")
    assert listing.items[7] == one, "an object is the same from a list and alone"


async def test_selectors_select(client: KubeClient, namespace: str) -> None:
    for name in ("a", "b"):
        body = config_map(namespace, name)
        body["metadata"]["labels"] = {"which": name}
        await client.create(CONFIG_MAPS, body)
    by_label = await client.list(CONFIG_MAPS, namespace=namespace, label_selector="which=b")
    by_field = await client.list(CONFIG_MAPS, namespace=namespace, field_selector="metadata.name=a")
    assert [item["metadata"]["name"] for item in by_label.items + by_field.items] == ["b", "a"]
    everywhere = await client.list(CONFIG_MAPS, label_selector="which=b")
    assert by_label.items[0] in everywhere.items


async def test_what_is_not_there(client: KubeClient, namespace: str) -> None:
    with pytest.raises(NotFoundError, match=f'Reading ConfigMap {namespace}/none: .*configmaps "none" not found'):
        await client.get(CONFIG_MAPS, namespace=namespace, name="none")
    with pytest.raises(NotFoundError):
        await client.list(Resource("nobody.dev", "v1", "things", "Thing"))
    await client.delete(CONFIG_MAPS, namespace=namespace, name="none")


# Writing


async def test_apply_makes_changes_and_keeps_to_its_own_fields(client: KubeClient, namespace: str) -> None:
    made = await client.apply(CONFIG_MAPS, config_map(namespace, "c", a="1"), manager="one")
    assert (made["apiVersion"], made["kind"], made["data"]) == ("v1", "ConfigMap", {"a": "1"})
    both = await client.apply(CONFIG_MAPS, config_map(namespace, "c", b="2"), manager="two")
    assert both["data"] == {"a": "1", "b": "2"}
    with pytest.raises(ConflictError, match="conflict"):
        await client.apply(CONFIG_MAPS, config_map(namespace, "c", a="3"), manager="two", force=False)
    forced = await client.apply(CONFIG_MAPS, config_map(namespace, "c", a="3", b="2"), manager="two")
    assert forced["data"]["a"] == "3"
    same = await client.apply(CONFIG_MAPS, config_map(namespace, "c", a="3", b="2"), manager="two")
    assert same["metadata"]["resourceVersion"] == forced["metadata"]["resourceVersion"], "nothing new, nothing written"


async def test_a_resource_version_is_a_precondition(client: KubeClient, namespace: str) -> None:
    first = await client.apply(CONFIG_MAPS, config_map(namespace, "c", a="1"), manager="leader")
    version = first["metadata"]["resourceVersion"]
    fenced = config_map(namespace, "c", a="2")
    fenced["metadata"]["resourceVersion"] = version
    await client.apply(CONFIG_MAPS, fenced, manager="leader")
    with pytest.raises(ConflictError):
        await client.apply(CONFIG_MAPS, {**fenced, "data": {"a": "3"}}, manager="leader")
    assert (await client.get(CONFIG_MAPS, namespace=namespace, name="c"))["data"] == {"a": "2"}
    await client.delete(CONFIG_MAPS, namespace=namespace, name="c")
    fenced["metadata"]["uid"] = first["metadata"]["uid"]
    with pytest.raises(ConflictError):
        await client.apply(CONFIG_MAPS, fenced, manager="leader")
    del fenced["metadata"]["uid"]
    anew = await client.apply(CONFIG_MAPS, fenced, manager="leader")
    assert anew["metadata"]["uid"] != first["metadata"]["uid"], (
        "a resourceVersion alone does not forbid to make it anew"
    )


async def test_create_and_update_notice_others(client: KubeClient, namespace: str) -> None:
    made = await client.create(CONFIG_MAPS, config_map(namespace, "c", a="1"))
    with pytest.raises(ConflictError, match="already exists"):
        await client.create(CONFIG_MAPS, config_map(namespace, "c"))
    await client.update(CONFIG_MAPS, {**made, "data": {"a": "2"}})
    with pytest.raises(ConflictError, match="modified"):
        await client.update(CONFIG_MAPS, {**made, "data": {"a": "3"}})
    await client.delete(CONFIG_MAPS, namespace=namespace, name="c")
    with pytest.raises(NotFoundError):
        await client.get(CONFIG_MAPS, namespace=namespace, name="c")


async def test_what_the_server_refuses_for_its_content(client: KubeClient, namespace: str) -> None:
    with pytest.raises(RejectedError, match=r"metadata\.name"):
        await client.create(CONFIG_MAPS, config_map(namespace, "No_Such_Name"))
    with pytest.raises(RejectedError, match="Applying ConfigMap"):
        await client.apply(CONFIG_MAPS, config_map(namespace, "big", a="x" * 1_200_000), manager="m")
    with pytest.raises(RejectedError):
        await client.apply(CONFIG_MAPS, config_map(namespace, "bigger", a="x" * 4_000_000), manager="m")
    fits = await client.apply(CONFIG_MAPS, config_map(namespace, "fits", a="ü\n\u2028" * 150_000), manager="m")
    assert fits["data"]["a"] == "ü\n\u2028" * 150_000


@pytest.fixture
async def definitions(client: KubeClient) -> None:
    """Our own custom resources, served."""
    for path in (ROOT / "crds").glob("websocket*.yaml"):
        definition: Json = yaml.safe_load(path.read_text())
        await client.apply(DEFINITIONS, definition, manager="installer")
    for resource in (ROUTES, BALANCERS):
        await until_served(client, resource)


@pytest.mark.usefixtures("definitions")
async def test_the_status_is_written_on_its_own(client: KubeClient, namespace: str) -> None:
    name = {"namespace": namespace, "name": "shared"}
    sample: Json = yaml.safe_load((ROOT / "deploy" / "balancer" / "websocketbalancer.yaml").read_text())
    made = await client.create(BALANCERS, {**sample, "metadata": name})
    condition = {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "It is.",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
    status = {"metadata": name, "status": {"conditions": [condition]}}
    written = await client.apply(BALANCERS, status, manager="wsroute", subresource="status")
    assert written["status"]["conditions"] == [condition]
    assert written["spec"] == made["spec"]
    assert written["metadata"]["generation"] == made["metadata"]["generation"]
    ignored = await client.apply(BALANCERS, {**status, "status": {"conditions": []}}, manager="somebody")
    assert ignored["status"]["conditions"] == [condition]


# Who we are


async def test_who_may_not_is_told_so(apiserver: ApiServer, namespace: str, tmp_path: Path) -> None:
    nobody = await KubeClient.from_kubeconfig(apiserver.kubeconfig(NOBODY))
    with pytest.raises(ForbiddenError, match='User "nobody" cannot list resource "configmaps"') as caught:
        await nobody.list(CONFIG_MAPS, namespace=namespace)
    assert caught.value.status == 403
    with pytest.raises(ForbiddenError):
        await anext(nobody.watch(CONFIG_MAPS, resource_version="1"))
    await nobody.close()
    content = json.loads(apiserver.kubeconfig().read_text())
    content["users"][0]["user"]["token"] = "wrong"
    (tmp_path / "kubeconfig").write_text(json.dumps(content))
    stranger = await KubeClient.from_kubeconfig(tmp_path / "kubeconfig")
    with pytest.raises(ForbiddenError) as caught:
        await stranger.list(NAMESPACES)
    assert caught.value.status == 401
    await stranger.close()


async def test_a_pod_s_credentials_work(apiserver: ApiServer) -> None:
    where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(apiserver.port)}
    client = KubeClient(connection.in_cluster(account=apiserver.service_account(), environment=where))
    assert (await client.get(NAMESPACES, namespace="", name="default"))["kind"] == "Namespace"
    await client.close()


async def test_a_server_with_another_certificate_is_not_talked_to(apiserver: ApiServer, tmp_path: Path) -> None:
    content = json.loads(apiserver.kubeconfig().read_text())
    del content["clusters"][0]["cluster"]["certificate-authority"]
    (tmp_path / "kubeconfig").write_text(json.dumps(content))
    client = await KubeClient.from_kubeconfig(tmp_path / "kubeconfig")
    with pytest.raises(UnavailableError, match=r"certificate verify failed|CERTIFICATE_VERIFY_FAILED"):
        await client.list(NAMESPACES)
    await client.close()


# Watching


async def test_a_watch_brings_what_happened_since_and_then_what_happens(client: KubeClient, namespace: str) -> None:
    before = (await client.list(CONFIG_MAPS, namespace=namespace)).resource_version
    large = "x" * 900_000
    await client.create(CONFIG_MAPS, config_map(namespace, "c", a=large))
    changes = client.watch(CONFIG_MAPS, resource_version=before, namespace=namespace)
    async with contextlib.aclosing(cast("AsyncGenerator[WatchEvent, None]", changes)):
        async with asyncio.timeout(DEADLINE):
            assert (await anext(changes)).type == "BOOKMARK"
            added = await anext(changes)
            await client.delete(CONFIG_MAPS, namespace=namespace, name="c")
            deleted = await anext(changes)
    assert (added.type, added.object["data"]["a"], added.object["kind"]) == ("ADDED", large, "ConfigMap")
    assert (deleted.type, deleted.object["metadata"]["name"]) == ("DELETED", "c")


async def test_a_watch_ends_in_time_and_bookmarks_tell_how_far_it_came(
    client: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 5)
    first = position = (await client.list(CONFIG_MAPS, namespace=namespace)).resource_version
    async with asyncio.timeout(DEADLINE):
        # The server means to send one about two seconds before the end, and is sometimes late.
        while position == first:
            async for event in client.watch(CONFIG_MAPS, resource_version=first, namespace=namespace):
                assert event.type == "BOOKMARK", "nothing happened here"
                position = event.object["metadata"]["resourceVersion"]
                # A kind of which nothing is new has no bookmarks.
                await client.apply(CONFIG_MAPS, config_map("default", "elsewhere", now=str(time.time())), manager="m")
    assert int(position) > int(first)


async def test_a_position_of_long_ago_is_gone(apiserver: ApiServer, client: KubeClient, namespace: str) -> None:
    # A server that has just started knows nothing of what was before.
    await asyncio.to_thread(apiserver.stop_server)
    await asyncio.to_thread(apiserver.start_server)
    with pytest.raises(GoneError, match="too old resource version"):
        [event async for event in client.watch(CONFIG_MAPS, resource_version="1", namespace=namespace)]


class View:
    """What a reflector has told so far, as a map; it follows in the background."""

    def __init__(self, client: KubeClient, namespace: str, backoff: Backoff) -> None:
        self.names: set[str] = set()
        self.lists = 0
        self._changes = reflect(client, CONFIG_MAPS, namespace=namespace, backoff=backoff)

    async def follow(self) -> None:
        async for change in self._changes:
            match change:
                case Replaced(items):
                    self.names = {item["metadata"]["name"] for item in items}
                    self.lists += 1
                case Upserted(item):
                    self.names.add(item["metadata"]["name"])
                case Deleted(item):
                    self.names.discard(item["metadata"]["name"])


@contextlib.asynccontextmanager
async def background(work: Coroutine[None, None, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_reflector_loses_no_deletion_over_a_restart_of_the_server(
    apiserver: ApiServer, client: KubeClient, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wsroute")
    for name in ("stays", "goes"):
        await client.create(CONFIG_MAPS, config_map(namespace, name))
    reader = await KubeClient.from_kubeconfig(apiserver.kubeconfig())
    # So patient that the deletion is over before it is back.
    view = View(reader, namespace, Backoff(first=2.0, cap=2.0, spread=0.0))
    async with background(view.follow()):
        await until(lambda: {"stays", "goes"} <= view.names)
        await asyncio.to_thread(apiserver.stop_server)
        try:
            with pytest.raises(UnavailableError, match="out of reach"):
                await client.list(CONFIG_MAPS)
            await until(lambda: "is interrupted" in caplog.text)
            assert {"stays", "goes"} <= view.names, "an outage empties nothing"
        finally:
            await asyncio.to_thread(apiserver.start_server)
        await client.delete(CONFIG_MAPS, namespace=namespace, name="goes")
        await client.create(CONFIG_MAPS, config_map(namespace, "comes"))
        await until(lambda: {"stays", "comes"} <= view.names and "goes" not in view.names)
        await until(lambda: "works again after" in caplog.text)
    told = [record.message for record in caplog.records if record.name == "wsroute.kube.reflector"]
    # A server that starts may have more than one outage; each is told when it begins and when it ends.
    beginnings = ["is interrupted" in line for line in told]
    assert beginnings == [number % 2 == 0 for number in range(len(told))]
    await reader.close()


# Leases


async def test_a_lease_has_one_writer(client: KubeClient, namespace: str) -> None:
    body = {"metadata": {"namespace": namespace, "name": "leader"}, "spec": {"holderIdentity": "one"}}
    made = await client.create(LEASES, body)
    await client.update(LEASES, {**made, "spec": {"holderIdentity": "two"}})
    with pytest.raises(ConflictError):
        await client.update(LEASES, {**made, "spec": {"holderIdentity": "one"}})


def elector(client: KubeClient, namespace: str, identity: str, timing: Timing) -> Elector:
    return Elector(client, namespace=namespace, name="operator", identity=identity, timing=timing)


async def test_when_the_leader_dies_the_other_takes_over(client: KubeClient, namespace: str) -> None:
    timing = Timing(lease=4.0, renew_deadline=2.5, retry=0.5)
    first, second = (elector(client, namespace, name, timing) for name in ("first", "second"))
    async with background(first.run()) as running:
        async with asyncio.timeout(DEADLINE):
            await first.until(leading=True)
        async with background(second.run()), asyncio.timeout(DEADLINE):
            await until(lambda: second.epoch == first.epoch)  # it has seen the leader
            running.cancel()
            died, belief = time.monotonic(), first.remaining()
            await second.until(leading=True)
            if belief:  # on a machine that stalls it may have ended before
                assert time.monotonic() - died >= belief + timing.slack - 0.1, "the slack is kept"
            assert not first.leading
            assert second.epoch > first.epoch
    lease = await client.get(LEASES, namespace=namespace, name="operator")
    assert lease["spec"]["holderIdentity"] == "second"
    assert lease["spec"]["leaseTransitions"] == second.epoch
    assert lease["spec"]["leaseDurationSeconds"] == 4


async def test_a_leader_that_leaves_gives_the_lease_back(client: KubeClient, namespace: str) -> None:
    first, second = (elector(client, namespace, name, Timing()) for name in ("first", "second"))
    async with background(first.run()) as running:
        async with asyncio.timeout(DEADLINE):
            await first.until(leading=True)
        async with background(second.run()), asyncio.timeout(DEADLINE):
            await until(lambda: second.epoch == first.epoch)  # it has seen the leader
            left = time.monotonic()
            first.stop()
            await running
            await second.until(leading=True)
    assert time.monotonic() - left < Timing().renew_deadline, "it did not wait for the lease to run out"


async def test_nobody_leads_in_a_namespace_that_is_not_there(
    client: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    lonely = elector(client, "nowhere", "one", Timing(retry=0.05))
    async with background(lonely.run()):
        await until(lambda: 'namespaces "nowhere" not found' in caplog.text)
    assert not lonely.leading


# Events


async def test_an_event_about_an_object_is_taken_by_the_server(client: KubeClient, namespace: str) -> None:
    subject = await client.create(CONFIG_MAPS, config_map(namespace, "c"))
    recorder = events.EventRecorder(client, instance="wsroute-0")
    async with background(recorder.run()), asyncio.timeout(DEADLINE):
        for _ in range(3):
            recorder.record(
                events.reference(subject),
                reason="QuarantinedByNginx",
                note="nginx: " + "ü" * 2_000,
                action="Reconcile",
                type_="Warning",
            )
        recorder.record({"kind": "Namespace", "name": namespace}, reason="Seen", note="n", action="Reconcile")
        await recorder.flush()
    assert recorder.dropped == 0
    posted = await client.list(EVENTS, namespace=namespace)
    assert [(event["reason"], event["regarding"]["name"]) for event in posted.items] == [("QuarantinedByNginx", "c")]
    assert posted.items[0]["reportingController"] == "wsroute.dev/operator"
