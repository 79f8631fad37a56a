"""What `make demo` shows: the chat in a real browser, through the balancer of a real cluster."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import api, demo, install
from tests.browser.chat_page import find_chromium, two_tabs_chat

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "chat.png"

pytestmark = [
    pytest.mark.local_cluster,
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]


@pytest.fixture
def chat(local: api.Cluster) -> Iterator[str]:
    """The demo's chat on the tests' cluster; the address of the balancer's Service on this machine."""
    demo.deploy_chat(local, install.LOCAL_IMAGES)
    demo.wait_for_chat(local)
    service = ("-n", install.NAMESPACE, "get", "service", f"{install.BALANCER}-balancer")
    address = local.kubectl(*service, "-o", "jsonpath={.spec.clusterIP}")
    relay = local.relay(f"{address}:80")
    yield relay
    local.stop_relay(relay)
    local.kubectl("delete", "namespace", demo.NAMESPACE, "--wait=false")


async def test_two_tabs_chat_through_the_balancer(chat: str, local: api.Cluster, tmp_path: Path) -> None:
    port = chat.rpartition(":")[2]
    # The picture in the README is this one: WSROUTE_PICTURES=1 writes it anew.
    picture = PICTURE if os.environ.get("WSROUTE_PICTURES") else tmp_path / "chat.png"
    seen = await two_tabs_chat(f"http://{demo.HOST}:{port}/", screenshot=picture)
    assert seen.socket_url == f"ws://{demo.HOST}:{port}/ws"
    names = await asyncio.to_thread(
        local.kubectl, "-n", demo.NAMESPACE, "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"
    )
    assert set(seen.pods) <= set(names.split())
    assert picture.stat().st_size > 10_000
