"""``wsroute routes`` and ``wsroute sockets``: what a balancer's pods serve, for people and as JSON."""

import asyncio
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wsroute.cli.balancer import Pod, View, ViewError, read_view
from wsroute.cli.kubectl import Kubectl, KubectlError
from wsroute.cli.terminal import complain, printable
from wsroute.dataplane.differences import differences
from wsroute.dataplane.ir import PathMatch, Refuse
from wsroute.dataplane.served import Served, read_table
from wsroute.dataplane.table import EndpointGroup, Forward, HashSource, HostRecord, PathRecord
from wsroute.dataplane.table_json import host_to_json

GOOD, BAD = 0, 2

_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))


@dataclass(frozen=True, slots=True)
class Asked:
    """Which balancer, and which part of it. ``route`` is ``namespace/name``; what is None is not asked for."""

    namespace: str | None = None
    balancer: str | None = None
    pod: str | None = None
    host: str | None = None
    route: str | None = None

    def takes(self, host: HostRecord, path: PathRecord) -> bool:
        """Whether a path is asked for."""
        return (self.route is None or str(path.route) == self.route) and (
            self.host is None or covers(host.host, self.host)
        )


def covers(pattern: str, host: str) -> bool:
    """Whether a host of a table takes the requests of a host."""
    _, dot, rest = host.partition(".")
    return pattern == host or (bool(dot) and pattern == f"*.{rest}")


def routes(kubectl: Kubectl, asked: Asked, *, as_json: bool) -> int:
    """Print the routes, and return the exit code."""
    return _show(kubectl, asked, as_json=as_json, sockets=False, to_json=routes_json, to_text=routes_text)


def sockets(kubectl: Kubectl, asked: Asked, *, as_json: bool) -> int:
    """Print each open socket, and return the exit code."""
    return _show(kubectl, asked, as_json=as_json, sockets=True, to_json=sockets_json, to_text=sockets_text)


def _show(
    kubectl: Kubectl,
    asked: Asked,
    *,
    as_json: bool,
    sockets: bool,
    to_json: Callable[[View, Asked], Any],
    to_text: Callable[[View, Asked], Iterable[str]],
) -> int:
    try:
        view = asyncio.run(
            read_view(kubectl, namespace=asked.namespace, name=asked.balancer, pod=asked.pod, sockets=sockets)
        )
    except (ViewError, KubectlError) as error:
        complain(error)
        return BAD
    if as_json:
        print(json.dumps(to_json(view, asked), indent=2))
    else:
        print("\n".join(map(printable, to_text(view, asked))))
    for line in troubles(view):
        print(printable(line), file=sys.stderr)
    return GOOD if view.dumps else BAD


# --- what is not as it should be ---


def troubles(view: View) -> list[str]:
    """Sentences about pods that can't be read, or that serve something else than the others."""
    told = [f"Pod {pod.name}: {pod.trouble}" for pod in view.pods if pod.trouble]
    if view.published_trouble:
        told.append(f"What the operator has published can't be read: {view.published_trouble}")
    for pod in view.pods:
        told += [f"Pod {pod.name} {difference}." for difference in _lagging(view, pod)]
    tables = [dump for dump in view.dumps.values() if dump.mark]
    if view.published is not None and tables and all(dump.entries != view.published for dump in tables):
        told += [f"What is published, and no pod serves, {each}." for each in differences(view.usual, view.published)]
    versions = {dump.version for dump in view.dumps.values()}
    if len(versions) > 1:
        told.append(f"The pods run several versions of nginx.conf: {_versions(view)}.")
    return told


def _lagging(view: View, pod: Pod) -> list[str]:
    dump = pod.dump
    if dump is None or not dump.table_format:
        return []
    if not dump.mark:
        return ["has no complete table: handshakes there get 503 no-table"]
    found = differences(view.usual, dump.entries)
    if dump.moving:
        found.append("has changed its table while it was read")
    return found


def _versions(view: View) -> str:
    return ", ".join(f"{name} {dump.version or 'none'}" for name, dump in view.dumps.items())


# --- routes ---


def routes_text(view: View, asked: Asked) -> list[str]:
    """The routes as a table, each with its endpoints below it."""
    lines = _head(view)
    if not any(dump.table_format for dump in view.dumps.values()):
        return lines
    served = read_table(view.usual)
    groups = {group.name: group for group in served.table.groups}
    at_endpoints, of_routes = _endpoint_sockets(view), route_sockets(view)
    rows: list[tuple[str, ...]] = [("HOST", "PATH", "ROUTE", "LISTENERS", "SOCKETS", "IDLE", "CONNECT", "POLICIES")]
    below: dict[int, list[tuple[str, ...]]] = {}
    for host in served.table.hosts:
        for path in host.paths:
            if asked.takes(host, path):
                held = str(of_routes[str(path.route)])
                rows.append(_row(host, path, held))
                below[len(rows) - 1] = _endpoints(path, groups, at_endpoints)
    if len(rows) == 1:
        return [*lines, "", "No route." if asked.host is asked.route is None else "No such route."]
    inner = _aligned([row for under in below.values() for row in under])
    lines.append("")
    for number, line in enumerate(_aligned(rows)):
        lines.append(line)
        lines += [f"    {inner.pop(0)}" for _ in below.get(number, ())]
    if asked.host is asked.route is None:
        lines += _left_over(served, at_endpoints)
        lines += [f"This wsroute can't read the entry {key!r}." for key in served.unreadable]
    return lines


def _head(view: View) -> list[str]:
    lines = [f"Balancer {view.namespace}/{view.name}, {view.data_plane}"]
    rows = []
    for pod in view.pods:
        if pod.dump is None:
            rows.append((pod.name, _ready(pod), "not read"))
        elif pod.dump.table_format:
            held = sum(pod.dump.endpoint_sockets.values())
            rows.append(
                (pod.name, _ready(pod), f"{held} sockets, version {pod.dump.version}, table {pod.dump.mark[:12]}")
            )
        else:
            rows.append((pod.name, _ready(pod), f"version {pod.dump.version or 'none yet'}"))
    lines += [f"Pod {line}" for line in _aligned(rows)]
    if view.dumps and not any(dump.table_format for dump in view.dumps.values()):
        lines += [
            "",
            f"Its routes stand in nginx.conf, in the ConfigMap {view.name}-nginx. Which sockets are open, and where,",
            "only pods with `dataPlane: Dynamic` can tell.",
        ]
    return lines


def _ready(pod: Pod) -> str:
    return "ready" if pod.ready else "not ready"


def _endpoint_sockets(view: View) -> Counter[str]:
    """The sockets of each endpoint, over all pods."""
    held: Counter[str] = Counter()
    for dump in view.dumps.values():
        held.update(dump.endpoint_sockets)
    return held


def route_sockets(view: View) -> Counter[str]:
    """The sockets of each route, over all pods."""
    held: Counter[str] = Counter()
    for dump in view.dumps.values():
        held.update(dump.route_sockets)
    return held


def _row(host: HostRecord, path: PathRecord, held: str) -> tuple[str, ...]:
    shown = path.path if path.match is PathMatch.PREFIX else f"{path.path} (exact)"
    listeners, route, action = ",".join(host.listeners), str(path.route), path.action
    if isinstance(action, Refuse):
        return host.host, shown, route, listeners, held, "", "", f"refused: {action.reason}"
    idle, connect = duration(action.idle_timeout), duration(action.connect_timeout)
    return host.host, shown, route, listeners, held, idle, connect, "; ".join(policies(action))


def policies(action: Forward) -> list[str]:
    """What a path does beside going to its endpoints."""
    found = [str(action.policy)]
    if action.hash_key is not None:
        source = action.hash_key.on
        found = [f"Hash of {source}" + ("" if source is HashSource.CLIENT_IP else f" {action.hash_key.name}")]
    if action.sticky is not None:
        age = f" for {duration(action.sticky.max_age * 1000)}" if action.sticky.max_age else ""
        found.append(f"cookie {action.sticky.name}{age}")
    rules = action.origins
    allowed = " ".join(("own hosts", *rules.allow))
    match rules.policy:
        case "Off":
            found.append("any origin")
        case "Report":
            found.append(f"origins reported beyond {allowed}")
        case "Enforce":
            found.append(f"origins {allowed}")
    if rules.require_header and rules.policy != "Off":
        found.append("Origin required")
    if not action.websocket_only:
        found.append("plain HTTP too")
    if action.rewrite_prefix is not None:
        found.append(f"rewritten to {action.rewrite_prefix}")
    found += [f"sets {name}: {value}" for name, value in action.set_headers]
    found += [f"removes {name}" for name in action.remove_headers]
    return found


def _endpoints(path: PathRecord, groups: dict[str, EndpointGroup], held: Counter[str]) -> list[tuple[str, ...]]:
    if isinstance(path.action, Refuse):
        return []
    rows: list[tuple[str, ...]] = []
    weighted = len(path.action.targets) > 1
    for target in path.action.targets:
        group = groups.get(target.group, EndpointGroup(target.group, ()))
        what = f"{target.group} weight {target.weight}" if weighted else target.group
        rows += [(str(address), f"{held[str(address)]}", what) for address in group.addresses]
        rows += [
            (str(address), f"{held[str(address)]}", f"{what}, returning clients only") for address in group.returning
        ]
        if not group.addresses and not group.returning:
            rows.append(("no endpoints", "", what))
    return rows


def _left_over(served: Served, held: Counter[str]) -> list[str]:
    """Endpoints that no route has any more, and that still hold sockets."""
    known = {str(address) for group in served.table.groups for address in (*group.addresses, *group.returning)}
    rows = [(endpoint, str(number)) for endpoint, number in sorted(held.items()) if number and endpoint not in known]
    if not rows:
        return []
    return ["", "Endpoints of no route any more that still hold sockets:", *(f"    {line}" for line in _aligned(rows))]


def routes_json(view: View, asked: Asked) -> Any:
    """The same as JSON."""
    served = read_table(view.usual)
    groups = {group.name: group for group in served.table.groups}
    by_endpoint: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for pod, dump in view.dumps.items():
        for endpoint, number in dump.endpoint_sockets.items():
            by_endpoint[endpoint][pod] = number
    of_routes = route_sockets(view)

    def endpoints(group: str) -> list[Any]:
        found = groups.get(group, EndpointGroup(group, ()))
        return [
            {"address": str(address), "state": state, "sockets": by_endpoint.get(str(address), {})}
            for state, addresses in (("ready", found.addresses), ("returning", found.returning))
            for address in addresses
        ]

    routes = []
    for host in served.table.hosts:
        for path, fields in zip(host.paths, host_to_json(host)["paths"], strict=True):
            if asked.takes(host, path):
                targets = [
                    {"group": group, "weight": weight, "endpoints": endpoints(group)}
                    for group, weight in fields.pop("targets", ())
                ]
                held = of_routes[str(path.route)]
                place = {"host": host.host, "listeners": list(host.listeners)}
                routes.append({**place, **fields, "targets": targets, "routeSockets": held})
    return {**_json_head(view), "routes": routes, "unreadable": list(served.unreadable)}


def _json_head(view: View) -> dict[str, Any]:
    return {
        "balancer": f"{view.namespace}/{view.name}",
        "dataPlane": view.data_plane,
        "pods": [
            {
                "name": pod.name,
                "ready": pod.ready,
                "version": pod.dump.version if pod.dump is not None else None,
                "table": pod.dump.mark if pod.dump is not None else None,
                "sockets": sum(pod.dump.endpoint_sockets.values()) if pod.dump is not None else None,
                "published": None if view.published is None or pod.dump is None else pod.dump.entries == view.published,
                "trouble": pod.trouble,
                "differences": _lagging(view, pod),
            }
            for pod in view.pods
        ],
    }


# --- sockets ---


def sockets_text(view: View, asked: Asked) -> list[str]:
    """Each open socket, the oldest first."""
    rows = [("AGE", "CLIENT", "ENDPOINT", "ROUTE", "POD", "WORKER")]
    rows += [
        (duration(age * 1000), each["client"], each["endpoint"], each["route"], each["pod"], str(each["worker"]))
        for each in sockets_json(view, asked)["sockets"]
        for age in (each["age"],)
    ]
    lines = _head(view)
    if any(dump.table_format for dump in view.dumps.values()):
        lines += ["", *(_aligned(rows) if len(rows) > 1 else ["No open socket."])]
    unlisted = _unlisted(view)
    return lines + ([f"{unlisted} sockets more are open; the pods had no room to list them."] if unlisted else [])


def sockets_json(view: View, asked: Asked) -> Any:
    """The same as JSON; ``age`` is seconds."""
    wanted = _asked_routes(view, asked)
    found: list[dict[str, Any]] = [
        {
            "age": max(0, int(dump.time) - socket.since),
            "since": socket.since,
            "client": socket.client,
            "endpoint": socket.endpoint,
            "route": socket.route,
            "pod": pod,
            "worker": socket.worker,
            "connection": socket.connection,
        }
        for pod, dump in view.dumps.items()
        for socket in dump.sockets
        if wanted is None or socket.route in wanted
    ]
    found.sort(key=lambda socket: (-socket["age"], socket["pod"], socket["connection"]))
    return {**_json_head(view), "sockets": found, "unlisted": _unlisted(view)}


def _asked_routes(view: View, asked: Asked) -> set[str] | None:
    """The routes whose sockets are asked for; None for all. A host stands for the routes that it has now."""
    if asked.host is None:
        return None if asked.route is None else {asked.route}
    hosts = read_table(view.usual).table.hosts
    return {str(path.route) for host in hosts for path in host.paths if asked.takes(host, path)}


def _unlisted(view: View) -> int:
    counted = sum(sum(dump.endpoint_sockets.values()) for dump in view.dumps.values())
    return max(0, counted - sum(len(dump.sockets) for dump in view.dumps.values()))


# --- text ---


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines with columns below one another."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def duration(milliseconds: int) -> str:
    """A time in the largest two units that it has."""
    parts = []
    for size, unit in _UNITS:
        number, milliseconds = divmod(milliseconds, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts[:2]) or "0s"
