"""Reads a cluster with kubectl: what is there, and what would be there once manifests were applied or deleted."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from wsroute.cli.kubectl import Kubectl, KubectlError
from wsroute.cli.manifests import Manifest
from wsroute.cli.preview import Name, Objects
from wsroute.cluster.balancer_state import format_time
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.cluster.parse import SERVICE_NAME_LABEL
from wsroute.dataplane.names import BALANCER_LABEL, ROLE_LABEL, ROLE_STATE, ROLE_TEMPLATE

BALANCERS: Final = "websocketbalancers.wsroute.dev"

EVERYWHERE: Final = ("websocketroutes.wsroute.dev", BALANCERS, "services", "namespaces")
BESIDE_BALANCERS: Final = ("pods", "deployments.apps")

_AT_ONCE: Final = 4
"""Runs of kubectl at the same time."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a pass of the operator looks at. ``default`` is the balancer of routes that name none, as the operator was
    told; the routes of other namespaces than those ``watched`` are not served, unless there are none of these."""

    objects: Objects
    default: Key | None
    watched: frozenset[str]
    notes: tuple[str, ...] = ()
    """What could not be looked at."""


async def read_cluster(kubectl: Kubectl) -> Cluster:
    """Everything there is. Raises KubectlError."""
    listed, slices = await asyncio.gather(
        kubectl.json("get", ",".join(EVERYWHERE), "-A"),
        kubectl.json("get", "endpointslices.discovery.k8s.io", "-A", "-l", SERVICE_NAME_LABEL),
    )
    objects = dict(_named([*listed["items"], *slices["items"]]))
    balancers = sorted(key for kind, key in objects if kind is Kind.BALANCER)
    for namespace in sorted({key.namespace for key in balancers}):
        objects |= await _beside(kubectl, namespace)
    notes: tuple[str, ...] = ()
    try:
        objects |= _named((await kubectl.json("get", "nodes"))["items"])
    except KubectlError as error:
        if not error.forbidden:
            raise
        notes = ("You may not list nodes: endpoints with the address of a node are taken for good.",)
    default, watched = _options(objects)
    if default is None and len(balancers) == 1:
        default = balancers[0]
    return Cluster(objects, default, watched, notes)


async def _beside(kubectl: Kubectl, namespace: str) -> Objects:
    """What stands in a balancer's namespace: pods, Deployments, and the ConfigMaps that say more than what follows."""
    selector = f"{BALANCER_LABEL},{ROLE_LABEL} in ({ROLE_STATE},{ROLE_TEMPLATE})"
    pods, maps = await asyncio.gather(
        kubectl.json("get", ",".join(BESIDE_BALANCERS), "-n", namespace),
        kubectl.json("get", "configmaps", "-n", namespace, "-l", selector),
    )
    return _named([*pods["items"], *maps["items"]])


def _named(items: Iterable[Mapping[str, Any]]) -> dict[Name, Mapping[str, Any]]:
    kinds = set(Kind)
    return {
        (Kind(item["kind"]), Key(item["metadata"].get("namespace", ""), item["metadata"]["name"])): item
        for item in items
        if item["kind"] in kinds
    }


def _options(objects: Objects) -> tuple[Key | None, frozenset[str]]:
    """What an operator beside the balancers was told: its default balancer, and the namespaces that it watches."""
    for (kind, key), deployment in sorted(objects.items()):
        if kind is not Kind.DEPLOYMENT:
            continue
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            words = [*(container.get("command") or ()), *(container.get("args") or ())]
            if "operator" in words:
                defaults = _values(words, "--default-balancer")
                watched = _values(words, "--watch-namespace")
                namespace, slash, name = defaults[-1].partition("/") if defaults else ("", "", "")
                return Key(namespace, name) if slash else None, frozenset((*watched, key.namespace) if watched else ())
    return None, frozenset()


def _values(words: Sequence[str], option: str) -> list[str]:
    apart = [value for word, value in pairwise(words) if word == option]
    return apart + [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of manifests. ``objects`` are all of the cluster then, ``asked`` those that the manifests name.
    ``refused`` says why the API server does not take some of them, by their names."""

    objects: Objects
    asked: frozenset[Name]
    refused: Mapping[str, str] = field(default_factory=dict)


async def applied(kubectl: Kubectl, cluster: Cluster, manifests: Sequence[Manifest], *, server_side: bool) -> Outcome:
    """What a `kubectl apply` of the manifests would make of a cluster. The API server itself says so, with all its
    defaults and checks, and changes nothing. Raises KubectlError."""
    command = ("apply", "--dry-run=server", *(("--server-side",) if server_side else ()), "-f", "-")
    refused: dict[str, str] = {}
    try:
        found = _items(await kubectl.json(*command, text=_list(manifests)))
    except KubectlError:
        # kubectl tells nothing of the others where one is refused.
        turns = asyncio.Semaphore(_AT_ONCE)
        made = {each.body["metadata"]["name"] for each in manifests if each.body["kind"] == Kind.NAMESPACE}

        async def alone(manifest: Manifest) -> list[Mapping[str, Any]]:
            async with turns:
                try:
                    return _items(await kubectl.json(*command, text=_list([manifest])))
                except KubectlError as error:
                    if error.not_found and manifest.body["metadata"].get("namespace") in made:
                        return [_newborn(manifest)]  # nobody can be asked about a namespace that is not there yet
                    refused[manifest.name] = error.sentence
                    return []

        found = [item for items in await asyncio.gather(*map(alone, manifests)) for item in items]
    come = _named(found)
    objects = {**cluster.objects, **come}
    known = {key.namespace for kind, key in cluster.objects if kind is Kind.BALANCER}
    for namespace in sorted({key.namespace for kind, key in come if kind is Kind.BALANCER} - known):
        objects = {**await _beside(kubectl, namespace), **objects}
    return Outcome(objects, frozenset(come), refused)


async def deleted(kubectl: Kubectl, cluster: Cluster, manifests: Sequence[Manifest]) -> Outcome:
    """What a `kubectl delete` of what the manifests name would leave of a cluster. Raises KubectlError."""
    output = await kubectl.run("get", "-f", "-", "--ignore-not-found", "-o", "json", text=_list(manifests))
    gone = frozenset(_named(_items(json.loads(output)))) if output.strip() else frozenset()
    spaces = {key.name for kind, key in gone if kind is Kind.NAMESPACE}
    left = {name: raw for name, raw in cluster.objects.items() if name not in gone and name[1].namespace not in spaces}
    return Outcome(left, gone)


def _list(manifests: Sequence[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [each.written for each in manifests]})


def _items(printed: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One object, or several, as kubectl prints them."""
    return list(printed["items"]) if printed["kind"] == "List" else [printed]


def _newborn(manifest: Manifest) -> Mapping[str, Any]:
    """An object that is made just now."""
    meta = {**manifest.body["metadata"], "creationTimestamp": format_time(time.time())}
    return {**manifest.body, "metadata": meta}
