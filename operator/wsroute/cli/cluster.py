"""Reads a cluster with kubectl: what is there, and what would be there once manifests were applied or deleted."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wsroute.cli.balancer import KIND
from wsroute.cli.kubectl import Kubectl, KubectlError, read_json
from wsroute.cli.manifests import Manifest, ManifestError
from wsroute.cli.operators import Name, Objects
from wsroute.cluster.balancer_state import format_time
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.cluster.parse import SERVICE_NAME_LABEL
from wsroute.dataplane.names import BALANCER_LABEL, ROLE_LABEL, ROLE_STATE, ROLE_TEMPLATE

EVERYWHERE: Final = ("websocketroutes.wsroute.dev", KIND, "services", "namespaces")
BESIDE_BALANCERS: Final = ("pods", "deployments.apps")

_KINDS: Final = frozenset(map(str, Kind))

_AT_ONCE: Final = 4
"""Runs of kubectl at the same time."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a pass of the operator looks at."""

    objects: Objects
    notes: tuple[str, ...] = ()
    """What could not be looked at."""


NEEDED: Final = (
    "A plan looks at all that the operator looks at: ask who administers the cluster for the right to list "
    "websocketroutes and websocketbalancers (wsroute.dev), services, namespaces and endpointslices (discovery.k8s.io) "
    "in all namespaces, and pods, configmaps and deployments (apps) in those of the balancers."
)


async def read_cluster(kubectl: Kubectl) -> Cluster:
    """Everything there is. Raises KubectlError."""
    try:
        return await _read_cluster(kubectl)
    except KubectlError as error:
        if error.forbidden:
            raise KubectlError(f"{error.sentence} {NEEDED}", error.words) from None
        if error.no_such_kind:
            raise KubectlError("This cluster does not know WebSocketRoutes: wsroute is not installed there.") from None
        raise


async def _read_cluster(kubectl: Kubectl) -> Cluster:
    listed, slices = await asyncio.gather(
        kubectl.json("get", ",".join(EVERYWHERE), "-A"),
        kubectl.json("get", "endpointslices.discovery.k8s.io", "-A", "-l", SERVICE_NAME_LABEL),
    )
    objects = _named([*_items(listed), *_items(slices)])
    balancers = sorted(key for kind, key in objects if kind is Kind.BALANCER)
    for namespace in sorted({key.namespace for key in balancers}):
        objects |= await _beside(kubectl, namespace)
    notes: tuple[str, ...] = ()
    try:
        objects |= _named(_items(await kubectl.json("get", "nodes")))
    except KubectlError as error:
        if not error.forbidden:
            raise
        notes = ("You may not list nodes: endpoints with the address of a node are taken for good.",)
    return Cluster(objects, notes)


async def _beside(kubectl: Kubectl, namespace: str) -> Objects:
    """What stands in a balancer's namespace: pods, Deployments, and the ConfigMaps that say more than what follows."""
    selector = f"{BALANCER_LABEL},{ROLE_LABEL} in ({ROLE_STATE},{ROLE_TEMPLATE})"
    pods, maps = await asyncio.gather(
        kubectl.json("get", ",".join(BESIDE_BALANCERS), "-n", namespace),
        kubectl.json("get", "configmaps", "-n", namespace, "-l", selector),
    )
    return _named([*_items(pods), *_items(maps)])


def _named(items: Iterable[Any]) -> dict[Name, Mapping[str, Any]]:
    found: dict[Name, Mapping[str, Any]] = {}
    for item in items:
        match item:
            case {"kind": str(kind), "metadata": {"name": str(name), **meta}} if kind in _KINDS:
                namespace = meta.get("namespace")
                found[Kind(kind), Key(namespace if isinstance(namespace, str) else "", name)] = item
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of manifests. ``objects`` are all of the cluster then, ``asked`` those that the manifests name.
    ``refused`` says why the API server does not take some of them, by their names."""

    objects: Objects
    asked: frozenset[Name]
    refused: Mapping[str, str] = field(default_factory=dict)


async def applied(kubectl: Kubectl, cluster: Cluster, manifests: Sequence[Manifest], *, server_side: bool) -> Outcome:
    """What a `kubectl apply` of the manifests would make of a cluster. The API server itself says so, with all its
    defaults and checks, and changes nothing. Raises KubectlError, ManifestError."""
    command = ("apply", "--dry-run=server", *(("--server-side",) if server_side else ()), "-f", "-")
    refused: dict[str, str] = {}
    turns = asyncio.Semaphore(_AT_ONCE)
    made = {each.body["metadata"]["name"] for each in manifests if each.body["kind"] == Kind.NAMESPACE}

    async def taken(part: Sequence[Manifest]) -> list[Any]:
        """What is taken of some. kubectl tells nothing of the others where one is refused: that one is looked for."""
        try:
            async with turns:
                return _items(await kubectl.json(*command, text=_list(part)))
        except KubectlError as error:
            if error.unanswered:
                raise
            if len(part) > 1:
                half = len(part) // 2
                first, second = await asyncio.gather(taken(part[:half]), taken(part[half:]))
                return [*first, *second]
            if error.not_found and part[0].body["metadata"].get("namespace") in made:
                return [_newborn(part[0])]  # nobody can be asked about a namespace that is not there yet
            refused[_written_name(part[0])] = error.sentence
            return []

    found = await taken(manifests)
    come = _named(found)
    objects = {**cluster.objects, **come}
    known = {key.namespace for kind, key in cluster.objects if kind is Kind.BALANCER}
    for namespace in sorted({key.namespace for kind, key in come if kind is Kind.BALANCER} - known):
        objects = {**await _beside(kubectl, namespace), **objects}
    return Outcome(objects, frozenset(come), refused)


async def deleted(kubectl: Kubectl, cluster: Cluster, manifests: Sequence[Manifest]) -> Outcome:
    """What a `kubectl delete` of what the manifests name would leave of a cluster. Raises KubectlError,
    ManifestError."""
    output = await kubectl.run("get", "-f", "-", "--ignore-not-found", "-o", "json", text=_list(manifests))
    gone = frozenset(_named(_items(read_json("get", output)))) if output.strip() else frozenset()
    spaces = {key.name for kind, key in gone if kind is Kind.NAMESPACE}
    left = {name: raw for name, raw in cluster.objects.items() if name not in gone and name[1].namespace not in spaces}
    return Outcome(left, gone)


def _list(manifests: Sequence[Manifest]) -> str:
    try:
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": [each.written for each in manifests]})
    except (TypeError, ValueError, RecursionError):
        raise ManifestError("These files hold what JSON has no word for, as !!binary: write it as text.") from None


def _items(printed: object) -> list[Any]:
    """One object, or several, as kubectl prints them. Raises KubectlError."""
    match printed:
        case {"items": list(items)}:
            return items
        case {"kind": str()}:
            return [printed]
    raise KubectlError("kubectl prints something else than objects of Kubernetes.")


def _written_name(manifest: Manifest) -> str:
    """``Kind namespace/name``; where none is written, kubectl's context says which namespace it is."""
    meta = manifest.written["metadata"]
    namespace = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{manifest.written['kind']} {namespace}{meta['name']}"


def _newborn(manifest: Manifest) -> Mapping[str, Any]:
    """An object that is made just now."""
    meta = {**manifest.body["metadata"], "creationTimestamp": format_time(time.time())}
    return {**manifest.body, "metadata": meta}
