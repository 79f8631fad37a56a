"""Every refusal says why, and an endpoint's own answers are never taken for ours."""

import pytest

from tests.nginx.test_render_handshake import get, served, shake
from tests.support.backend import response, running_backend, silent_backend
from tests.support.configurations import configuration, location, proxy, server, upstream
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from wsroute.dataplane.ir import Endpoint, RefusalReason, Refuse

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]


@pytest.mark.parametrize("reason", list(RefusalReason))
async def test_a_refusing_location_says_why_and_when_to_come_back(reason: RefusalReason) -> None:
    [port] = free_ports(1)
    refusing = configuration(port=port, upstreams=[], servers=[server(location(action=Refuse(reason)))])
    with running_nginx(refusing) as nginx:
        waits = set()
        for path in ["/ws", "/ws/", "/ws/a"] * 12:
            answer = await shake(port, path)
            assert (answer.status, answer.reason) == (503, reason.value)
            waits.add(answer.headers["retry-after"])
        assert waits <= {"1", "2", "3", "4", "5"}
        assert len(waits) > 1
        assert (await get(port)).reason == reason.value
        assert (await nginx.log_line(1))["reason"] == reason.value
        assert (await nginx.log_line(1))["route"] == "team-a/chat"
        assert nginx.error_log() == ""


@pytest.mark.parametrize("endpoints", [1, 2, 3])
async def test_endpoints_that_refuse_are_502(endpoints: int) -> None:
    [port, *closed] = free_ports(1 + endpoints)
    refusing = configuration(
        port=port, upstreams=[upstream(*(Endpoint("127.0.0.1", dead, 1) for dead in sorted(closed)))]
    )
    with running_nginx(refusing) as nginx:
        for number in range(1, 5):  # the later ones find all endpoints set aside
            answer = await shake(port)
            assert (answer.status, answer.reason) == (502, "backend-refused")
            assert "retry-after" not in answer.headers
            assert (await nginx.log_line(number))["reason"] == "backend-refused"


@pytest.mark.parametrize("endpoints", [1, 2])
async def test_endpoints_that_do_not_answer_are_504(endpoints: int) -> None:
    [port] = free_ports(1)
    async with silent_backend() as one, silent_backend() as two:
        silent = configuration(
            port=port,
            upstreams=[upstream(*sorted([one, two][:endpoints]))],
            servers=[server(location(action=proxy(idle_timeout=150)))],
        )
        with running_nginx(silent) as nginx:
            answer = await shake(port)
            assert (answer.status, answer.reason) == (504, "backend-timeout")
            assert (await nginx.log_line(1))["reason"] == "backend-timeout"
            assert len((await nginx.log_line(1))["endpoint"].replace(" : ", ", ").split(", ")) == endpoints


@pytest.mark.parametrize("status", [404, 426, 502, 503, 504])
async def test_a_backends_own_refusal_is_not_ours(status: int) -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend)) as nginx:
            backend.answer = lambda _request: response(status)
            answer = await shake(port)
            assert (answer.status, answer.reason) == (status, "")
            assert (await nginx.log_line(1))["reason"] == ""
            assert len(backend.requests) == 1, "an answer is not tried again elsewhere"


async def test_one_dead_endpoint_of_two_is_not_noticed() -> None:
    [port, dead] = free_ports(2)
    async with running_backend() as backend:
        half = configuration(port=port, upstreams=[upstream(Endpoint("127.0.0.1", dead, 1), backend.endpoint())])
        with running_nginx(half):
            for _ in range(20):
                assert (await shake(port)).status == 101
            assert len(backend.requests) == 20
