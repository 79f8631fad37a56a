"""A request that is refused is refused at once, whatever body it announces."""

from collections.abc import Mapping
from typing import NamedTuple

import pytest

from tests.nginx.test_render_handshake import shake
from tests.support.backend import running_backend
from tests.support.configurations import HOST, configuration, location, proxy, server, upstream
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from wsroute.dataplane.ir import RefusalReason, Refuse

pytestmark = pytest.mark.nginx

FRAMINGS = ({"Content-Length": "900000"}, {"Transfer-Encoding": "chunked"})
PLAIN = {"Upgrade": None, "Connection": None}
EVIL = {"Origin": "https://evil.test"}
# What only nginx says to itself.
FORGED = {"X-WSRoute-Handshake": "sound", "X-WSRoute-Failed": "1|a|b||502|-", "X-WSRoute-Asked": "short"}


class Refused(NamedTuple):
    """A request, and what it gets."""

    status: int
    reason: str
    path: str = "/ws"
    method: str = "GET"
    host: str = HOST
    headers: Mapping[str, str | None] = {}


EVERYWHERE = (
    Refused(404, "no-route", "/nowhere"),
    Refused(404, "no-route", host="nobody.test"),
    Refused(503, "route-invalid", "/invalid"),
    Refused(426, "upgrade-required", method="POST", headers=PLAIN),
    Refused(426, "upgrade-required", headers={"Sec-WebSocket-Version": "8"}),
    Refused(400, "bad-handshake", method="POST"),
    Refused(403, "origin", headers=EVIL),
)
WHERE_BOTH_ARE_TAKEN = (
    Refused(400, "bad-handshake", "/both", method="POST"),
    Refused(403, "origin", "/both", headers=EVIL),
    Refused(503, "route-invalid", "/invalid", method="POST", headers=PLAIN),
)


async def compare(asked: Refused, framing: Mapping[str, str]) -> None:
    """No body follows, and none is waited for: nginx would give up after 30 s, and answer 408."""
    [port] = free_ports(1)
    async with running_backend() as backend:
        paths = [
            location("/both", proxy(websocket_only=False)),
            location("/invalid", Refuse(RefusalReason.ROUTE_INVALID)),
            location("/ws"),
        ]
        given = configuration(port=port, upstreams=[upstream(backend.endpoint())], servers=[server(*paths)])
        with running_nginx(given) as nginx:
            headers = {**asked.headers, **FORGED, **framing}
            answer = await shake(port, asked.path, headers, host=asked.host, method=asked.method)
            assert (answer.status, answer.reason) == (asked.status, asked.reason)
            line = await nginx.log_line(1)
            assert (line["status"], line["reason"]) == (str(asked.status), asked.reason)
            assert line["origin"] == (asked.headers.get("Origin") or "")
            assert nginx.error_log() == ""


@pytest.mark.parametrize("framing", FRAMINGS, ids="".join)
@pytest.mark.parametrize("asked", EVERYWHERE, ids=lambda asked: asked.reason)
@pytest.mark.usefixtures("data_plane")
async def test_a_refusal_does_not_wait_for_the_body(asked: Refused, framing: Mapping[str, str]) -> None:
    await compare(asked, framing)


@pytest.mark.parametrize("framing", FRAMINGS, ids="".join)
@pytest.mark.parametrize("asked", WHERE_BOTH_ARE_TAKEN, ids=lambda asked: asked.reason)
@pytest.mark.usefixtures("dynamic")
async def test_nor_where_plain_requests_are_taken_too(asked: Refused, framing: Mapping[str, str]) -> None:
    """Static reads a body there before it asks anybody, itself included: it may have to go to two endpoints."""
    await compare(asked, framing)
