"""Operator, agent and njs of different releases beside one another, under open sockets: `tests/wire` holds the earlier
ones."""

import json
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.nginx.test_agent_tables import Dynamic, live, probing, to
from tests.support.backend import Backend
from tests.support.balancer_pod import BalancerPod, balancer_pod, opened
from tests.support.configurations import configuration
from tests.support.dynamic import shell_of
from tests.support.handshake import echo
from tests.support.nginx_runner import Nginx, running_file
from tests.support.ports import free_ports
from tests.support.published import running_agent
from tests.unit.test_wire import WIRE, frozen
from wsroute.dataplane import names
from wsroute.dataplane.dictionary import entries, mark
from wsroute.nginx.script import SCRIPT

pytestmark = pytest.mark.nginx

EARLIER = "9ea1b74e5fc2"
EARLIER_SCRIPT = "wsroute-601e54fd1121.js"


def test_an_earlier_agent_s_requests_are_understood() -> None:
    [port] = free_ports(1)
    with running_file(shell_of(configuration(port=port))) as nginx:
        for number, request in enumerate(frozen("format_1/requests.json")):
            check(nginx, number, request)


def check(nginx: Nginx, number: int, request: dict[str, Any]) -> None:
    """It is answered as it was."""
    body = json.dumps(request["body"]) if request["method"] == "POST" else None
    status, answer = nginx.ask_admin(request["path"], body=body)
    assert status == request["status"], f"request {number}, {request['path']}: {status} {answer}"
    says = request.get("says", {})
    assert says.items() <= (json.loads(answer) if says else {}).items(), f"request {number}: {answer}"


class Earlier(Dynamic):
    """An operator that is followed by a later one, and comes back."""

    def earlier_shell(self) -> str:
        """Put an earlier operator's file in force, with its njs module, for the folders and ports of this pod."""
        text = (WIRE / "format_1" / "nginx.conf").read_text(encoding="utf-8")
        [readiness] = free_ports(1)
        for was, now in (
            ("/etc/wsroute/", f"{self._pod.conf}/"),
            ("/run/wsroute/", f"{self._pod.run}/"),
            ("listen      8081;", f"listen      127.0.0.1:{readiness};"),
        ):
            assert was in text
            text = text.replace(was, now)
        # The listener's port stands in its socket, and as a key of maps.
        text = re.sub(r"(?m)^( +(?:listen +)?)8080( )", rf"\g<1>{self.port}\g<2>", text)
        script = (WIRE / "format_1" / EARLIER_SCRIPT).read_text(encoding="utf-8")
        self.publish(names.ROLE_NGINX, EARLIER, text, scripts={EARLIER_SCRIPT: script})
        return EARLIER


@pytest.fixture
def pod() -> Iterator[BalancerPod]:
    with balancer_pod() as started:
        (started.conf / SCRIPT.name).unlink()  # the agent brings it
        yield started


async def test_an_upgrade_of_the_operator_and_the_way_back_keep_sockets_and_table(
    pod: BalancerPod, backend: Backend, other: Backend
) -> None:
    [port] = free_ports(1)
    cluster = Earlier(pod, port)
    one, two = to(backend), to(*sorted((backend, other), key=lambda each: each.port))
    async with running_agent(pod, cluster), AsyncExitStack() as exits:
        cluster.table(one)
        await cluster.until_acknowledged(cluster.earlier_shell())
        await cluster.until_pushed(one)
        held = [await exits.enter_async_context(opened(port))]
        async with probing(port) as answers:
            for table, load in ((two, cluster.shell), (one, cluster.earlier_shell), (two, cluster.shell)):
                version = load()
                await cluster.until_acknowledged(version)
                assert await live(pod), "the table outlives the reload"
                held.append(await exits.enter_async_context(opened(port)))
                # What was said before goes on, and what changes then is there at once, whoever's njs looks it up.
                cluster.table(table)
                await cluster.until_pushed(table)
                assert await live(pod) == mark(entries(table))
                for number, connection in enumerate(held):
                    await echo(connection, f"socket {number} under version {version}")
        assert set(answers) == {101}
        assert len(held) == 4
