"""The Dynamic data plane's shell and table for what tests write down as a configuration of the Static one."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from wsroute.dataplane import dictionary
from wsroute.dataplane.certificate_table import certificate_records
from wsroute.dataplane.certificates import NO_CERTIFICATES
from wsroute.dataplane.ir import Configuration, Location, Proxy, Shell, Upstream
from wsroute.dataplane.shell import CONNECT_TIMEOUTS, IDLE_TIMEOUTS
from wsroute.dataplane.table import (
    Address,
    EndpointGroup,
    Forward,
    HostRecord,
    PathRecord,
    Policy,
    Table,
    Target,
)

CHUNK: Final = 200
Ask = Callable[..., tuple[int, str]]
"""``Nginx.ask_admin``."""


def shell_of(configuration: Configuration) -> Configuration:
    """The configuration without its routes, with their timeouts and headers among those that there are."""
    actions = [location.action for server in configuration.servers for location in server.locations]
    proxies = [action for action in actions if isinstance(action, Proxy)]
    names = {name.lower(): name for action in proxies for name in action.remove_headers}
    names |= {name.lower(): name for action in proxies for name, _ in action.set_headers}
    shell = Shell(
        connect_timeouts=tuple(sorted({*CONNECT_TIMEOUTS, *(action.connect_timeout for action in proxies)})),
        idle_timeouts=tuple(sorted({*IDLE_TIMEOUTS, *(action.idle_timeout for action in proxies)})),
        headers=tuple(sorted(names.values(), key=str.lower)),
    )
    listeners = tuple(
        listener if listener.tls is None else replace(listener, tls=NO_CERTIFICATES)
        for listener in configuration.listeners
    )
    return replace(configuration, listeners=listeners, servers=(), upstreams=(), shell=shell)


def table_of(configuration: Configuration) -> Table:
    """The same routes as a table. Endpoints of one weight become one group: there are no weights within a group."""
    targets: dict[str, tuple[Target, ...]] = {}
    groups: list[EndpointGroup] = []
    for upstream in configuration.upstreams:
        found = tuple(_groups(upstream))
        groups += [group for group, _ in found]
        targets[upstream.name] = tuple(Target(group.name, weight * len(group.addresses)) for group, weight in found)
    keys = {upstream.name: upstream.hash_key for upstream in configuration.upstreams}
    balancing = {upstream.name: Policy(upstream.balancing) for upstream in configuration.upstreams}

    def record(location: Location) -> PathRecord:
        action = location.action
        if isinstance(action, Proxy):
            return PathRecord(
                location.route,
                location.path,
                location.match,
                Forward(
                    targets=targets[action.upstream],
                    websocket_only=action.websocket_only,
                    rewrite_prefix=action.rewrite_prefix,
                    connect_timeout=action.connect_timeout,
                    idle_timeout=action.idle_timeout,
                    set_headers=action.set_headers,
                    remove_headers=action.remove_headers,
                    policy=balancing[action.upstream],
                    origins=action.origins,
                    hash_key=keys[action.upstream],
                ),
            )
        return PathRecord(location.route, location.path, location.match, action)

    return Table(
        hosts=tuple(
            HostRecord(server.host, server.listeners, tuple(map(record, server.locations)))
            for server in configuration.servers
        ),
        groups=tuple(sorted(groups, key=lambda group: group.name)),
        certificates=certificate_records(
            {listener.name: listener.tls for listener in configuration.listeners if listener.tls is not None}
        ),
    )


def _groups(upstream: Upstream) -> Iterator[tuple[EndpointGroup, int]]:
    by_weight: defaultdict[int, list[Address]] = defaultdict(list)
    for endpoint in upstream.endpoints:
        by_weight[endpoint.weight].append(Address(endpoint.address, endpoint.port))
    for weight, addresses in sorted(by_weight.items()):
        yield EndpointGroup(f"{upstream.name}:{weight}", tuple(sorted(addresses))), weight


class Pusher:
    """What the agent does: fills a generation and flips to it, then sends what changes."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._entries: Mapping[str, str] | None = None
        self._generation = "b"

    def push(self, table: Table) -> None:
        """Have this table served."""
        wanted = dictionary.entries(table)
        if self._entries is None:
            self._fill(wanted)
        else:
            self._change(self._entries, wanted)
        self._entries = wanted

    def forget(self) -> None:
        """Have the next push be a full one, into the other generation."""
        self._entries = None

    def _fill(self, wanted: Mapping[str, str]) -> None:
        self._generation = "a" if self._generation == "b" else "b"
        other = f"generation={self._generation}"
        while json.loads(self._post(f"/table/clear?{other}", None, 200))["left"]:
            pass
        entries = (["s", key, value] for key, value in wanted.items())
        while chunk := list(islice(entries, CHUNK)):
            self._post(f"/table/entries?{other}", chunk)
        self._post(f"/table/flip?{other}&mark={dictionary.mark(wanted)}", None)

    def _change(self, before: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        marks = f"mark={dictionary.mark(wanted)}&from={dictionary.mark(before)}"
        self._post(f"/table/changes?generation={self._generation}&{marks}", dictionary.diff(before, wanted))

    def _post(self, path: str, body: Any, expected: int = 204) -> str:
        status, answer = self._ask(path, body=json.dumps(body) if body is not None else "")
        assert status == expected, f"{path}: {status} {answer}"
        return answer
