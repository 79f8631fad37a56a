"""Clients that connect again leave no connection behind, however they end."""

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.support.rejoining import Crowd, crowd
from tests.support.waiting import until


class Server:
    """Closes the first socket; ``answer`` is what it sends back on all later ones, None for nothing."""

    def __init__(self, answer: str | None) -> None:
        self.asked = 0
        self._answer = answer
        self._sockets = 0

    def _serve(self, connection: ServerConnection) -> None:
        self._sockets += 1
        if self._sockets > 1:
            with suppress(ConnectionClosed):
                for _ in connection:
                    self.asked += 1
                    if self._answer is not None:
                        connection.send(self._answer)

    @contextmanager
    def listening(self) -> Iterator[tuple[str, int]]:
        """In a thread: what the clients leave open it closes only after their loop's end."""
        with serve(self._serve, "127.0.0.1", 0, ping_interval=None) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield server.socket.getsockname()
        thread.join()


async def rejoin(server: Server, address: tuple[str, int], failures: int) -> Crowd:
    """One client that is cut, comes back, and leaves when its first words have been in vain so often, or go out."""

    def connect() -> socket.socket:
        return socket.create_connection(address, timeout=5)

    async with crowd("chat.example.com", connect) as people:
        await people.join(connect, "a pod")
        await until(lambda: server.asked > failures, what="for it to come back")
    return people


@pytest.mark.parametrize(("answer", "failures"), [(None, 0), ("nonsense", 1)])
def test_no_connection_is_left_behind(answer: str | None, failures: int) -> None:
    server = Server(answer)
    with server.listening() as address:
        people = asyncio.run(rejoin(server, address, failures))
        [client] = people.clients
        assert client.absences == []
        assert len(client.failures) >= failures
        del people, client
        gc.collect()  # what is left of a connection complains here, and fails this test
