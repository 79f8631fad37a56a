"""The one room: who is here, and the last messages. It lives in this process's memory and ends with it."""

import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from websockets.asyncio.server import ServerConnection, broadcast

from . import messages

HISTORY_LENGTH = 50


class Room:
    """Passes what one client says to all of them.

    Everything is written with ``broadcast``, which never waits: one client that reads slowly can't hold up the others,
    and the server's pings end it when it stops answering.
    """

    def __init__(self, *, pod: str) -> None:
        self._pod = pod
        self._here: set[ServerConnection] = set()
        self._history: deque[messages.Message] = deque(maxlen=HISTORY_LENGTH)

    def __len__(self) -> int:
        return len(self._here)

    @asynccontextmanager
    async def joined(self, connection: ServerConnection, *, balancer: str) -> AsyncIterator[None]:
        """Hold a place in the room: the client is greeted, and everybody learns of its coming and going.

        ``balancer`` is the pod of the balancer that it came through.
        """
        # No await between the greeting and the place in the set: the client misses nothing and sees nothing twice.
        greeting = messages.hello(
            pod=self._pod,
            balancer=balancer,
            you=connection.id.hex,
            people=len(self._here) + 1,
            history=self._history,
        )
        broadcast([connection], greeting)
        broadcast(self._here, messages.people(len(self._here) + 1))
        self._here.add(connection)
        try:
            yield
        finally:
            self._here.discard(connection)
            broadcast(self._here, messages.people(len(self._here)))

    def take(self, raw: str | bytes, *, sender: ServerConnection) -> None:
        """Pass one frame on, or tell its sender alone why not."""
        try:
            said = messages.parse_said(raw)
        except messages.BadMessageError as problem:
            broadcast([sender], messages.error(str(problem)))
            return
        item = messages.Message(
            id=uuid.uuid4().hex,
            sender=sender.id.hex,
            said=said,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            pod=self._pod,
        )
        self._history.append(item)
        broadcast(self._here, messages.message(item))
