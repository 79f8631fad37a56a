"""``wsroute table``: what the nginx of this pod serves, as lines of JSON; and reading them where they arrive.

It runs in a balancer's pod, beside nginx, because nobody else reaches the admin socket. People start it through
``wsroute routes``, over ``kubectl exec``: who may do that is decided by the cluster (the right ``pods/exec``), and
nothing new listens on the network.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wsroute.balancer.admin import running_version
from wsroute.balancer.table_client import Stand, TableClient, TableError
from wsroute.balancer.table_reader import OpenSocket, TableReader

PROTOCOL: Final = 1
"""Of these lines; a reader refuses those that it does not know."""

TRIES: Final = 5
"""How often the table is read until it does not change meanwhile."""


class DumpError(Exception):
    """What a pod printed is not what ``wsroute table`` prints. The text says what is wrong with it."""


@dataclass(slots=True)
class Dump:
    """What one pod's nginx serves.

    ``version`` is that of its nginx.conf, ``table_format`` 0 where routes stand in that file. ``mark`` names the table,
    and is empty while none is complete. ``moving``: it changed while it was read, so ``entries`` may be of two tables.
    ``endpoint_sockets`` and ``route_sockets`` count the open sockets of each endpoint and of each route. ``time`` is
    the pod's clock, in seconds since 1970.
    """

    version: str
    table_format: int
    mark: str
    time: float
    moving: bool = False
    entries: dict[str, str] = field(default_factory=dict)
    endpoint_sockets: dict[str, int] = field(default_factory=dict)
    route_sockets: dict[str, int] = field(default_factory=dict)
    sockets: list[OpenSocket] = field(default_factory=list)


def run(folder: Path, *, sockets: bool) -> int:
    """Print it, with every open socket when ``sockets`` says so, and return the exit code."""

    async def work() -> None:
        async for line in lines(folder, sockets=sockets):
            print(json.dumps(line, separators=(",", ":")))

    try:
        asyncio.run(work())
    except TableError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def lines(folder: Path, *, sockets: bool) -> AsyncIterator[Any]:
    """The lines as JSON values. ``folder`` is that of nginx's side. Raises TableError."""
    version = await running_version(folder)
    client = TableClient(folder)
    try:
        stand = await client.stand()
        head = {"wsroute": PROTOCOL, "version": version or "", "format": stand.format, "time": time.time()}
        if not stand.format:
            yield {**head, "mark": ""}
            yield "end"
            return
        async with TableReader(folder) as reader:
            entries, stand, moving = await _settled(client, reader, stand)
            yield {**head, "mark": stand.mark, "moving": moving}
            for key in sorted(entries):
                yield ["entry", key, entries[key]]
            for endpoint, number in sorted((await reader.endpoint_sockets()).items()):
                yield ["endpoint", endpoint, number]
            for route, number in sorted((await reader.counts()).open.items()):
                yield ["route", route, number]
            if sockets:
                async for socket in reader.open_sockets():
                    yield ["socket", *socket]
            yield "end"
    finally:
        await client.close()


async def _settled(client: TableClient, reader: TableReader, stand: Stand) -> tuple[dict[str, str], Stand, bool]:
    """Entries that are of one table, if it stands still for a moment."""
    entries: dict[str, str] = {}
    for _ in range(TRIES):
        before = stand
        entries = await reader.entries()
        stand = await client.stand()
        if stand.mark == before.mark:
            return entries, stand, False
    return entries, stand, True


def parse(text: Iterable[str]) -> Dump:
    """Read the lines. Raises DumpError."""
    found: Dump | None = None
    for number, line in enumerate(text, 1):
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError):
            raise DumpError(f"Line {number} is no JSON: {line[:60]!r}.") from None
        match raw:
            case {"wsroute": int(protocol)} if protocol != PROTOCOL:
                raise DumpError(f"It speaks protocol {protocol}, and this wsroute {PROTOCOL}: use that pod's version.")
            case {"version": str(version), "format": int(form), "mark": str(mark), "time": float(now)} if found is None:
                found = Dump(version, form, mark, now, moving=raw.get("moving") is True)
            case ["entry", str(key), str(value)] if found is not None:
                found.entries[key] = value
            case ["endpoint", str(endpoint), int(sockets)] if found is not None:
                found.endpoint_sockets[endpoint] = sockets
            case ["route", str(route), int(sockets)] if found is not None:
                found.route_sockets[route] = sockets
            case ["socket", int(worker), int(connection), int(since), str(client), str(endpoint), str(route)] if (
                found is not None
            ):
                found.sockets.append(OpenSocket(worker, connection, since, client, endpoint, route))
            case "end" if found is not None:
                return found
            case _:
                raise DumpError(f"Line {number} makes no sense: {line[:60]!r}.")
    raise DumpError("It ends too soon.")
