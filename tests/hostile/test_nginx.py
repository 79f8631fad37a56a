"""The catalogue with the checks bypassed, and what is accepted, through the real nginx."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import crossplane
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.attacks import LEAVES, attack, base
from tests.hostile.bypass import HARMLESS, MODELS
from tests.hostile.catalogue import NAME, PATH, REMOVE, REWRITE, ROWS, VALUE, Row, Verdict
from tests.hostile.table import Column, parameters, tried
from tests.hostile.texts import texts
from tests.hostile.world import BALANCER, MALLORY, ROUTE_SPEC, World, changed, place_of, team
from tests.nginx.test_render_handshake import shake
from tests.support import nginx_tokens
from tests.support.backend import running_backend
from tests.support.configurations import configuration, location, proxy, server, upstream
from tests.support.nginx_runner import check, local_options, make_paths, running_nginx, short_folder
from tests.support.ports import free_ports
from tests.support.written import is_written
from wsroute.dataplane.ir import Configuration
from wsroute.nginx.paths import Paths
from wsroute.nginx.quoting import EmitError
from wsroute.nginx.render import render

pytestmark = pytest.mark.nginx

Tell = Callable[[str, object], None]

BYPASSED = [row for row in ROWS if row.inputs and row.verdict is not Verdict.ESCAPE and (row.kind, row.field) in MODELS]
WORD_FOR_WORD = (PATH, REWRITE, NAME, VALUE, REMOVE)
"""The fields whose values are written as they are; of others there is a canonical form."""

SERVED = [row for row in ROWS if row.inputs and row.verdict is Verdict.ESCAPE]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in which nginx may test files."""
    with short_folder() as found:
        yield found


@pytest.fixture
def paths(folder: Path) -> Paths:
    """nginx's own folders there."""
    return make_paths(folder)


def text_of(model: Configuration, paths: Paths) -> str:
    """The file of a configuration that this machine's nginx can test."""
    return render(model, paths, options=local_options()).text


@pytest.mark.parametrize("row", parameters(BYPASSED, Column.NGINX))
def test_with_the_checks_bypassed(row: Row, paths: Paths, folder: Path, record_property: Tell) -> None:
    """An emitter refuses it, or it is one argument and nginx takes the file."""
    make = MODELS[row.kind, row.field]
    shape = nginx_tokens.parse(text_of(make(HARMLESS[row.field]), paths)).shape
    written = 0
    words: list[str] = []
    for value in row.inputs:
        if isinstance(value, bool | list | dict):
            continue  # the model is typed, and hashable
        try:
            text = text_of(make(value), paths)
        except EmitError as error:
            words.append(str(error))
            continue
        tree = nginx_tokens.parse(text)
        assert tree.shape == shape, value
        if row.field in WORD_FOR_WORD:
            assert any(is_written(value, word) for found in tree.walk() for word in found.words), value
        check(text, folder)
        written += 1
    assert all(said.isprintable() for said in words)
    if words:
        record_property("refused", len(words))
    if written:
        record_property("one argument", written)


@pytest.mark.parametrize("row", parameters(SERVED, Column.NGINX))
def test_what_is_accepted(row: Row, paths: Paths, folder: Path, record_property: Tell) -> None:
    """crossplane, which is not ours, finds one argument that says the input; nginx takes the file."""
    for value in row.inputs:
        world = World()
        hostile = [raw for raw in team(MALLORY, 9, spec=ROUTE_SPEC, hosts=None) if raw["kind"] != "WebSocketRoute"]
        route = next(raw for raw in team(MALLORY, 9, spec=ROUTE_SPEC, hosts=None) if raw["kind"] == "WebSocketRoute")
        world.attack([*hostile, changed(route, place_of(row.field), value)])
        [made] = world.memo.balancers[BALANCER].made.values()
        text = text_of(made.configuration, paths)
        assert check(text, folder) == ""
        file = folder / "check.conf"
        payload = crossplane.parse(str(file), single=True)
        assert payload["errors"] == []
        found = list(arguments(payload["config"][0]["parsed"]))
        # crossplane leaves doubled backslashes doubled.
        assert any(is_written(value, argument.replace("\\\\", "\\")) for argument in found)
    record_property("one argument", len(row.inputs))


def arguments(tree: list[dict[str, Any]]) -> Iterator[str]:
    """All arguments of all directives."""
    for node in tree:
        yield from node["args"]
        yield from arguments(node.get("block", []))


async def test_paths_and_values_are_served_as_they_are() -> None:
    [port] = free_ports(1)
    wanted = [value for row in SERVED if row.field == "spec.paths[].path" for value in row.inputs]
    values = [value for row in SERVED if row.field == "spec.headers.set[].value" for value in row.inputs]
    async with running_backend() as backend:
        locations = [location(path) for path in wanted]
        locations += [
            location(f"/value/{number}", proxy(set_headers=(("X-Team", value),))) for number, value in enumerate(values)
        ]
        model = configuration(port=port, upstreams=[upstream(backend.endpoint())], servers=[server(*locations)])
        with running_nginx(model) as nginx:
            for path in wanted:
                assert (await shake(port, path)).status == 101, path
                assert backend.last.path == path
            for number, value in enumerate(values):
                assert (await shake(port, f"/value/{number}")).status == 101
                assert backend.last.headers["x-team"] == value
            assert nginx.error_log() == ""


@tried("L11", Column.NGINX)
def test_a_few_hundred_accepted_strings_in_one_file(paths: Paths, folder: Path) -> None:
    """Routes that hold whatever the API accepts, each in one field, all together in one file."""
    accepted: list[Any] = []
    fields = [leaf for (kind, _), leaf in LEAVES.items() if kind == "WebSocketRoute" and leaf.grammar is not None]

    @settings(max_examples=1000, database=None, suppress_health_check=list(HealthCheck))
    @given(leaf=st.sampled_from(fields), data=st.data())
    def draw(leaf: Any, data: st.DataObject) -> None:
        text = data.draw(st.from_regex(leaf.grammar.pattern, fullmatch=True) | texts(leaf.example, leaf.grammar))
        outcome = attack("WebSocketRoute", place_of(leaf.path), text)
        if not outcome.complaints:
            accepted.append((place_of(leaf.path), text))

    draw()
    assert len(accepted) > 50
    world = World()
    hostile = []
    for number, (place, text) in enumerate(accepted):
        raws = team(f"{MALLORY}-{number}", 9, spec=ROUTE_SPEC | {"hosts": [f"m{number}.example.com"]}, hosts=None)
        hostile += [changed(raw, place, text) if raw["kind"] == "WebSocketRoute" else raw for raw in raws]
    outcome = world.attack(hostile)
    [made] = world.memo.balancers[BALANCER].made.values()
    assert len(made.configuration.servers) > 50
    assert outcome.innocent.keys() == base().innocent.keys()
    check(text_of(replace(made.configuration, worker_processes=1), paths), folder)
