"""From an object's JSON to a record, for anything that JSON can hold.

No function here raises, whatever it is given: an object whose metadata is unusable gives None, and whatever has the
wrong type inside of an object counts as absent, as do nulls (Go writes ``null`` for an empty list). A custom resource
whose spec does not parse gives a record that holds the problems.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from wsroute.api.v1alpha1 import (
    WebSocketRouteSpec,
    balancer_name_problems,
    parse_balancer_spec,
    parse_route_spec,
)
from wsroute.api.values import BALANCER_NAME, DNS_LABEL, DNS_SUBDOMAIN, PATH, host_fault
from wsroute.cluster.addresses import canonical_address
from wsroute.cluster.objects import (
    Balancer,
    Claims,
    ConfigMap,
    Deployment,
    EndpointSlice,
    Key,
    Meta,
    Namespace,
    Node,
    PathClaim,
    Pod,
    Progress,
    Route,
    Secret,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
MANAGED_BY_LABEL: Final = "endpointslice.kubernetes.io/managed-by"

VERSION_ANNOTATION: Final = "wsroute.dev/version"

MAX_WORDS: Final = 4_096
"""Letters of a container's last words that are kept, as many as a kubelet keeps."""

MAX_CLAIMS: Final = 64
"""Hosts, and paths, that are read out of a spec that does not parse."""


def parse_version(text: object) -> int:
    """A resourceVersion as a number, or -1 when it is none."""
    return int(text) if isinstance(text, str) and re.fullmatch("[0-9]{1,30}", text, re.ASCII) else -1


def parse_route(raw: object) -> Route | None:
    """A WebSocketRoute."""
    source = _mapping(raw)
    meta = _meta(source)
    if meta is None:
        return None
    status = _mapping(source.get("status"))
    spec = parse_route_spec(source.get("spec"))
    if isinstance(spec, WebSocketRouteSpec):
        return Route(meta=meta, spec=spec, problems=(), claims=_claims(spec, meta.key), status=status)
    claims = _raw_claims(source.get("spec"), namespace=meta.key.namespace)
    return Route(meta=meta, spec=None, problems=spec, claims=claims, status=status)


def parse_balancer(raw: object, *, standalone: bool = False) -> Balancer | None:
    """A WebSocketBalancer. In ``standalone`` it needs no Deployment."""
    source = _mapping(raw)
    meta = _meta(source)
    if meta is None:
        return None
    status = _mapping(source.get("status"))
    spec = parse_balancer_spec(source.get("spec"), standalone=standalone)
    problems = balancer_name_problems(meta.key.name)
    if isinstance(spec, tuple):
        problems += spec
    usable = None if problems or isinstance(spec, tuple) else spec
    deployment = _text(_mapping(_mapping(source.get("spec")).get("deploymentRef")), "name")
    return Balancer(meta=meta, spec=usable, problems=problems, deployment=deployment, status=status)


def parse_service(raw: object) -> Service | None:
    """A Service."""
    source = _mapping(raw)
    meta = _meta(source)
    if meta is None:
        return None
    spec = _mapping(source.get("spec"))
    ingress = _mapping(_mapping(source.get("status")).get("loadBalancer")).get("ingress")
    addresses = (_text(entry, "ip") or _text(entry, "hostname") for entry in _mappings(ingress))
    kind = _text(spec, "type") or "ClusterIP"
    # An ExternalName Service has none, and what stands there was never checked. "None" is no address either.
    cluster_ips = [] if kind == "ExternalName" else [_text(spec, "clusterIP"), *_texts(spec.get("clusterIPs"))]
    return Service(
        meta=meta,
        type=kind,
        has_selector=bool(_mapping(spec.get("selector"))),
        ports=tuple(_service_ports(spec)),
        addresses=tuple(address for address in addresses if address),
        cluster_ips=_ip_addresses(cluster_ips),
    )


def parse_endpoint_slice(raw: object) -> EndpointSlice | None:
    """An EndpointSlice; None too when it belongs to no Service."""
    source = _mapping(raw)
    meta = _meta(source)
    labels = _strings(_mapping(source.get("metadata")).get("labels"))
    service = labels.get(SERVICE_NAME_LABEL, "")
    if meta is None or DNS_SUBDOMAIN.fault(service) is not None:
        return None
    return EndpointSlice(
        meta=meta,
        service=Key(meta.key.namespace, service),
        address_type=_text(source, "addressType"),
        endpoints=tuple(_slice_endpoints(source, namespace=meta.key.namespace)),
        ports=tuple(_slice_ports(source)),
        managed_by=labels.get(MANAGED_BY_LABEL, ""),
    )


def parse_namespace(raw: object) -> Namespace | None:
    """A Namespace."""
    source = _mapping(raw)
    meta = _meta(source, namespaced=False)
    if meta is None:
        return None
    return Namespace(meta=meta, labels=_strings(_mapping(source.get("metadata")).get("labels")))


def parse_pod(raw: object) -> Pod | None:
    """A Pod."""
    source = _mapping(raw)
    meta = _meta(source)
    if meta is None:
        return None
    metadata = _mapping(source.get("metadata"))
    status = _mapping(source.get("status"))
    until = _text(metadata, "deletionTimestamp")
    addresses = [_text(status, "podIP"), *(_text(entry, "ip") for entry in _mappings(status.get("podIPs")))]
    return Pod(
        meta=meta,
        labels=_strings(metadata.get("labels")),
        addresses=() if _text(status, "phase") in ("Succeeded", "Failed") else _ip_addresses(addresses),
        ready=any(
            condition.get("type") == "Ready" and condition.get("status") == "True"
            for condition in _mappings(status.get("conditions"))
        ),
        terminating=bool(until),
        version=_strings(metadata.get("annotations")).get(VERSION_ANNOTATION, ""),
        init_failure=_init_failure(status),
        until=until if re.fullmatch("[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z", until, re.ASCII) else "",
    )


def _init_failure(status: Mapping[str, Any]) -> str:
    """The last words of the first init container that failed, also while it waits to be tried again."""
    for container in _mappings(status.get("initContainerStatuses")):
        for moment in ("state", "lastState"):
            ended = _mapping(_mapping(container.get(moment)).get("terminated"))
            if ended and _integer(ended.get("exitCode"), default=0) != 0:
                return (_text(ended, "message") or _text(ended, "reason"))[:MAX_WORDS]
            if moment == "state" and ended:
                break  # it has succeeded since
    return ""


def parse_node(raw: object) -> Node | None:
    """A Node."""
    source = _mapping(raw)
    meta = _meta(source, namespaced=False)
    if meta is None:
        return None
    entries = _mappings(_mapping(source.get("status")).get("addresses"))
    return Node(meta=meta, addresses=_ip_addresses(_text(entry, "address") for entry in entries))


def parse_deployment(raw: object) -> Deployment | None:
    """A Deployment."""
    source = _mapping(raw)
    meta = _meta(source)
    if meta is None:
        return None
    spec, status = _mapping(source.get("spec")), _mapping(source.get("status"))
    template = _mapping(_mapping(spec.get("template")).get("metadata"))
    return Deployment(
        meta=meta,
        replicas=_integer(spec.get("replicas"), default=1),
        ready_replicas=_integer(status.get("readyReplicas"), default=0),
        selector=_strings(_mapping(spec.get("selector")).get("matchLabels")),
        version=_strings(template.get("annotations")).get(VERSION_ANNOTATION, ""),
        progress=Progress(
            observed=_integer(status.get("observedGeneration"), default=0),
            replicas=_integer(status.get("replicas"), default=0),
            updated=_integer(status.get("updatedReplicas"), default=0),
            available=_integer(status.get("availableReplicas"), default=0),
            is_stalled=any(
                condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded"
                for condition in _mappings(status.get("conditions"))
            ),
        ),
    )


def parse_config_map(raw: object) -> ConfigMap | None:
    """A ConfigMap."""
    source = _mapping(raw)
    meta = _meta(source)
    if meta is None:
        return None
    metadata = _mapping(source.get("metadata"))
    return ConfigMap(
        meta=meta,
        labels=_strings(metadata.get("labels")),
        annotations=_strings(metadata.get("annotations")),
        data=_strings(source.get("data")),
        binary_data=_strings(source.get("binaryData")),
    )


def parse_secret(raw: object) -> Secret | None:
    """A Secret."""
    source = _mapping(raw)
    meta = _meta(source)
    if meta is None:
        return None
    metadata = _mapping(source.get("metadata"))
    return Secret(
        meta=meta,
        labels=_strings(metadata.get("labels")),
        annotations=_strings(metadata.get("annotations")),
        type=_text(source, "type"),
        data=_strings(source.get("data")),
    )


def _meta(source: Mapping[str, Any], *, namespaced: bool = True) -> Meta | None:
    metadata = _mapping(source.get("metadata"))
    name = _text(metadata, "name")
    namespace = _text(metadata, "namespace") if namespaced else ""
    if DNS_SUBDOMAIN.fault(name) is not None or (namespaced and DNS_LABEL.fault(namespace) is not None):
        return None
    return Meta(
        key=Key(namespace, name),
        uid=_text(metadata, "uid"),
        version=parse_version(metadata.get("resourceVersion")),
        generation=_integer(metadata.get("generation"), default=0),
        created=_text(metadata, "creationTimestamp"),
    )


def _service_ports(spec: Mapping[str, Any]) -> Iterator[ServicePort]:
    for entry in _mappings(spec.get("ports")):
        number, name = _port(entry.get("port")), _text(entry, "name")
        if number is None or (name and DNS_LABEL.fault(name) is not None):
            continue
        target = entry.get("targetPort")
        yield ServicePort(
            name=name,
            port=number,
            protocol=_text(entry, "protocol") or "TCP",
            target=target if isinstance(target, str) and target else _port(target),
        )


def _slice_ports(source: Mapping[str, Any]) -> Iterator[SlicePort]:
    for entry in _mappings(source.get("ports")):
        # Without a number a slice's port means "all ports", of which none can be chosen: as good as a wrong number.
        number, protocol = _port(entry.get("port")), _text(entry, "protocol") or "TCP"
        yield SlicePort(name=_text(entry, "name"), port=number, protocol=protocol)


def _slice_endpoints(source: Mapping[str, Any], *, namespace: str) -> Iterator[SliceEndpoint]:
    for entry in _mappings(source.get("endpoints")):
        addresses = entry.get("addresses")
        # All addresses of an endpoint are the same pod's, and consumers shall use the first (discovery.k8s.io/v1).
        if not isinstance(addresses, list) or not addresses or not isinstance(addresses[0], str):
            continue
        conditions = _mapping(entry.get("conditions"))
        ready = conditions.get("ready") is not False
        serving = conditions.get("serving")
        yield SliceEndpoint(
            address=canonical_address(addresses[0]) or addresses[0],
            ready=ready,
            serving=serving if isinstance(serving, bool) else ready,
            terminating=conditions.get("terminating") is True,
            pod=_pod_key(_mapping(entry.get("targetRef")), namespace=namespace),
        )


def _pod_key(target: Mapping[str, Any], *, namespace: str) -> Key | None:
    name = _text(target, "name")
    if target.get("kind") != "Pod" or not name:
        return None
    return Key(_text(target, "namespace") or namespace, name)


def _claims(spec: WebSocketRouteSpec, key: Key) -> Claims:
    reference = spec.balancer_ref
    return Claims(
        balancer=None if reference is None else Key(reference.namespace or key.namespace, reference.name),
        listeners=tuple(spec.listeners) if spec.listeners else None,
        hosts=tuple(spec.hosts) if spec.hosts else None,
        paths=tuple(PathClaim(path.match_path, path.type) for path in spec.paths),
    )


def _raw_claims(spec: object, *, namespace: str) -> Claims | None:
    """What is good by itself in a spec that does not parse."""
    if not isinstance(spec, dict):
        return None
    reference = spec.get("balancerRef")
    balancer = None
    if reference is not None:
        balancer = Key(_text(_mapping(reference), "namespace") or namespace, _text(_mapping(reference), "name"))
        if DNS_LABEL.fault(balancer.namespace) is not None or BALANCER_NAME.fault(balancer.name) is not None:
            return None
    listeners, hosts = spec.get("listeners"), spec.get("hosts")
    return Claims(
        balancer=balancer,
        listeners=tuple(name for name in _texts(listeners) if DNS_LABEL.fault(name) is None) if listeners else None,
        hosts=tuple(dict.fromkeys(_raw_hosts(hosts))) if hosts else None,
        paths=tuple(dict.fromkeys(_raw_paths(spec))),
    )


def _raw_hosts(hosts: object) -> Iterator[str]:
    """The hosts as nginx compares them: with capitals or a dot at the end they are refused, and yet mean the same."""
    for text in _texts(hosts):
        host = text.lower().removesuffix(".") if text.isascii() else text
        if host_fault(host) is None:
            yield host


def _raw_paths(spec: Mapping[str, Any]) -> Iterator[PathClaim]:
    for entry in _mappings(spec.get("paths"))[:MAX_CLAIMS]:
        path = _text(entry, "path")
        if PATH.fault(path) is not None:
            continue
        # As ``RoutePath.match_path``: /ws/ and /ws are one prefix; as exact paths they are two.
        match entry.get("type"):
            case None | "Prefix":
                yield PathClaim(path.removesuffix("/") or "/", "Prefix")
            case "Exact":
                yield PathClaim(path, "Exact")


def _ip_addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """Those that are IP addresses, each once, in their canonical text."""
    return tuple(dict.fromkeys(address for text in texts if (address := canonical_address(text)) is not None))


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[dict[Any, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [entry for entry in value[:MAX_CLAIMS] if isinstance(entry, str)] if isinstance(value, list) else []


def _strings(value: object) -> dict[str, str]:
    return {key: text for key, text in _mapping(value).items() if isinstance(key, str) and isinstance(text, str)}


def _text(source: Mapping[str, Any], name: str) -> str:
    value = source.get(name)
    return value if isinstance(value, str) else ""


def _integer(value: object, *, default: int) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return value if whole else default  # type: ignore[return-value]


def _port(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535 else None
