"""What the template of the Dynamic data plane gets to see beside a balancer's own settings."""

import re
from itertools import product
from typing import Final, NamedTuple

from wsroute.dataplane.ir import Configuration, Shell
from wsroute.nginx.paths import Paths
from wsroute.nginx.quoting import Duration, EmitError, FilePath, HeaderName, Identifier, Integer, UnixSocket
from wsroute.nginx.script import SCRIPT
from wsroute.nginx.templating import Block
from wsroute.nginx.views import OWN_HEADERS

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
"""A header that nginx's language has a variable for."""

OPEN_PARTS: Final = 16
"""Over how many dictionaries the list of open sockets is spread: ``PARTS`` of njs/report.js, which says why."""


class HeaderView(NamedTuple):
    """A header that routes may change. ``own`` is what the client sent, where nginx can say it."""

    number: Integer
    name: HeaderName
    own: Block


class ClassView(NamedTuple):
    """A pair of timeouts; ``name`` is made of their milliseconds."""

    name: Identifier
    connect: Duration
    idle: Duration


class ShellView(NamedTuple):
    """``connect``, ``idle`` and ``names`` are the lists as njs reads them."""

    connect: Block
    idle: Block
    names: Block | None
    headers: tuple[HeaderView, ...]
    classes: tuple[ClassView, ...]


def shell_view(shell: Shell) -> ShellView:
    """Raises EmitError."""
    names = [name.lower() for name in shell.headers]
    if len(set(names)) != len(names) or not OWN_HEADERS.isdisjoint(names):
        raise EmitError("A header is permitted twice, or is one that the balancer itself sets.")
    return ShellView(
        connect=_list(shell.connect_timeouts),
        idle=_list(shell.idle_timeouts),
        # None of a header's characters but the letters, digits, hyphens, underscores and dots may stand in a list.
        names=Block(",".join(Identifier(HeaderName(name)) for name in names)) if names else None,
        headers=tuple(_header(number, name) for number, name in enumerate(shell.headers)),
        classes=tuple(
            ClassView(Identifier(f"{connect}_{idle}"), Duration(connect), Duration(idle))
            for connect, idle in product(shell.connect_timeouts, shell.idle_timeouts)
        ),
    )


def shell_names(configuration: Configuration, paths: Paths) -> dict[str, object]:
    """The names that the template takes; nothing for a configuration of the Static data plane."""
    if configuration.shell is None:
        return {}
    if configuration.servers or configuration.upstreams:
        raise EmitError("A Dynamic balancer's routes are no part of its file.")
    return {
        "shell": shell_view(configuration.shell),
        "script": FilePath(paths.script(SCRIPT.name)),
        "state": FilePath(paths.table_state),
        "open_parts": tuple(Integer(number) for number in range(OPEN_PARTS)),
        "decide_socket": UnixSocket(paths.decide_socket),
    }


def _list(timeouts: tuple[int, ...]) -> Block:
    if not timeouts or sorted(set(timeouts)) != list(timeouts):
        raise EmitError("Timeouts must ascend, and there must be one.")
    return Block(",".join(Integer(timeout, minimum=1) for timeout in timeouts))


def _header(number: int, name: str) -> HeaderView:
    own = f"$http_{name.lower().replace('-', '_')}" if _PLAIN_NAME.fullmatch(name) else '""'
    return HeaderView(Integer(number), HeaderName(name), Block(own))
