"""Clients as they are in the field: each holds a WebSocket, and connects again at once when it is cut."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.support.handshake import echo, held_socket
from tests.support.waiting import Stopwatch

PATH = "/echo"

PAUSE = 0.2
"""Seconds between two tries, once the first one has failed."""


@dataclass(slots=True)
class Rejoiner:
    """``pod`` is where it is at first. ``cuts`` are the times at which the other side closed its sockets (monotonic),
    with the code that a page sees; ``absences`` are the seconds from each until a new socket had echoed a message,
    ``starved`` those of them in which somebody waited for a processor, and ``failures`` the tries that were in vain."""

    host: str
    pod: str
    opened: float = 0.0
    cuts: list[tuple[float, int]] = field(default_factory=list)
    absences: list[float] = field(default_factory=list)
    starved: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def run(self, first: ClientConnection, again: Callable[[], Any]) -> None:
        """Hold a socket, and then others that ``again`` connects, until cancelled."""
        connection = first
        try:
            while True:
                code = await self._end_of(connection)
                watch = Stopwatch()
                self.cuts.append((watch.began, code))
                connection = await self._join(again)
                self.starved.append(watch.starved)
                self.absences.append(watch.elapsed)
        finally:
            connection.transport.abort()

    @staticmethod
    async def _end_of(connection: ClientConnection) -> int:
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006

    async def _join(self, again: Callable[[], Any]) -> ClientConnection:
        while True:
            try:
                return await self._try(again)
            except (OSError, EOFError, WebSocketException, AssertionError) as error:
                self.failures.append(repr(error))
                await asyncio.sleep(PAUSE)

    async def _try(self, again: Callable[[], Any]) -> ClientConnection:
        connection = await held_socket(again(), host=self.host, path=PATH)
        try:
            await echo(connection, "back")
        except BaseException:
            connection.transport.abort()
            raise
        return connection


@dataclass(slots=True)
class Crowd:
    """Clients, and what connects them again."""

    host: str
    again: Callable[[], Any]
    clients: list[Rejoiner] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def join(self, connect: Callable[[], Any], pod: str) -> None:
        """One client more."""
        client = Rejoiner(self.host, pod)
        connection = await held_socket(connect(), host=self.host, path=PATH)
        client.opened = time.monotonic()
        self.clients.append(client)
        self.tasks.append(asyncio.create_task(client.run(connection, self.again)))

    async def keep_joining(self, *, every: float) -> None:
        """One client more from time to time, which comes by the way of all clients, until cancelled."""
        while True:
            await self.join(self.again, "")
            await asyncio.sleep(every)


@asynccontextmanager
async def crowd(host: str, again: Callable[[], Any]) -> AsyncIterator[Crowd]:
    """Nobody at first; all of them leave with the block."""
    made = Crowd(host, again)
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


def most_at_once(moments: Sequence[float], *, within: float) -> int:
    """The most of these moments that lie within so many seconds."""
    ordered = sorted(moments)
    most = start = 0
    for end, moment in enumerate(ordered):
        while moment - ordered[start] >= within:
            start += 1
        most = max(most, end - start + 1)
    return most
