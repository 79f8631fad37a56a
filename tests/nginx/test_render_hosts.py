"""A host in other letters is the same host: it reaches its owner, and nobody else can have it."""

import pytest

from tests.nginx.test_render_handshake import shake
from tests.support.backend import running_backend
from tests.support.configurations import configuration, location, proxy, server, upstream
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from wsroute.dataplane.ir import RouteRef

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]

OWNERS = {"a.example.com": "team-a", "*.example.org": "team-b", "xn--bcher-kva.example.com": "team-c"}


@pytest.mark.parametrize(
    ("asked", "owner"),
    [
        ("a.example.com", "team-a"),
        ("A.EXAMPLE.COM", "team-a"),
        ("a.example.com.", "team-a"),
        ("A.Example.Com.", "team-a"),
        ("A.Example.Com.:8080", "team-a"),
        ("x.example.org", "team-b"),
        ("X.EXAMPLE.ORG.", "team-b"),
        ("XN--BCHER-KVA.Example.com", "team-c"),
        ("a.example.com..", None),
        ("a..example.com", None),
        ("x.y.example.org", None),
        (".example.org", None),
        ("example.org", None),
    ],
)
async def test_a_request_reaches_the_owner_of_its_host(asked: str, owner: str | None) -> None:
    [port] = free_ports(1)
    async with running_backend() as one, running_backend() as two, running_backend() as three:
        backends = dict(zip(OWNERS.values(), (one, two, three), strict=True))
        several = configuration(
            port=port,
            upstreams=[upstream(backend.endpoint(), name=name) for name, backend in backends.items()],
            servers=[
                server(location(action=proxy(team), route=RouteRef(team, "chat")), host=host)
                for host, team in OWNERS.items()
            ],
        )
        with running_nginx(several):
            answer = await shake(port, host=asked)
            reached = [team for team, backend in backends.items() if backend.requests]
            assert reached == ([] if owner is None else [owner])
            assert answer.status == 101 if owner else answer.status in (400, 404)
