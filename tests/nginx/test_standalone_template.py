"""``wsroute standalone`` with a custom main template: live, refused by nginx, and routes that go on being added."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.nginx.test_render_handshake import shake
from tests.support.backend import running_backend
from tests.support.nginx_runner import nginx_binary
from tests.support.ports import free_ports
from tests.support.waiting import until

pytestmark = pytest.mark.nginx

BALANCER = """
apiVersion: wsroute.dev/v1alpha1
kind: WebSocketBalancer
metadata: {name: local}
spec:
  dataPlane: Static
  listeners: [{name: ws, port: PORT, protocol: HTTP}]
  allowedRoutes: {hosts: ["*"]}
  nginx: {templateRef: {configMap: custom-main}}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
endpoints: [{addresses: [127.0.0.1]}]
ports: [{port: BACKEND}]
"""
ROUTE = """
apiVersion: wsroute.dev/v1alpha1
kind: WebSocketRoute
metadata: {name: NAME}
spec:
  hosts: [NAME.example.com]
  paths: [{path: /ws, backends: [{service: app, port: 80}]}]
"""
TEMPLATE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: custom-main, labels: {wsroute.dev/balancer: local, wsroute.dev/role: template}}
data:
  nginx.conf.j2: |
    {% extends "nginx.conf.j2" %}
    {% block http %}
    TEXT
    {% endblock %}
"""


@asynccontextmanager
async def standalone(folder: Path, log: Path) -> AsyncIterator[None]:
    """The command over a folder; it is told to end at the end."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "wsroute", "standalone", "--nginx", nginx_binary(), str(folder),
            stdout=output, stderr=output, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def test_a_refused_template_gives_way_to_the_shipped_one(tmp_path: Path) -> None:
    [port] = free_ports(1)
    folder, log = tmp_path / "manifests", tmp_path / "log"
    folder.mkdir()

    async def said(words: str) -> None:
        await until(lambda: words in log.read_text(encoding="utf-8"), what=f"for it to say {words}")

    async with running_backend() as backend:
        number = backend.endpoint().port
        (folder / "all.yaml").write_text(BALANCER.replace("PORT", str(port)).replace("BACKEND", str(number)))
        (folder / "one.yaml").write_text(ROUTE.replace("NAME", "one"))
        (folder / "template.yaml").write_text(TEMPLATE.replace("TEXT", "add_header X-Mine yes always;"))
        async with standalone(folder, log):
            await said("ws://one.example.com")
            answer = await shake(port, host="one.example.com")
            assert (answer.status, answer.headers.get("x-mine")) == (101, "yes")
            (folder / "template.yaml").write_text(TEMPLATE.replace("TEXT", "no_such_thing on;"))
            await said("the shipped main template is tried: ")
            await said('unknown directive "no_such_thing"')
            (folder / "two.yaml").write_text(ROUTE.replace("NAME", "two"))
            await said("ws://two.example.com")
            answer = await shake(port, host="two.example.com")
            assert (answer.status, answer.headers.get("x-mine")) == (101, None)
