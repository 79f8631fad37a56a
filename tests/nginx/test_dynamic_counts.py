"""The counts of live sockets are exact, whatever several workers do at once, and take no room when they are 0."""

import asyncio
import json
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.nginx.test_dynamic_choice import answers, balanced, counted
from tests.nginx.test_render_handshake import connected, shake
from tests.support.backend import running_backend
from tests.support.configurations import HOST, configuration
from tests.support.dynamic import shell_of
from tests.support.handshake import held_socket
from tests.support.nginx_runner import Nginx, local_options, short_folder
from tests.support.ports import free_ports
from tests.support.tables import forward, host, record, table
from tests.support.waiting import until
from wsroute.dataplane.table import Address, EndpointGroup, Policy
from wsroute.nginx.render import render

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]

GROUP = "team-a/chat:8080"
PARTS = ("sockets", "report", "taking", "process", "register", "repair")
MODEL = r"""
// The functions that count, over a dictionary in which another worker gets a turn before any step of theirs.
const stored = {wsroute_sockets: {}, wsroute_workers: {}};
let turns = [];
let steps = 0;

function step() {
    steps++;
    if (turns.length > 0 && turns[0].before === steps) {
        const turn = turns.shift();
        const own = steps;
        steps = 0;
        turn.does();
        steps = own;
    }
}

function dictionary(name) {
    return {
        get: (key) => { step(); return stored[name][key]; },
        set: (key, value) => { step(); stored[name][key] = value; },
        incr: (key, number, first) => {
            step();
            stored[name][key] = (stored[name][key] === undefined ? first : stored[name][key]) + number;
            return stored[name][key];
        },
        pop: (key) => { step(); const value = stored[name][key]; delete stored[name][key]; return value; },
        delete: (key) => { step(); const was = stored[name][key] !== undefined; delete stored[name][key]; return was; },
        keys: () => { step(); return Object.keys(stored[name]); },
    };
}

const nobody = {keys: () => []};
const shared = {wsroute_routes: nobody};
for (let part = 0; part < 16; part++) {
    shared['wsroute_open_' + part] = nobody;
}
shared.wsroute_sockets = dictionary('wsroute_sockets');
shared.wsroute_workers = dictionary('wsroute_workers');
const ngx = {shared: shared};
const fs = {readFileSync: (name) => {
    if (name === '/proc/3/stat') {
        throw new Error('gone');
    }
    return '1 (nginx) S' + ' 0'.repeat(18) + ' 77';
}};
function registerWorker(pid) { register(pid); }

%s

const ENDPOINT = '10.0.0.1:80';
const DOES = {
    '+1': () => countSocket(1, ENDPOINT), '-1': () => uncountSocket(1, ENDPOINT),
    '+2': () => countSocket(2, ENDPOINT), '-2': () => uncountSocket(2, ENDPOINT),
    '+3': () => countSocket(3, ENDPOINT), '-3': () => uncountSocket(3, ENDPOINT),
    repair: repair,
};

// What is stored after `first`, in whose steps with these numbers the others come in between.
function after(run) {
    stored.wsroute_sockets = {};
    stored.wsroute_workers = {};
    turns = [];
    run.before.forEach((name) => DOES[name]());
    steps = 0;
    turns = run.between.map((each) => ({before: each[0], does: DOES[each[1]]}));
    DOES[run.first]();
    const missed = turns.length;
    turns = [];
    run.after.forEach((name) => DOES[name]());
    return {missed: missed, sockets: stored.wsroute_sockets};
}

function answer(r) {
    r.return(200, JSON.stringify(JSON.parse(r.requestText).map(after)));
}

export default {answer};
"""


@contextmanager
def altered(alter: Callable[[str, Path], str], *, port: int, workers: int = 1, **changes: Any) -> Iterator[Nginx]:
    """nginx with a configuration that ``alter`` makes of the usual one, in a folder that it may write to."""
    with short_folder() as folder:
        nginx = Nginx(folder, local_options())
        given = configuration(port=port, worker_processes=workers, worker_connections=4_096, **changes)
        shell = render(shell_of(given), nginx.paths, options=nginx.options)
        text = alter(shell.text, folder)
        assert text != shell.text
        try:
            nginx.start(text, shell.version)
            yield nginx
        finally:
            nginx.stop()


def with_model(text: str, folder: Path) -> str:
    """With a place on the admin socket that runs the functions over a dictionary of their own."""
    script = folder / "model.js"
    parts = [(files("wsroute.nginx") / "njs" / f"{name}.js").read_text(encoding="utf-8") for name in PARTS]
    script.write_text(MODEL % "\n".join(parts), encoding="utf-8")
    text = text.replace("location = /table ", "location = /model { js_content model.answer; }\nlocation = /table ")
    return re.sub(r"( *)js_import .*", rf"\g<0>\n\1js_import model from {script};", text, count=1)


def with_little_room(text: str, _folder: Path) -> str:
    """With room for the counts of some 150 endpoints."""
    return text.replace("zone=wsroute_sockets:16m", "zone=wsroute_sockets:64k")


@pytest.fixture(scope="module")
def model() -> Iterator[Nginx]:
    """nginx that runs the model."""
    with altered(with_model, port=free_ports(1)[0]) as nginx:
        yield nginx


def outcomes(nginx: Nginx, runs: list[dict[str, Any]]) -> list[dict[str, int] | None]:
    """What is counted after each run; None where not all of the others got a turn."""
    status, body = nginx.ask_admin("/model", body=json.dumps(runs))
    assert status == 200, nginx.error_log()
    return [None if told["missed"] else told["sockets"] for told in json.loads(body)]


def exact(run: dict[str, Any]) -> dict[str, int]:
    """What must be counted in the end; the worker 3 is gone and was looked for."""
    done = [*run["before"], run["first"], *(name for _, name in run["between"])]
    own = {worker: done.count(f"+{worker}") - done.count(f"-{worker}") for worker in "12"}
    found = {f"p{worker} 10.0.0.1:80": number for worker, number in own.items() if number}
    return found | ({"t10.0.0.1:80": sum(own.values())} if sum(own.values()) else {})


BEGINNINGS = (["+1"], ["+1", "+2"], ["+1", "+3"], ["+1", "+1", "+2", "+3"])
CHANGES = ("+1", "-1", "+2", "-2", "-3", "repair")


def possible(run: dict[str, Any]) -> bool:
    """Is no socket taken back before it was counted?"""
    done = [run["first"], *(name for _, name in run["between"])]
    return all(done.count(f"-{worker}") <= run["before"].count(f"+{worker}") for worker in "123")


def test_no_step_of_another_worker_makes_a_count_wrong_or_leaves_one_that_is_0(model: Nginx) -> None:
    """Two others come in between any steps, the second one perhaps between those of the first."""
    runs = [
        {"before": before, "first": first, "between": [[one, second], [two, third]], "after": ["repair"]}
        for before in BEGINNINGS
        for first in CHANGES
        for second in CHANGES
        for third in CHANGES
        for one in range(1, 9)
        for two in range(1, 9)
    ]
    runs = [run for run in runs if possible(run)]
    seen = 0
    for start in range(0, len(runs), 1_000):
        some = runs[start : start + 1_000]
        for run, found in zip(some, outcomes(model, some), strict=True):
            if found is not None:
                seen += 1
                assert found == exact(run), run
    assert seen > 2_000


def test_what_is_taken_back_of_a_worker_that_is_gone_is_taken_back_once(model: Nginx) -> None:
    run = {"before": ["+1", "+3", "repair"], "first": "-3", "between": [], "after": ["repair"]}
    assert outcomes(model, [run]) == [{"p1 10.0.0.1:80": 1, "t10.0.0.1:80": 1}]


def serve(nginx: Nginx, *addresses: Address) -> None:
    """Serve /ws with these endpoints, one after the other."""
    groups = [EndpointGroup(GROUP, tuple(sorted(addresses)))]
    nginx.pusher.push(table(host(record(action=forward(policy=Policy.ROUND_ROBIN))), groups=groups))


async def test_endpoints_that_are_no_more_take_no_room() -> None:
    [port] = free_ports(1)
    async with running_backend(host="0.0.0.0") as backend:
        with altered(with_little_room, port=port, workers=2) as nginx:
            serve(nginx, Address("127.0.0.1", backend.port))
            async with await held_socket(connected(port), host=HOST, path="/ws"):
                for generation in range(1, 41):
                    serve(nginx, *(Address(f"127.1.{generation}.{last}", backend.port) for last in range(50)))
                    assert {each.status for each in await asyncio.gather(*(shake(port) for _ in range(50)))} == {101}
                stays = f"127.0.0.1:{backend.port}"
                await until(lambda: counted(nginx) == {stays: 1}, what="for all sockets but one to end")
                last = [Address(f"127.2.0.{number}", backend.port) for number in range(50)]
                serve(nginx, *last)
                held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in last]
                assert counted(nginx) == {stays: 1} | {str(address): 1 for address in last}
                await asyncio.gather(*(client.close() for client in held))
            assert len(backend.requests) == 1 + 40 * 50 + 50
            assert nginx.error_log() == ""


async def test_counts_are_exact_while_others_of_the_same_endpoint_come_and_go() -> None:
    """Each of them is 0 again and again, and a worker is killed meanwhile."""
    async with balanced(4, forward(policy=Policy.ROUND_ROBIN), workers=4) as (nginx, port, found):
        held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(6)]

        async def come_and_go() -> None:
            for _ in range(150):
                # A handshake of the worker that is killed has no answer.
                try:
                    await shake(port)
                except (OSError, asyncio.IncompleteReadError):
                    await asyncio.sleep(0)

        going = asyncio.gather(*(come_and_go() for _ in range(8)))
        await until(lambda: len(found[0].requests) > 100, what="for them to come and go")
        os.kill(random.choice(nginx.workers()), signal.SIGKILL)  # noqa: S311 (no secret)
        await going

        def as_the_backends_say() -> bool:
            return answers(nginx, {f"127.0.0.1:{each.port}": len(each.sockets) for each in found if each.sockets})

        await until(as_the_backends_say, what="for the counts to be those of the backends")
        await asyncio.gather(*(client.close() for client in held))
        await until(lambda: answers(nginx, {}), what="for no socket to be counted")
