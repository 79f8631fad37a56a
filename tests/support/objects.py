"""Raw Kubernetes objects for tests, as the API server would send them, and small clusters made of them.

Every builder takes what matters in a test and fills in the rest. ``snapshot_of``, ``graph_of``, ``configuration_of``
and their like say what follows from a handful of objects.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wsroute.cluster.kinds import Kind, parse_record
from wsroute.cluster.objects import Key, Snapshot
from wsroute.cluster.state import ClusterState
from wsroute.dataplane.build import build_configuration
from wsroute.dataplane.ir import Configuration
from wsroute.graph.build import build_graph
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode, Graph, GraphSettings, RouteNode

Json = dict[str, Any]

BALANCER = Key("wsroute-system", "shared")
"""The balancer that the builders know, which is also the default one."""

ROUTE = Key("team-a", "chat")
"""The route that the builders make when told nothing."""

SLICE_CONTROLLER = "endpointslice-controller.k8s.io"


def metadata(
    name: str,
    namespace: str | None,
    *,
    kind: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    created: str = "2026-01-01T00:00:00Z",
    version: int = 1,
    generation: int = 1,
    uid: str | None = None,
) -> Json:
    """``metadata`` with a uid that follows from the other names, in the form of a real one."""
    digest = hashlib.sha256(f"{kind}/{namespace}/{name}".encode()).hexdigest()
    made_up = f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
    meta: Json = {
        "name": name,
        "uid": made_up if uid is None else uid,
        "resourceVersion": str(version),
        "generation": generation,
        "creationTimestamp": created,
    }
    if namespace is not None:
        meta["namespace"] = namespace
    if labels:
        meta["labels"] = dict(labels)
    if annotations:
        meta["annotations"] = dict(annotations)
    return meta


def backend(service: str = "chat", port: int | str = 8080, weight: int | None = None) -> Json:
    """An item of ``spec.paths[].backends``."""
    made: Json = {"service": service, "port": port}
    if weight is not None:
        made["weight"] = weight
    return made


def path(path: str = "/ws", backends: Sequence[Json] | None = None, **more: Any) -> Json:
    """An item of ``spec.paths``."""
    return {"path": path, "backends": [backend()] if backends is None else list(backends), **more}


def route(
    name: str = "chat",
    namespace: str = "team-a",
    *,
    hosts: Sequence[str] | None = ("chat.example.com",),
    paths: Sequence[Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    **meta: Any,
) -> Json:
    """A WebSocketRoute; ``spec`` is merged over what the other arguments make, None removes a field."""
    whole: Json = {"hosts": None if hosts is None else list(hosts), "paths": [path()] if paths is None else list(paths)}
    whole |= spec or {}
    made = {
        "apiVersion": "wsroute.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": metadata(name, namespace, kind="WebSocketRoute", **meta),
        "spec": {field: value for field, value in whole.items() if value is not None},
    }
    return made if status is None else {**made, "status": dict(status)}


def balancer(
    name: str = BALANCER.name,
    namespace: str = BALANCER.namespace,
    *,
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    **meta: Any,
) -> Json:
    """A WebSocketBalancer that takes all hosts of all namespaces on port 8080; ``spec`` is merged over it."""
    whole: Json = {
        "dataPlane": "Static",
        "deploymentRef": {"name": f"{name}-balancer"},
        "listeners": [{"name": "ws", "port": 8080, "protocol": "HTTP"}],
        "allowedRoutes": {"namespaces": {"from": "All"}, "hosts": ["*"]},
    }
    whole |= spec or {}
    made = {
        "apiVersion": "wsroute.dev/v1alpha1",
        "kind": "WebSocketBalancer",
        "metadata": metadata(name, namespace, kind="WebSocketBalancer", **meta),
        "spec": {field: value for field, value in whole.items() if value is not None},
    }
    return made if status is None else {**made, "status": dict(status)}


def service_port(port: int = 8080, name: str = "", *, target: int | str | None = None, protocol: str = "TCP") -> Json:
    """An item of a Service's ``spec.ports``."""
    made: Json = {"port": port, "protocol": protocol, "targetPort": port if target is None else target}
    return {**made, "name": name} if name else made


def service(
    name: str = "chat",
    namespace: str = "team-a",
    *,
    ports: Sequence[Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    **meta: Any,
) -> Json:
    """A ClusterIP Service with a selector; ``spec`` is merged over it."""
    whole: Json = {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.10",
        "selector": {"app": name},
        "ports": [service_port()] if ports is None else list(ports),
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, namespace, kind="Service", **meta),
        "spec": {**whole, **(spec or {})},
        "status": dict(status or {}),
    }


def endpoint(
    address: str = "10.0.0.1",
    *,
    pod: str | None = "",
    pod_namespace: str = "team-a",
    ready: bool | None = True,
    serving: bool | None = None,
    terminating: bool | None = None,
) -> Json:
    """An endpoint of a slice. Its pod is named after its address unless ``pod`` says otherwise; None means no pod."""
    conditions = {"ready": ready, "serving": serving, "terminating": terminating}
    made: Json = {"addresses": [address], "conditions": {k: v for k, v in conditions.items() if v is not None}}
    if pod is not None:
        name = pod or "pod-" + address.replace(".", "-").replace(":", "-").strip("-")
        made["targetRef"] = {"kind": "Pod", "name": name, "namespace": pod_namespace}
    return made


def terminating(address: str = "10.0.0.9", **more: Any) -> Json:
    """An endpoint whose pod is being deleted and still serves."""
    return endpoint(address, ready=False, serving=True, terminating=True, **more)


def endpoint_slice(
    service: str = "chat",
    namespace: str = "team-a",
    endpoints: Any = None,
    *,
    name: str | None = None,
    ports: Any = None,
    address_type: str = "IPv4",
    managed_by: str = SLICE_CONTROLLER,
    **meta: Any,
) -> Json:
    """An EndpointSlice as the controller makes it; endpoints may be given as bare addresses."""
    entries = [endpoint()] if endpoints is None else endpoints
    if isinstance(entries, list | tuple):
        entries = [endpoint(entry, pod_namespace=namespace) if isinstance(entry, str) else entry for entry in entries]
    labels = {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": managed_by}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(name or f"{service}-1", namespace, kind="EndpointSlice", labels=labels, **meta),
        "addressType": address_type,
        "endpoints": entries,
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}] if ports is None else ports,
    }


def namespace(name: str = "team-a", labels: Mapping[str, str] | None = None, **meta: Any) -> Json:
    """A Namespace with the label that the API server gives it."""
    whole = {"kubernetes.io/metadata.name": name, **(labels or {})}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": metadata(name, None, kind="Namespace", labels=whole, **meta),
    }


def pod(
    name: str = "shared-balancer-1",
    namespace: str = BALANCER.namespace,
    *,
    labels: Mapping[str, str] | None = None,
    ip: str = "10.0.1.1",
    ready: bool = True,
    deleted: str | None = None,
    **meta: Any,
) -> Json:
    """A pod of the balancer's Deployment."""
    made = metadata(name, namespace, kind="Pod", labels=labels or {"app": "shared-balancer"}, **meta)
    if deleted is not None:
        made["deletionTimestamp"] = deleted
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": made,
        "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def deployment(
    name: str = "shared-balancer",
    namespace: str = BALANCER.namespace,
    *,
    replicas: int = 2,
    ready: int = 2,
    selector: Mapping[str, str] | None = None,
    **meta: Any,
) -> Json:
    """The balancer's Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, namespace, kind="Deployment", **meta),
        "spec": {"replicas": replicas, "selector": {"matchLabels": dict(selector or {"app": "shared-balancer"})}},
        "status": {"readyReplicas": ready},
    }


def config_map(
    name: str,
    namespace: str = BALANCER.namespace,
    *,
    data: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **meta: Any,
) -> Json:
    """A ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(name, namespace, kind="ConfigMap", labels=labels, annotations=annotations, **meta),
        "data": dict(data or {}),
    }


def snapshot_of(objects: Iterable[Json], *, standalone: bool = False) -> Snapshot:
    """A snapshot of raw objects. Raises ValueError for one that is not usable."""
    state = ClusterState()
    for raw in objects:
        record = parse_record(Kind(raw["kind"]), raw, standalone=standalone)
        if record is None:
            raise ValueError(f"not usable: {raw}")
        state.upsert(record)
    return state.snapshot()


def graph_of(
    objects: Iterable[Json], *, settings: GraphSettings | None = None, memo: Memo | None = None, **more: Any
) -> Graph:
    """The graph of raw objects; ``BALANCER`` is the default balancer unless ``settings`` say otherwise."""
    settings = settings or GraphSettings(default_balancer=BALANCER)
    snapshot = snapshot_of(objects, standalone=settings.standalone)
    return build_graph(snapshot, settings, Memo() if memo is None else memo, **more)


def route_node(objects: Iterable[Json], *, key: Key = ROUTE, **more: Any) -> RouteNode:
    """One route of the graph of raw objects."""
    return graph_of(objects, **more).routes[key]


def balancer_node(objects: Iterable[Json], *, key: Key = BALANCER, **more: Any) -> BalancerNode:
    """One balancer of the graph of raw objects."""
    return graph_of(objects, **more).balancers[key]


def configuration_of(objects: Iterable[Json], *, key: Key = BALANCER, ipv6: bool = True, **more: Any) -> Configuration:
    """What one balancer serves, of raw objects."""
    return build_configuration(balancer_node(objects, key=key, **more), ipv6=ipv6)
