"""wsroute as installed on a real cluster, with the few verbs that the cluster tests are written in."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection

from localcluster.api import CurrentCluster
from localcluster.install import BALANCER, NAMESPACE
from tests.support.handshake import Answer, ask, handshake, held_socket
from tests.support.waiting import Stopwatch
from wsroute.dataplane.names import BALANCER_LABEL, ROLE_LABEL, ROLE_TABLE
from wsroute.kube.client import KubeClient
from wsroute.kube.port import CONFIG_MAPS, DEPLOYMENTS, PODS, ROUTES, Json, NotFoundError, Resource

T = TypeVar("T")

PORT = 8080
DEADLINE = 60.0


class NotYetError(AssertionError):
    """A condition did not come true within its deadline; the text says what was seen last."""


async def eventually(look: Callable[[], Awaitable[T]], *, within: float = DEADLINE, every: float = 0.05) -> T:
    """Call ``look`` until it raises no AssertionError, and return what it returned; in time, or NotYetError."""
    watch = Stopwatch()
    while True:
        try:
            found = await look()
        except AssertionError as error:
            if watch.is_over(within):
                raise NotYetError(f"not within {watch.elapsed:.1f} s: {error}") from error
        else:
            if watch.is_over(within):
                raise NotYetError(f"only after {watch.elapsed:.1f} s")
            return found
        await asyncio.sleep(every)


@dataclass(frozen=True, slots=True)
class BalancerPod:
    """A pod of the shared balancer."""

    name: str
    ip: str


@dataclass(frozen=True, slots=True)
class Stack:
    """One installation. ``namespace`` is the test's own, admitted to the shared balancer."""

    cluster: CurrentCluster
    client: KubeClient
    namespace: str
    chat_image: str

    async def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """kubectl's output, in a thread, so that probers go on."""
        return await asyncio.to_thread(self.cluster.kubectl, *arguments, input=stdin)

    async def apply(self, resource: Resource, body: Mapping[str, Any]) -> Json:
        """Apply an object of the test's namespace as a user would (server-side)."""
        full = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        full["metadata"] = {"namespace": self.namespace, **full["metadata"]}
        return await self.client.apply(resource, full, manager="a-user")

    async def route(self, name: str = "chat", **spec: Any) -> Json:
        """Apply a route; what is left out is a Required prefix ``/echo`` to the Service ``chat`` on its own host."""
        spec.setdefault("hosts", [self.host(name)])
        spec.setdefault("paths", [{"path": "/echo", "backends": [{"service": "chat", "port": "http"}]}])
        return await self.apply(ROUTES, {"metadata": {"name": name}, "spec": spec})

    def host(self, name: str = "chat") -> str:
        """The host that a test's route has by default."""
        return f"{name}.{self.namespace}.example.com"

    async def backend(
        self,
        name: str = "chat",
        *,
        replicas: int = 1,
        pre_stop: int = 0,
        service: bool = True,
        grace: int = 30,
        program: str = "",
    ) -> None:
        """Apply a Deployment of the chat app and its Service. ``pre_stop`` seconds pass before a pod is told to end.
        ``program`` is the text of a Python program to run in place of the chat."""
        container: Json = {
            "name": "chat",
            "image": self.chat_image,
            "args": ["--host", "*", "--drain", "0"],
            "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "ports": [{"name": "http", "containerPort": 8080}],
            # What answers late on a busy machine is no less there: tests count who is.
            "readinessProbe": {
                "httpGet": {"path": "/healthz", "port": "http"},
                "periodSeconds": 1,
                "timeoutSeconds": 5,
            },
        }
        if program:
            container |= {"command": ["python3", "-c", program], "args": []}
        if pre_stop:
            container["lifecycle"] = {"preStop": {"sleep": {"seconds": pre_stop}}}
        labels = {"app": name}
        await self.apply(
            DEPLOYMENTS,
            {
                "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [container], "terminationGracePeriodSeconds": grace},
                    },
                },
            },
        )
        if service:
            await self.service(name)

    async def service(self, name: str = "chat") -> None:
        """Apply the Service of a backend."""
        await self.apply(
            Resource("", "v1", "services", "Service"),
            {
                "metadata": {"name": name},
                "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
            },
        )

    async def scale(self, name: str, replicas: int) -> None:
        """As ``kubectl scale``."""
        await self.kubectl("-n", self.namespace, "scale", f"deployment/{name}", f"--replicas={replicas}")

    async def pods_of(self, name: str) -> list[Json]:
        """The pods of a backend."""
        return (await self.client.list(PODS, namespace=self.namespace, label_selector=f"app={name}")).items

    async def balancer_pods(self) -> list[BalancerPod]:
        """The ready pods of the shared balancer, sorted by name."""
        listing = await self.client.list(PODS, namespace=NAMESPACE, label_selector=f"wsroute.dev/balancer={BALANCER}")
        return sorted(
            (
                BalancerPod(pod["metadata"]["name"], pod["status"]["podIP"])
                for pod in listing.items
                if "deletionTimestamp" not in pod["metadata"] and is_ready(pod)
            ),
            key=lambda pod: pod.name,
        )

    async def configuration(self) -> str:
        """The nginx.conf in force, as the ConfigMap holds it."""
        found = await self.client.get(CONFIG_MAPS, namespace=NAMESPACE, name=f"{BALANCER}-nginx")
        text = found["data"]["nginx.conf"]
        assert isinstance(text, str)
        return text

    async def tables(self) -> str:
        """The tables of a Dynamic balancer, as its ConfigMaps hold them."""
        selector = f"{BALANCER_LABEL}={BALANCER},{ROLE_LABEL}={ROLE_TABLE}"
        parts = (await self.client.list(CONFIG_MAPS, namespace=NAMESPACE, label_selector=selector)).items
        return "".join(part["data"]["table"] for part in parts)

    async def status(self, name: str = "chat") -> Json:
        """A route's status, empty while it has none or is gone."""
        try:
            found = await self.client.get(ROUTES, namespace=self.namespace, name=name)
        except NotFoundError:
            return {}
        return dict(found.get("status") or {}) | {"generation": found["metadata"]["generation"]}

    async def condition(self, name: str, kind: str, status: str = "True", *, within: float = DEADLINE) -> Json:
        """Wait until a condition of the route's newest generation has this status; returns the condition."""

        async def look() -> Json:
            seen = await self.status(name)
            for condition in seen.get("conditions", []):
                if condition["type"] == kind and condition["observedGeneration"] == seen["generation"]:
                    assert condition["status"] == status, f"{name}: {condition}"
                    return dict(condition)
            raise AssertionError(f"{name} has no {kind} for its newest generation: {seen}")

        return await eventually(look, within=within)

    def connect(self, pod: BalancerPod, port: int = PORT) -> Any:
        """A TCP connection to a balancer pod."""
        return self.cluster.open_connection(pod.ip, port)

    async def handshake(self, pod: BalancerPod, *, host: str, path: str = "/echo", **options: Any) -> Answer:
        """One handshake on one pod."""
        port = options.pop("port", PORT)
        return await handshake(self.connect(pod, port), host=host, path=path, **options)

    async def ask(self, pod: BalancerPod, *, host: str, path: str, **options: Any) -> Answer:
        """One plain request on one pod."""
        return await ask(self.connect(pod), host=host, path=path, **options)

    async def answers(self, *, host: str, path: str = "/echo", status: int, **options: Any) -> None:
        """Every ready balancer pod answers a handshake with this status, now."""
        pods = await self.balancer_pods()
        assert pods, "no balancer pod is ready"
        for pod in pods:
            answer = await self.handshake(pod, host=host, path=path, **options)
            assert answer.status == status, f"{pod.name} answered {answer.status} {answer.reason}, not {status}"

    @asynccontextmanager
    async def socket(self, pod: BalancerPod, *, host: str, path: str = "/echo") -> AsyncIterator[ClientConnection]:
        """An open WebSocket through one pod."""
        connection = await held_socket(self.connect(pod), host=host, path=path)
        try:
            yield connection
        finally:
            await connection.close()


def is_ready(pod: Json) -> bool:
    """A pod's Ready condition."""
    conditions = pod.get("status", {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def to_json(body: Mapping[str, Any]) -> str:
    """An object as kubectl reads it from standard input."""
    return json.dumps(body)
