"""What is told of nginx's counts where they are not as they mostly are."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.nginx.test_dynamic_choice import counted
from tests.nginx.test_dynamic_counts import altered
from tests.nginx.test_render_handshake import get
from tests.support.hop import answer_to, question
from tests.support.nginx_runner import Nginx
from tests.support.ports import free_ports
from tests.support.stored import Stored, with_stored
from tests.support.tables import table

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]


@pytest.fixture
def nginx() -> Iterator[Nginx]:
    """One that has served nothing."""
    [port] = free_ports(1)
    with altered(with_stored, port=port) as running:
        yield running


def test_an_endpoint_has_no_fewer_sockets_than_none(nginx: Nginx) -> None:
    """It may seem to have, while a worker is between two steps."""
    Stored(nginx, "wsroute_sockets").put({"t10.0.0.1:80": -1, "t10.0.0.2:80": 0, "t10.0.0.3:80": 2})
    assert counted(nginx) == {"10.0.0.3:80": 2}
    asked = json.dumps([f"10.0.0.{number}:80" for number in range(1, 5)])
    assert nginx.ask_admin("/table/sockets", body=asked) == (200, "[0,0,2,0]\n")


def test_no_route_has_fewer_sockets_for_what_a_worker_has_too_few(nginx: Nginx) -> None:
    Stored(nginx, "wsroute_routes").put({"1 team-a/chat": -1, "2 team-a/chat": 2, "3 team-a/chat": 1})
    assert json.loads(nginx.ask_admin("/table/counts")[1])["open"] == {"team-a/chat": 3}


def test_an_endpoint_whose_time_is_over_is_set_aside_no_more(nginx: Nginx) -> None:
    Stored(nginx, "wsroute_ejected").put({"10.0.0.1:80": "1000 3", "10.0.0.2:80": f"{10**15} 1"})
    assert json.loads(nginx.ask_admin("/table/counts")[1])["ejected"] == 1


def test_keys_that_nginx_has_forgotten_make_room_for_others(nginx: Nginx) -> None:
    requests = {"forwarded team-a/chat": 7, "origin team-a/chat": 1, "forwarded team-b/chat": 1}
    together = {"no-route ": 5, "forwarded other": 3}
    stored = Stored(nginx, "wsroute_counts")
    stored.put(requests | together | {"#": 99, "#team-a": 40, "#team-c": 50})
    assert json.loads(nginx.ask_admin("/table/counts")[1])["requests"] == requests | together
    assert stored.items() == requests | together | {"#": 3, "#team-a": 2, "#team-b": 1, "#team-c": 0}


async def test_what_no_route_is_for_takes_one_key() -> None:
    [port] = free_ports(1)
    with altered(with_stored, port=port) as nginx:
        nginx.pusher.push(table())
        for path in ("/nowhere", "/nobody"):
            assert (await get(port, path)).status == 404
        assert Stored(nginx, "wsroute_counts").items() == {"no-route ": 2}


@pytest.mark.parametrize(("failures", "pause"), [(0, 1_000), (1, 2_000), (3, 8_000), (9, 30_000)])
async def test_an_endpoint_is_set_aside_for_longer_with_each_failure_up_to_half_a_minute(
    nginx: Nginx, failures: int, pause: int
) -> None:
    ejected = Stored(nginx, "wsroute_ejected")
    nginx.pusher.push(table())
    ejected.put({"10.0.0.1:80": f"0 {failures}"})
    before = int(time.time() * 1_000)
    await answer_to(nginx, question(*nginx.workers(), failed="1|team-a/chat|10.0.0.1:80|1|502|-"))
    after = int(time.time() * 1_000)
    until, number = str(ejected.items()["10.0.0.1:80"]).split(" ")
    assert int(number) == failures + 1
    assert before + pause <= int(until) <= after + pause + 1


async def test_an_endpoint_that_took_the_connection_is_not_set_aside(nginx: Nginx) -> None:
    nginx.pusher.push(table())
    asked = question(*nginx.workers(), failed="1|team-a/chat|10.0.0.1:8080|1|504|0.001")
    assert "X-Accel-Redirect: @wsroute_504\r\n" in await answer_to(nginx, asked)
    assert Stored(nginx, "wsroute_ejected").items() == {}
    assert Stored(nginx, "wsroute_counts").items() == {"backend-timeout team-a/chat": 1, "#": 1, "#team-a": 1}
