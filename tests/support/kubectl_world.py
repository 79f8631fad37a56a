"""kubectl against the objects of a cluster in memory, with one balancer as it is installed."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.support.fake_kubectl import dumped
from wsroute.cli.kubectl import Kubectl, KubectlError
from wsroute.dataplane.dictionary import Entries

PLURALS = {
    "websocketroutes.wsroute.dev": "WebSocketRoute",
    "websocketbalancers.wsroute.dev": "WebSocketBalancer",
    "services": "Service",
    "namespaces": "Namespace",
    "endpointslices.discovery.k8s.io": "EndpointSlice",
    "pods": "Pod",
    "deployments.apps": "Deployment",
    "configmaps": "ConfigMap",
    "nodes": "Node",
}
VERSIONS = {
    "WebSocketRoute": "wsroute.dev/v1alpha1",
    "WebSocketBalancer": "wsroute.dev/v1alpha1",
    "Deployment": "apps/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
}
NAMESPACED = {*PLURALS.values()} - {"Namespace", "Node"}

Json = dict[str, Any]


def made(kind: str, name: str, namespace: str = "", **content: Any) -> Json:
    """An object as its author writes it."""
    meta: Json = {"name": name, **({"namespace": namespace} if namespace else {})}
    meta |= {field: content.pop(field) for field in ("labels", "annotations") if field in content}
    return {"apiVersion": VERSIONS.get(kind, "v1"), "kind": kind, "metadata": meta, **content}


@dataclass(frozen=True, slots=True)
class KubectlWorld(Kubectl):
    """``objects`` are what is there. ``refused`` has kubectl's words for objects that may not be, by their names, and
    ``forbidden`` the kinds that the user may not list. ``tables`` is what pods print."""

    objects: dict[tuple[str, str, str], Json] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    tables: dict[str, str] = field(default_factory=dict)
    changed: list[tuple[str, ...]] = field(default_factory=list)
    """Commands that would have changed something."""

    def put(self, *bodies: Json) -> None:
        """Let objects be there."""
        for body in bodies:
            self.objects[_name(body)] = self._stored(body)

    def _stored(self, body: Json) -> Json:
        known = self.objects.get(_name(body))
        namespace = body["metadata"].get("namespace")
        if body["kind"] in NAMESPACED and ("Namespace", "", namespace) not in self.objects:
            raise KubectlError(
                "kubectl apply failed", f'Error from server (NotFound): namespaces "{namespace}" not found'
            )
        same = known is not None and known.get("spec") == body.get("spec")
        meta = {
            "uid": f"{body['kind']}-{body['metadata']['name']}",
            "generation": known["metadata"]["generation"] + (not same) if known is not None else 1,
            "creationTimestamp": f"2026-01-01T00:00:{len(self.objects) % 60:02}Z",
            **({k: v for k, v in known["metadata"].items() if k == "creationTimestamp"} if known else {}),
            **body["metadata"],
            "resourceVersion": str(100 + len(self.objects)),
        }
        return {**({"status": known["status"]} if known and "status" in known else {}), **body, "metadata": meta}

    async def run(self, *arguments: str, text: str | None = None) -> str:
        """What kubectl would print."""
        match arguments:
            case ("get", "-f", "-", *_):
                named = [self.objects.get(_name(item)) for item in json.loads(text or "")["items"]]
                return _printed([item for item in named if item is not None])
            case ("get", kinds, *options):
                return self._listed(kinds, options)
            case ("apply", *options):
                if "--dry-run=server" not in options:
                    self.changed.append(arguments)
                return self._applied(json.loads(text or "")["items"])
            case ("exec", pod, *_):
                if "exec" in self.forbidden:
                    raise KubectlError("kubectl exec failed", "Error from server (Forbidden): no")
                return self.tables[pod]
        raise AssertionError(arguments)

    def _listed(self, kinds: str, options: list[str]) -> str:
        wanted = {PLURALS[kind] for kind in kinds.split(",")}
        if refused := wanted & self.forbidden:
            raise KubectlError(
                f"kubectl get failed: {refused}", f"Error from server (Forbidden): {refused} is forbidden: no"
            )
        namespace = options[options.index("-n") + 1] if "-n" in options else None
        selector = options[options.index("-l") + 1] if "-l" in options else ""
        found = [
            body
            for (kind, where, _), body in self.objects.items()
            if kind in wanted and namespace in (None, where) and _selected(selector, body["metadata"].get("labels", {}))
        ]
        if len(options) > 1 and options[0] not in ("-n", "-A", "-l", "-o"):
            found = [body for body in found if body["metadata"]["name"] == options[0]]
            if not found:
                raise KubectlError("kubectl get failed", "Error from server (NotFound)")
            return json.dumps(found[0])
        return json.dumps({"kind": "List", "items": found})

    def _applied(self, items: list[Json]) -> str:
        for item in items:
            if item["metadata"]["name"] in self.refused:
                raise KubectlError("kubectl apply failed", self.refused[item["metadata"]["name"]])
        return _printed([self._stored(item) for item in items])


def _name(body: Json) -> tuple[str, str, str]:
    return body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"]


def _printed(items: list[Json]) -> str:
    if not items:
        return ""
    return json.dumps(items[0] if len(items) == 1 else {"kind": "List", "items": items})


def _selected(selector: str, labels: dict[str, str]) -> bool:
    for term in filter(None, selector.replace(",template", "|template").split(",")):
        name, _, values = term.partition(" in ")
        key, equal, value = name.partition("=")
        if key not in labels or (equal and labels[key] != value):
            return False
        if values and labels[key] not in values.strip("()").split("|"):
            return False
    return True


# --- a cluster as it is installed ---

SYSTEM = "wsroute-system"
LISTENER = {"name": "ws", "port": 8080, "protocol": "HTTP"}


def balancer(*, listeners: tuple[Json, ...] = (LISTENER,), name: str = "shared", **changes: Any) -> Json:
    """The shared balancer, as its administrator writes it."""
    spec = {
        "dataPlane": "Dynamic",
        "deploymentRef": {"name": "nginx"},
        "listeners": list(listeners),
        "allowedRoutes": {"namespaces": {"from": "All"}, "hosts": ["*.example.com"]},
        **changes,
    }
    return made("WebSocketBalancer", name, SYSTEM, spec=spec)


def deployment(*, image: str = "nginx:1", replicas: int = 2) -> Json:
    """Its Deployment."""
    template = {"metadata": {"labels": {"app": "nginx"}}, "spec": {"containers": [{"name": "nginx", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "nginx"}}, "template": template}
    return made("Deployment", "nginx", SYSTEM, spec=spec)


def operator(*options: str) -> Json:
    """The operator's Deployment."""
    container = {"name": "operator", "args": ["operator", *options]}
    return made(
        "Deployment", "operator", SYSTEM, spec={"replicas": 2, "template": {"spec": {"containers": [container]}}}
    )


def route(name: str, *, namespace: str = "team-a", host: str = "", service: str = "chat", **changes: Any) -> Json:
    """A route to a Service of its team."""
    paths = [{"path": "/ws", "backends": [{"service": service, "port": 80}]}]
    spec = {"hosts": [host or f"{name}.example.com"], "paths": paths, **changes}
    return made("WebSocketRoute", name, namespace, spec=spec)


def service(name: str, *addresses: str, namespace: str = "team-a") -> tuple[Json, Json]:
    """A Service and its endpoints."""
    labels = {
        "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    endpoints = [
        {
            "addresses": [address],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"{name}-{number}"},
        }
        for number, address in enumerate(addresses)
    ]
    ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
    return (
        made("Service", name, namespace, spec={"selector": {"app": name}, "ports": [{"port": 80}]}),
        made(
            "EndpointSlice",
            f"{name}-1",
            namespace,
            labels=labels,
            addressType="IPv4",
            endpoints=endpoints,
            ports=ports,
        ),
    )


def installed(*, served: Entries | None = None, sockets: dict[str, int] | None = None) -> KubectlWorld:
    """A cluster with the balancer, two pods of it, and the namespaces of two teams, each with a Service ``chat``.
    ``sockets`` are the open ones of each pod, by route."""
    world = KubectlWorld()
    world.put(made("Namespace", SYSTEM), made("Namespace", "team-a"), made("Namespace", "team-b"))
    total = 2 * sum((sockets or {}).values())
    world.put({**balancer(), "status": {"sockets": total, "draining": {"generations": 0}}})
    world.put(deployment(), operator("--default-balancer", f"{SYSTEM}/shared"))
    for pod in ("p0", "p1"):
        ready = [{"type": "Ready", "status": "True"}]
        labels = {"app": "nginx", "wsroute.dev/balancer": "shared"}
        containers = [{"name": "nginx"}, {"name": "agent"}]
        status = {"phase": "Running", "conditions": ready, "podIP": "10.0.9.1"}
        world.put(made("Pod", pod, SYSTEM, labels=labels, spec={"containers": containers}, status=status))
        world.tables[pod] = dumped(served or {}, routes=sockets or {})
    world.put(*service("chat", "10.0.1.1", "10.0.1.2"), *service("chat", "10.0.2.1", namespace="team-b"))
    return world
