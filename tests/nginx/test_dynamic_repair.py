"""What workers held that are gone is taken back, and nothing of those that are there."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nginx.test_dynamic_counts import altered
from tests.support.nginx_runner import Nginx
from tests.support.ports import free_ports
from tests.support.stored import Stored, with_stored
from tests.support.waiting import wait_until
from wsroute.nginx.shell import OPEN_PARTS

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]

ENDPOINT = "10.0.0.1:80"
ROUTE = "team-a/chat"
LIST = "1 127.0.0.1 10.0.0.1:80 team-a/chat"
DICTIONARIES = ("wsroute_sockets", "wsroute_routes", *(f"wsroute_open_{part}" for part in range(OPEN_PARTS)))


def start_of(pid: int) -> str:
    """When a process started, in the kernel's ticks: the 22nd word of proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split(" ")[19]


def held(*pids: str) -> dict[str, dict[str, int | str]]:
    """What is kept when each of these workers holds two sockets with an endpoint, and one is listed in each part."""
    found: dict[str, dict[str, int | str]] = {
        "wsroute_sockets": {f"p{pid} {ENDPOINT}": 2 for pid in pids},
        "wsroute_routes": {f"{pid} {ROUTE}": 2 for pid in pids},
    }
    if pids:
        found["wsroute_sockets"][f"t{ENDPOINT}"] = 2 * len(pids)
    return found | {f"wsroute_open_{part}": {f"{pid} {part}": LIST for pid in pids} for part in range(OPEN_PARTS)}


def kept(nginx: Nginx) -> dict[str, dict[str, int | str]]:
    return {name: Stored(nginx, name).items() for name in DICTIONARIES}


@pytest.fixture
def nginx() -> Iterator[Nginx]:
    """One without a socket of its own."""
    [port] = free_ports(1)
    with altered(with_stored, port=port) as running:
        yield running


def hold(nginx: Nginx, starts: dict[str, str], *others: str) -> None:
    """These processes hold sockets. The first ones are on record, by what tells when they started."""
    for name, items in held(*starts, *others).items():
        Stored(nginx, name).put(items)
    Stored(nginx, "wsroute_workers").put(starts)


def test_another_process_with_the_pid_of_a_worker_that_is_gone_holds_none_of_its_sockets(nginx: Nginx) -> None:
    lives, reused = str(os.getpid()), str(nginx.pid)
    hold(nginx, {lives: start_of(os.getpid()), reused: "1"})
    wait_until(lambda: kept(nginx) == held(lives), "what was held by the one that had the pid is taken back")
    assert Stored(nginx, "wsroute_workers").items() == {lives: start_of(os.getpid())}


def test_a_pid_that_begins_like_that_of_a_worker_that_is_gone_is_another_one(nginx: Nginx) -> None:
    longer = f"{nginx.pid}0"
    hold(nginx, {str(nginx.pid): "1"}, longer)
    wait_until(lambda: kept(nginx) == held(longer), "what was held by the one that is gone is taken back")


def test_a_worker_of_which_the_master_has_not_heard_that_it_ended_is_gone(nginx: Nginx) -> None:
    with subprocess.Popen(["true"]) as ended:
        stat = Path(f"/proc/{ended.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(") ")[2].startswith("Z"), "it has ended")
        hold(nginx, {str(ended.pid): start_of(ended.pid)})
        wait_until(lambda: kept(nginx) == held(), "what it held is taken back")
