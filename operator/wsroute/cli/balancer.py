"""Finds a balancer in a cluster and reads what each of its pods serves."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from wsroute.api.balancer import WebSocketBalancerSpec
from wsroute.api.parse import parse
from wsroute.cli.dump import Dump, DumpError
from wsroute.cli.dump import parse as parse_dump
from wsroute.cli.kubectl import Kubectl, KubectlError
from wsroute.dataplane.dictionary import Entries, entries
from wsroute.dataplane.names import BALANCER_LABEL, ROLE_LABEL, ROLE_TABLE, SHARD_ANNOTATION
from wsroute.dataplane.shards import TABLE_KEY, ShardError, parse_certificates, parse_groups, parse_hosts, parse_place
from wsroute.dataplane.table import Table

KIND: Final = "websocketbalancers.wsroute.dev"

AT_ONCE: Final = 4
"""Pods that are read at the same time."""


class ViewError(Exception):
    """There is nothing to show. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, and what it serves; None where that can't be read, and ``trouble`` says why."""

    name: str
    ready: bool
    dump: Dump | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A balancer as its pods serve it.

    ``published`` is what the operator has written last; None where that can't be read, and ``published_trouble`` says
    why. ``spec`` is None where this wsroute can't read it.
    """

    namespace: str
    name: str
    data_plane: str
    pods: tuple[Pod, ...]
    spec: WebSocketBalancerSpec | None = None
    published: Entries | None = None
    published_trouble: str = ""
    usual: Entries = field(default_factory=dict)
    """What most of the pods serve."""

    @property
    def dumps(self) -> dict[str, Dump]:
        """What could be read, by the names of the pods."""
        return {pod.name: pod.dump for pod in self.pods if pod.dump is not None}


async def read_view(
    kubectl: Kubectl, *, namespace: str | None, name: str | None, pod: str | None, sockets: bool
) -> View:
    """Read a balancer's pods, or one of them. Without a name it is the only balancer that there is. ``sockets``: with
    each open one. Raises ViewError, KubectlError."""
    balancer = await _find(kubectl, namespace, name)
    namespace, name = balancer["metadata"]["namespace"], balancer["metadata"]["name"]
    data_plane = balancer.get("spec", {}).get("dataPlane", "Static")
    pods = await _pods(kubectl, namespace, name)
    if pod is not None:
        pods = [each for each in pods if each["metadata"]["name"] == pod]
        if not pods:
            raise ViewError(f"The balancer {namespace}/{name} has no pod {pod}.")
    turns = asyncio.Semaphore(AT_ONCE)

    async def read(each: Mapping[str, Any]) -> Pod:
        async with turns:
            return await _read_pod(kubectl, namespace, each, sockets=sockets)

    published, trouble = (None, "")
    if data_plane == "Dynamic":
        published, trouble = await _published(kubectl, namespace, name)
    found = tuple(await asyncio.gather(*map(read, pods)))
    spec = parse(WebSocketBalancerSpec, balancer.get("spec"))
    return View(
        namespace,
        name,
        data_plane,
        found,
        spec if isinstance(spec, WebSocketBalancerSpec) else None,
        published,
        trouble,
        _usual(found, published),
    )


async def _find(kubectl: Kubectl, namespace: str | None, name: str | None) -> Mapping[str, Any]:
    if namespace is not None and name is not None:
        try:
            found: Mapping[str, Any] = await kubectl.json("get", KIND, name, "-n", namespace)
        except KubectlError as error:
            if error.not_found:
                raise ViewError(f"There is no WebSocketBalancer {namespace}/{name}.") from None
            raise _no_kind(error) from None
        return found
    where = ("-A",) if namespace is None else ("-n", namespace)
    try:
        balancers = (await kubectl.json("get", KIND, *where))["items"]
    except KubectlError as error:
        if error.forbidden and namespace is None:
            raise ViewError(f"{error} Name a namespace with -n.") from None
        raise _no_kind(error) from None
    if name is not None:
        balancers = [each for each in balancers if each["metadata"]["name"] == name]
    if len(balancers) == 1:
        only: Mapping[str, Any] = balancers[0]
        return only
    place = "in this cluster" if namespace is None else f"in the namespace {namespace}"
    called = "" if name is None else f" {name}"
    if not balancers:
        raise ViewError(f"There is no WebSocketBalancer{called} {place}.")
    names = ", ".join(sorted(f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in balancers))
    raise ViewError(f"There are several balancers {place}: {names}. Name one of them, and its namespace with -n.")


def _no_kind(error: KubectlError) -> Exception:
    if error.no_such_kind:
        return ViewError("This cluster does not know WebSocketBalancers: wsroute is not installed there.")
    return error


async def _pods(kubectl: Kubectl, namespace: str, name: str) -> list[Mapping[str, Any]]:
    found = (await kubectl.json("get", "pods", "-n", namespace, "-l", f"{BALANCER_LABEL}={name}"))["items"]
    if not found:
        raise ViewError(
            f"The balancer {namespace}/{name} has no pods: no pod there bears the label {BALANCER_LABEL}={name}."
        )
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


async def _read_pod(kubectl: Kubectl, namespace: str, pod: Mapping[str, Any], *, sockets: bool) -> Pod:
    name = pod["metadata"]["name"]
    status = pod.get("status", {})
    conditions = status.get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    if all(container["name"] != "agent" for container in pod["spec"]["containers"]):
        return Pod(name, ready, None, "It has no container agent (strategy Restart): nothing there can be asked.")
    if status.get("phase") != "Running":
        return Pod(name, ready, None, f"It is {status.get('phase', 'Unknown')}.")
    command = ["exec", name, "-n", namespace, "-c", "agent", "--", "python3", "-m", "wsroute", "table"]
    try:
        output = await kubectl.run(*command, *(["--sockets"] if sockets else []))
        return Pod(name, ready, parse_dump(output.splitlines()))
    except KubectlError as error:
        return Pod(name, ready, None, _explain(error, namespace))
    except DumpError as error:
        return Pod(name, ready, None, f"What it prints can't be read. {error}")


def _explain(error: KubectlError, namespace: str) -> str:
    if error.forbidden:
        return f"You may not run commands in it: that needs the right to create pods/exec in {namespace}."
    if "No such command" in error.words:
        return "It runs a wsroute that has no command `table` yet."
    return str(error)


async def _published(kubectl: Kubectl, namespace: str, name: str) -> tuple[Entries | None, str]:
    """The table that the operator has written."""
    selector = f"{BALANCER_LABEL}={name},{ROLE_LABEL}={ROLE_TABLE}"
    try:
        items = (await kubectl.json("get", "configmaps", "-n", namespace, "-l", selector))["items"]
    except KubectlError as error:
        return None, str(error)
    table = Table((), ())
    try:
        for item in items:
            place = parse_place(item["metadata"].get("annotations", {}).get(SHARD_ANNOTATION, ""))
            text = item.get("data", {}).get(TABLE_KEY, "")
            match place.family:
                case "r":
                    table = replace(table, hosts=(*table.hosts, *parse_hosts(text)))
                case "e":
                    table = replace(table, groups=(*table.groups, *parse_groups(text)))
                case _:
                    table = replace(table, certificates=(*table.certificates, *parse_certificates(text)))
    except ShardError as error:
        return None, f"The ConfigMap {item['metadata']['name']} can't be read: {error}"
    return entries(table), ""


def _usual(pods: tuple[Pod, ...], published: Entries | None) -> Entries:
    """What most pods serve; of several such tables the published one."""
    dumps = [pod.dump for pod in pods if pod.dump is not None and pod.dump.mark]
    if not dumps:
        return {}
    counts = Counter(dump.mark for dump in dumps)
    best = max(dumps, key=lambda dump: (counts[dump.mark], dump.entries == published))
    return best.entries
