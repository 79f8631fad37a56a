"""Custom main templates in a real nginx."""

import asyncio
from pathlib import Path

import pytest

from tests.nginx.test_render_handshake import connected, get, served, shake
from tests.support.backend import running_backend
from tests.support.configurations import HOST, configuration
from tests.support.handshake import echo, held_socket
from tests.support.nginx_runner import (
    check,
    local_options,
    make_paths,
    running_nginx,
    short_folder,
)
from tests.support.ports import free_ports
from tests.support.templates import example_template
from tests.support.waiting import wait_until
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.ir import Configuration
from wsroute.dataplane.main_template import blamed
from wsroute.nginx.render import render

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]

WHOLE = """
worker_processes  {{ worker_processes }};
{{ required.main }}
events { worker_connections  {{ worker_connections }}; }
http {
    access_log  off;
    add_header  X-Whole  yes  always;
    {{ required.http }}
}
"""


def with_template(of: Configuration, template: str) -> Configuration:
    return configuration(port=of.listeners[0].port, upstreams=of.upstreams, servers=of.servers, main_template=template)


@pytest.mark.parametrize("template", [example_template(), WHOLE], ids=["extending", "whole"])
async def test_sockets_open_and_versions_are_verified_below_a_custom_template(template: str) -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(with_template(served(port, backend), template)) as nginx:
            assert nginx.ask_admin("/version") == (200, nginx.version)
            async with await held_socket(connected(port), host=HOST, path="/ws") as client:
                await echo(client, "hello")
            assert (await shake(port)).status == 101
            plain = await get(port)
            assert (plain.status, plain.reason) == (426, "upgrade-required")
            nobody = await get(port, host="nobody.example.com")
            assert (nobody.status, nobody.reason) == (404, "no-route")
            assert nginx.error_log() == ""


async def test_the_example_adds_a_header_a_log_format_and_a_page() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(with_template(served(port, backend), example_template())) as nginx:
            answer = await shake(port)
            assert answer.status == 101
            assert answer.headers["x-balancer"] == "shared"
            page = await get(port, "/", host="status.example.com")
            assert (page.status, page.body) == (200, b"The balancer shared is there.\n")
            log = Path(nginx.paths.run).parent / "stdout"
            await asyncio.to_thread(wait_until, lambda: f'GET {HOST}/ws" 101 team-a/chat' in log.read_text(), "a line")


async def test_a_socket_survives_the_change_of_the_template() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        plain = served(port, backend)
        with running_nginx(plain) as nginx:
            async with await held_socket(connected(port), host=HOST, path="/ws") as client:
                for template in (example_template(), WHOLE):
                    nginx.load(with_template(plain, template))
                    await echo(client, "still here")
                assert (await shake(port)).headers["x-whole"] == "yes"
                nginx.load(plain)
                await echo(client, "to the end")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no_such_thing on;", 'unknown directive "no_such_thing"'),
        ("server_tokens on;", '"server_tokens" directive is duplicate'),
        ("include /nowhere/at/all.conf;", "/nowhere/at/all.conf"),
        ("proxy_pass http://127.0.0.1;", '"proxy_pass" directive is not allowed here'),
    ],
)
def test_what_only_nginx_can_tell_is_found_to_be_the_templates_fault(text: str, words: str) -> None:
    template = f'{{% extends "nginx.conf.j2" %}}{{% block http %}}{text}{{% endblock %}}'
    with short_folder() as folder:
        rendered = render(configuration(main_template=template), make_paths(folder), options=local_options())
        with pytest.raises(AssertionError) as refusal:
            check(rendered.text, folder)
    assert words in str(refusal.value)
    assert blamed(Failure("check", "test", str(refusal.value)), template, rendered.lines.routes) is not None


def test_a_line_of_a_route_is_not_the_templates_fault() -> None:
    with short_folder() as folder:
        rendered = render(configuration(main_template=WHOLE), make_paths(folder), options=local_options())
        with pytest.raises(AssertionError) as refusal:
            check(rendered.text.replace("least_conn;", "no_such_thing;"), folder)
    assert "no_such_thing" in str(refusal.value)
    assert blamed(Failure("check", "test", str(refusal.value)), WHOLE, rendered.lines.routes) is None
