"""The chat's server, spoken to as a browser and a prober would: over real sockets on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from examples.chat.app.room import HISTORY_LENGTH
from examples.chat.app.server import FRAME_BYTES, chat_server

WITHIN = 60.0


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Host and port of a chat that runs in this process."""
    async with chat_server(host="127.0.0.1", port=0, pod="chat-0") as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def receive(socket: ClientConnection) -> dict[str, Any]:
    """The next message, in time."""
    content = json.loads(await asyncio.wait_for(socket.recv(), WITHIN))
    assert isinstance(content, dict)
    return content


async def say(socket: ClientConnection, text: str, *, name: str = "Ada") -> None:
    await socket.send(json.dumps({"from": name, "text": text}))


async def get(address: str, path: str, *, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """One plain HTTP request: status, headers in small letters, body."""

    def fetch() -> tuple[int, dict[str, str], bytes]:
        try:
            with urlopen(Request(f"http://{address}{path}", method=method), timeout=WITHIN) as answer:
                return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
        except HTTPError as refused:
            with refused:
                return refused.code, {name.lower(): value for name, value in refused.headers.items()}, refused.read()

    return await asyncio.to_thread(fetch)


async def test_a_client_learns_through_which_pod_of_the_balancer_it_came(address: str) -> None:
    async with connect(f"ws://{address}/ws", additional_headers={"X-WSRoute-Pod": "shared-0"}) as ada:
        assert (await receive(ada))["balancer"] == "shared-0"
    async with connect(f"ws://{address}/ws") as ada:
        assert (await receive(ada))["balancer"] == ""


async def test_what_one_says_everybody_hears(address: str) -> None:
    async with connect(f"ws://{address}/ws") as ada, connect(f"ws://{address}/any/prefix/ws?x=1") as grace:
        hello = await receive(ada)
        assert (hello["type"], hello["pod"], hello["people"], hello["history"]) == ("hello", "chat-0", 1, [])
        assert (await receive(grace))["people"] == 2
        assert await receive(ada) == {"type": "people", "people": 2}
        await say(ada, "good <b>morning</b>")
        heard = await receive(grace)
        assert heard == await receive(ada)
        assert {key: heard[key] for key in ("type", "from", "text", "pod", "sender")} == {
            "type": "message",
            "from": "Ada",
            "text": "good <b>morning</b>",
            "pod": "chat-0",
            "sender": hello["you"],
        }
        assert heard["at"].endswith("+00:00")
        await grace.close()
        assert await receive(ada) == {"type": "people", "people": 1}


async def test_a_bad_message_is_told_to_its_sender_alone(address: str) -> None:
    async with connect(f"ws://{address}/ws") as ada, connect(f"ws://{address}/ws") as grace:
        for expected in ("hello", "people"):
            assert (await receive(ada))["type"] == expected
        assert (await receive(grace))["type"] == "hello"
        for bad in ("no json", b"\x00", json.dumps({"from": "Ada", "text": "x" * 5000})):
            await ada.send(bad)
            assert (await receive(ada))["type"] == "error"
        await say(ada, "still here")
        assert (await receive(ada))["text"] == "still here"
        assert (await receive(grace))["text"] == "still here"


async def test_a_frame_beyond_all_bounds_ends_its_socket_alone(address: str) -> None:
    async with connect(f"ws://{address}/ws") as ada, connect(f"ws://{address}/ws") as grace:
        assert (await receive(grace))["type"] == "hello"
        await ada.send("x" * (FRAME_BYTES + 1))
        await asyncio.wait_for(ada.wait_closed(), WITHIN)
        assert ada.close_code == 1009
        assert await receive(grace) == {"type": "people", "people": 1}


async def test_the_history_is_bounded_and_in_order(address: str) -> None:
    async with connect(f"ws://{address}/ws") as ada:
        await receive(ada)
        for number in range(HISTORY_LENGTH + 7):
            await say(ada, str(number))
            await receive(ada)
        async with connect(f"ws://{address}/ws") as grace:
            history = (await receive(grace))["history"]
    assert [item["text"] for item in history] == [str(number) for number in range(7, HISTORY_LENGTH + 7)]


async def test_echo_is_verbatim(address: str) -> None:
    async with connect(f"ws://{address}/p/echo") as socket:
        assert socket.response is not None
        assert socket.response.headers["X-Chat-Pod"] == "chat-0"
        for message in ("1", "not json {", b"\x00\xff", "", "é" * 1000):
            await socket.send(message)
            assert await asyncio.wait_for(socket.recv(), WITHIN) == message


async def test_whoami_counts_the_sockets_of_each_kind(address: str) -> None:
    async with connect(f"ws://{address}/ws") as chat, connect(f"ws://{address}/echo") as echo:
        await receive(chat)
        await echo.send("1")
        await echo.recv()
        status, headers, body = await get(address, "/team/whoami")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert json.loads(body) == {"pod": "chat-0", "connections": {"chat": 1, "echo": 1}}


@pytest.mark.parametrize("path", ["/", "/chat", "/chat/", "/a/b?c=d"])
async def test_the_page_comes_whole_at_any_path(address: str, path: str) -> None:
    status, headers, body = await get(address, path)
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-length"] == str(len(body))
    assert headers["x-chat-pod"] == "chat-0"
    assert "unsafe" not in headers["content-security-policy"]
    text = body.decode()
    assert "/* chat.css */" not in text
    assert "/* chat.js */" not in text
    assert text.rstrip().endswith("</html>")
    assert "innerHTML" not in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/favicon.ico", 404),
        ("HEAD", "/", 200),
        ("DELETE", "/", 405),
        ("GET", "/ws", 426),
        ("GET", "/echo", 426),
    ],
)
async def test_plain_answers(address: str, method: str, path: str, status: int) -> None:
    got, headers, body = await get(address, path, method=method)
    assert got == status
    assert headers["x-chat-pod"] == "chat-0"
    assert (body == b"") == (method == "HEAD")


async def test_a_handshake_on_a_page_is_no_socket(address: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"ws://{address}/"):
            pass
    assert caught.value.response.status_code == 200
