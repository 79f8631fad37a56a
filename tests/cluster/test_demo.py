"""What `make demo` shows: the chat in a real browser, through the balancer of a real cluster."""

import asyncio
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from localcluster import api, demo, install
from tests.browser.chat_page import WITHIN_MS, chromium, expect_last, find_chromium, open_tab, say, two_tabs_chat

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "chat.png"

pytestmark = [
    pytest.mark.local_cluster,
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def chat(local: api.Cluster) -> Iterator[str]:
    """The demo's chat on the tests' cluster; the address of the balancer's Service on this machine."""
    demo.deploy_chat(local, install.LOCAL_IMAGES)
    demo.wait_for_chat(local)
    service = ("-n", install.NAMESPACE, "get", "service", f"{install.BALANCER}-balancer")
    address = local.kubectl(*service, "-o", "jsonpath={.spec.clusterIP}")
    relay = local.relay(f"{address}:80")
    yield relay
    local.stop_relay(relay)
    local.kubectl("delete", "namespace", demo.NAMESPACE, "--timeout=120s", timeout=150)


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


async def test_what_the_demo_proposes_leaves_the_chat_connected(chat: str, local: api.Cluster) -> None:
    port = chat.rpartition(":")[2]
    async with chromium() as browser:
        ada = await open_tab(browser, f"http://{demo.HOST}:{port}/", name="Ada")
        balancer = await ada.locator("#balancer").inner_text()
        assert re.fullmatch(rf"{install.BALANCER}-balancer-[0-9a-z-]+", balancer)
        opened: list[str] = []
        ada.on("websocket", lambda socket: opened.append(socket.url))
        for _, command in demo.EXPERIMENTS:
            program, *arguments = shlex.split(command)
            assert program == "kubectl"
            await asyncio.to_thread(local.kubectl, *arguments)
        await asyncio.to_thread(demo.wait_for_chat, local)
        grace = await open_tab(browser, f"http://{demo.SECOND_HOST}:{port}/", name="Grace")
        await say(grace, "Is this the second address?")
        await expect_last(grace, "Is this the second address?")
        await say(ada, "I never left.")
        await expect_last(ada, "I never left.")
        await expect(ada.get_by_role("status")).to_have_text("Connected", timeout=WITHIN_MS)
        assert opened == [], "the page had to open another socket"
        assert await ada.locator("#balancer").inner_text() == balancer
