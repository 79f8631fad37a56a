"""The start script with a real nginx: versions come in, bad ones don't, and no open socket notices."""

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from tests.support.backend import Backend
from tests.support.balancer_pod import SHELLS, BalancerPod, balancer_pod, connected, echo_route, load, opened, title
from tests.support.configurations import HOST
from tests.support.handshake import echo, handshake, held_socket
from tests.support.ports import free_ports
from tests.support.waiting import until, until_async
from wsroute.balancer.applier import Applied
from wsroute.balancer.control import Control
from wsroute.dataplane.acknowledgement import Failure

pytestmark = pytest.mark.nginx

GARBAGE = (
    b"\0\xff\xfe garbage\n",
    b"load ../../etc/passwd aaaaaaaaaaaa\n",
    b"load x ../../etc/pass\n",
    b"test $(touch${IFS}pwned) aaaaaaaaaaaa\n",
    b"load " + b"a" * 41 + b" aaaaaaaaaaaa\n",
    b"quit `id`\n",
    b"ended\nleave\nretry\n\n",
    b"x" * 4000 + b"\n",
)


async def answers(port: int) -> bool:
    """Whether a new handshake succeeds now."""
    try:
        return (await handshake(connected(port), host=HOST, path="/ws")).status == 101
    except (OSError, asyncio.IncompleteReadError):
        return False


async def until_it_answers(port: int, *, seconds: float, expected: bool = True) -> None:
    """Handshakes until one succeeds, or until one does not."""

    async def as_expected() -> bool:
        return await answers(port) == expected

    await until_async(as_expected, seconds=seconds, what=f"for answers: {expected}", pause=0.01)


async def kill_master(pod: BalancerPod, port: int, *, seconds: float) -> None:
    """kill -9, and wait until another master serves."""
    master = pod.master()
    os.kill(master, signal.SIGKILL)
    await until(lambda: pod.serves(after=master), seconds=seconds, what="for the next master")
    await until_it_answers(port, seconds=2)


async def test_it_starts_with_the_bootstrap_and_loads_a_version(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    assert await pod.applier.running() == ""
    version = await load(pod, port, backend)
    assert await pod.applier.running() == version
    assert await answers(port)
    assert (pod.run / "nginx.conf").readlink() == pod.conf / f"{version}.conf"
    assert pod.applier.nginx_version().count(".") == 2
    assert oct((pod.run / "control").stat().st_mode & 0o777) == "0o620"


async def test_a_version_that_fails_its_test_goes_nowhere(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    version = await load(pod, port, backend)
    workers = pod.accepting()
    pod.applier.stage("bad0bad0bad0", "events {}\nhttp { server { listen 1; no_such_thing on; } }\n")
    refused = await pod.applier.apply("bad0bad0bad0")
    assert isinstance(refused, Failure)
    assert refused.phase == "test"
    assert 'unknown directive "no_such_thing"' in refused.message
    assert pod.accepting() == workers
    assert await pod.applier.running() == version


async def test_a_version_that_fails_only_at_load_is_taken_back(pod: BalancerPod, backend: Backend) -> None:
    [port, taken] = free_ports(2)
    version = await load(pod, port, backend)
    workers = pod.accepting()
    async with opened(port) as client:
        with socket.create_server(("0.0.0.0", taken)):
            bad = pod.stage(echo_route(taken, backend.endpoint())).version
            refused = await pod.applier.apply(bad)
        assert isinstance(refused, Failure)
        assert refused.phase == "load"
        assert f"bind() to 0.0.0.0:{taken} failed" in refused.message
        assert pod.accepting() == workers
        assert await pod.applier.running() == version
        assert (pod.run / "nginx.conf").readlink() == pod.conf / f"{version}.conf"
        await echo(client, "still here")
        await load(pod, port, backend, 1)


async def test_a_killed_master_is_replaced_and_its_sockets_live_on(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    version = await load(pod, port, backend)
    async with opened(port) as client:
        [worker] = pod.accepting()
        await kill_master(pod, port, seconds=2)
        await until(lambda: "shutting down" in title(worker), what="for the old worker to drain")
        assert await pod.applier.running() == version
        await echo(client, "through the worker of the dead master")
        await load(pod, port, backend, 1)
        await echo(client, "still")
    await until(lambda: not title(worker), what="for the end of the old worker")


async def test_a_master_that_dies_again_and_again_is_replaced_each_time(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    for _ in range(3):
        await kill_master(pod, port, seconds=4)


async def test_a_killed_controller_is_replaced_and_sockets_live_on(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with opened(port) as client:
        controller, master = pod.controller(), pod.master()
        os.kill(controller, signal.SIGKILL)
        await until(lambda: pod.serves(after=master), what="for the next master")
        await echo(client, "still here")
        await load(pod, port, backend, 1)
        await until_it_answers(port, seconds=2)
        await echo(client, "and still")


async def test_sockets_from_before_each_of_five_loads_echo(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    clients: list[ClientConnection] = []
    try:
        for number in range(1, 6):
            clients.append(await held_socket(connected(port), host=HOST, path="/ws"))
            await load(pod, port, backend, number)
            for client in clients:
                await echo(client, f"message {number}")
        assert len(pod.accepting()) == 1
        assert len(pod.draining()) == 5
    finally:
        for client in clients:
            await client.close()
    await until(lambda: not pod.draining(), what="for the old workers to end")


async def test_loads_without_sockets_leave_no_workers_behind(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    for number in range(8):
        version = pod.stage(
            echo_route(port, backend.endpoint(), idle_timeout=1000 * (number + 1), worker_processes=2)
        ).version
        assert isinstance(await pod.applier.apply(version), Applied)
    # A load is over once one of the new workers works.
    await until(lambda: not pod.draining() and len(pod.accepting()) == 2, what="for the old workers to end")


async def test_loads_lose_no_handshake(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    done = asyncio.Event()
    statuses: list[int] = []

    async def probe() -> None:
        while not done.is_set():
            statuses.append((await handshake(connected(port), host=HOST, path="/ws")).status)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(probe())
        for number in range(1, 6):
            await load(pod, port, backend, number)
        done.set()
    assert set(statuses) == {101}
    assert len(statuses) > 5


@pytest.mark.parametrize("shell", [*SHELLS, ("bash", "--posix")], ids=lambda shell: Path(shell[0]).name)
async def test_sigterm_serves_until_the_next_one_and_then_waits_for_sockets(
    shell: tuple[str, ...], backend: Backend
) -> None:
    """Or until the delay is over: ``test_nothing_new_comes_in_once_the_delay_is_over``."""
    [port] = free_ports(1)
    with balancer_pod(shell=shell, delay="60") as pod:
        await load(pod, port, backend)
        async with opened(port) as client:
            pod.process.send_signal(signal.SIGTERM)
            await until(lambda: "told to end" in pod.words(), what="for the script to hear it")
            assert await answers(port)
            await load(pod, port, backend, 1)
            pod.process.send_signal(signal.SIGTERM)
            await until_it_answers(port, seconds=10, expected=False)
            await echo(client, "after the listeners were closed")
            assert pod.process.poll() is None
        assert await pod.ended() == 0


async def test_further_signals_hurry(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with opened(port) as client:
        master = pod.master()
        [worker] = pod.accepting()
        pod.process.send_signal(signal.SIGINT)
        await until(lambda: "shutting down" in title(worker), what="for the worker to drain")
        await echo(client, "the socket lives")
        pod.process.send_signal(signal.SIGTERM)
        assert await pod.ended() == 0
        assert not title(master)


async def test_quit_waits_for_the_workers_of_a_dead_master(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with opened(port) as client:
        await kill_master(pod, port, seconds=2)
        pod.say(b"quit now\n")
        await until((pod.run / "results" / "now").exists, what="for the answer")
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(pod.process.wait, 1)
        await echo(client, "still here")
    assert await pod.ended() == 0


async def test_quit_waits_for_those_workers_when_the_controller_has_died_since(
    pod: BalancerPod, backend: Backend
) -> None:
    """The end of the script ends the container, and with it every socket."""
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with opened(port) as client:
        await kill_master(pod, port, seconds=2)
        master = pod.master()
        os.kill(pod.controller(), signal.SIGKILL)
        await until(lambda: pod.serves(after=master), what="for the next master")
        pod.say(b"quit now\n")
        await until((pod.run / "results" / "now").exists, what="for the answer")
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(pod.process.wait, 1)
        await echo(client, "still here")
    assert await pod.ended() == 0


async def test_a_restarted_script_serves_the_last_version_by_itself(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    version = await load(pod, port, backend)
    pod.process.send_signal(signal.SIGTERM)
    assert await pod.ended() == 0
    (pod.run / "admin.sock").touch()
    pod.start()
    await until_it_answers(port, seconds=5)
    assert await pod.applier.running() == version


async def test_a_script_that_was_killed_is_replaced_and_sockets_live_on(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    master = pod.master()
    async with opened(port) as client:
        pod.process.kill()
        pod.process.wait()
        pod.start()
        await until(lambda: pod.serves(after=master), what="for the next master")
        await until_it_answers(port, seconds=2)
        await echo(client, "from before")
        await load(pod, port, backend, 1)


async def test_a_port_that_is_in_use_at_the_start_is_waited_for(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    pod.process.send_signal(signal.SIGTERM)
    assert await pod.ended() == 0
    with socket.create_server(("0.0.0.0", port)):
        pod.start()
        await until(lambda: "nginx does not start" in pod.words(), what="for nginx to give up")
        assert "bind() to" in pod.words()
    await until_it_answers(port, seconds=10)


async def test_garbage_in_the_fifo_changes_nothing(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    version = await load(pod, port, backend)
    master = pod.master()
    before = {path.name for path in (pod.run / "results").iterdir()}
    for line in GARBAGE:
        pod.say(line)
    pod.say(b"test last-one " + version.encode() + b"\n")
    await until((pod.run / "results" / "last-one").exists, what="for the script to get there")
    assert {path.name for path in (pod.run / "results").iterdir()} <= before | {"last-one"}
    assert not pod.files("pwned")
    assert pod.master() == master
    assert await pod.applier.running() == version
    await load(pod, port, backend, 1)


async def test_answers_do_not_pile_up(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    version = await load(pod, port, backend)
    for number in range(8):
        pod.say(f"test number-{number} {version}\n".encode())
    await until((pod.run / "results" / "number-7").exists, what="for the last answer")
    await until(lambda: len(list((pod.run / "results").iterdir())) <= 3, what="for old answers to go")


async def test_a_version_without_a_file_is_refused_and_nginx_goes_on(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    version = await load(pod, port, backend)
    pod.say(b"load missing 0123456789ab\n")
    await until((pod.run / "results" / "missing").exists, what="for the answer")
    assert (pod.run / "results" / "missing").read_text().startswith("failed\nThere is no file ")
    assert await pod.applier.running() == version


# --- what nginx has left of its table ---

ZONE = "    js_shared_dict_zone  zone=wsroute_table:1m state={state};\n"
ENTRY = '"key{number:06}":{{"value":"{value}"}}'


def with_table(pod: BalancerPod, backend: Backend, port: int) -> str:
    """Stage a version whose nginx reads the state file of a dictionary."""
    rendered = pod.render(echo_route(port, backend.endpoint(), idle_timeout=7_000))
    zone = ZONE.format(state=pod.run / "table.json")
    pod.applier.stage(rendered.version, rendered.text.replace("\nhttp {\n", f"\nhttp {{\n{zone}", 1))
    return rendered.version


def left(count: int, *, width: int = 10) -> str:
    """A state file with so many entries."""
    entries = (ENTRY.format(number=number, value="v" * width) for number in range(count))
    return "{" + ",".join(entries) + "}"


async def restart_with(pod: BalancerPod, backend: Backend, state: bytes, *, port: int) -> None:
    """Load a version with a dictionary, and start anew with this state file."""
    version = with_table(pod, backend, port)
    assert isinstance(await pod.applier.apply(version), Applied)
    pod.process.send_signal(signal.SIGTERM)
    assert await pod.ended() == 0
    (pod.run / "table.json").write_bytes(state)
    pod.start()
    await until_it_answers(port, seconds=5)
    assert await pod.applier.running() == version


async def test_what_is_left_of_a_table_stays(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    state = left(100).encode()
    await restart_with(pod, backend, state, port=port)
    assert (pod.run / "table.json").read_bytes() == state
    assert "dropped" not in pod.words()


@pytest.mark.parametrize(
    ("state", "why"),
    [
        pytest.param(left(100).encode()[:-40], "its end is missing", id="truncated"),
        pytest.param(b"\0" * 4096, "its end is missing", id="zeroes, as after a crash of the machine"),
        pytest.param(left(10_000, width=200).encode(), "its zone 1 MiB", id="larger than the zone"),
        pytest.param(left(9_000, width=80).encode(), "ended without a word", id="it fits only as a file"),
        pytest.param(left(100).encode().replace(b'"value"', b'"other', 1), "state file", id="damaged inside"),
    ],
)
async def test_a_state_that_would_keep_nginx_from_starting_is_dropped(
    pod: BalancerPod, backend: Backend, state: bytes, why: str
) -> None:
    [port] = free_ports(1)
    await restart_with(pod, backend, state, port=port)
    assert not (pod.run / "table.json").exists()
    [line] = [line for line in pod.words().splitlines() if "what was left of the table was dropped" in line]
    assert why in line
    assert "nginx does not start" not in pod.words()


async def test_a_test_does_not_fail_for_a_truncated_state(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    (pod.run / "table.json").write_bytes(left(100).encode()[:-1])
    assert (await Control(pod.run).test(with_table(pod, backend, port))).ok


async def test_a_port_in_use_costs_no_state(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    version = with_table(pod, backend, port)
    assert isinstance(await pod.applier.apply(version), Applied)
    pod.process.send_signal(signal.SIGTERM)
    assert await pod.ended() == 0
    (pod.run / "table.json").write_text(left(100))
    with socket.create_server(("0.0.0.0", port)):
        pod.start()
        await until(lambda: "nginx does not start" in pod.words(), what="for nginx to give up")
    await until_it_answers(port, seconds=10)
    assert (pod.run / "table.json").read_text() == left(100)
