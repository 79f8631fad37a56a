"""Clients that hold a WebSocket for as long as they can, talk over it by numbers, and never connect again."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

LAST_ANSWERS: Final = 10.0
"""Seconds for the answers to the last messages."""


@dataclass(slots=True)
class Talker:
    """``sent`` numbers went out, and ``next`` is the one whose echo must come next. ``lost`` says how the socket ended
    before we ended it."""

    connection: ClientConnection
    sent: int = 0
    next: int = 1
    missing: int = 0
    doubled: int = 0
    lost: str = ""
    lost_at: float = 0.0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, *, every: float, first: float) -> None:
        """Begin to talk, after ``first`` seconds."""
        self.tasks = [asyncio.create_task(self._send(every, first)), asyncio.create_task(self._receive())]

    async def stop(self) -> None:
        """Say no more, wait for the last echoes, and hang up."""
        sending, receiving = self.tasks
        sending.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_ANSWERS):
                while not self.lost and self.next <= self.sent:  # noqa: ASYNC110 (bounded, and a benchmark's)
                    await asyncio.sleep(0.01)
        receiving.cancel()
        self.missing += self.sent + 1 - self.next
        await self.connection.close()

    async def _send(self, every: float, first: float) -> None:
        await asyncio.sleep(first)
        with suppress(ConnectionClosed):
            while True:
                self.sent += 1
                await self.connection.send(str(self.sent))
                await asyncio.sleep(every)

    async def _receive(self) -> None:
        try:
            while True:
                number = int(await self.connection.recv())
                if number < self.next:
                    self.doubled += 1
                else:
                    self.missing += number - self.next
                    self.next = number + 1
        except ConnectionClosed as closed:
            self.lost = f"code {closed.rcvd.code if closed.rcvd else 1006}"
            self.lost_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of all of them. ``how`` counts the ends of those that were lost."""

    sockets: int
    messages: int
    lost: int
    missing: int
    doubled: int
    how: Counter[str]


def tally(talkers: Iterable[Talker]) -> Tally:
    """Add them up. Messages under way when a socket was lost are missing."""
    them = list(talkers)
    ends = Counter(talker.lost for talker in them if talker.lost)
    return Tally(
        sockets=len(them),
        messages=sum(talker.sent for talker in them),
        lost=ends.total(),
        missing=sum(talker.missing for talker in them),
        doubled=sum(talker.doubled for talker in them),
        how=ends,
    )
