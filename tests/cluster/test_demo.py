"""What `make demo` shows: the chat in a real browser, through the balancer of a real cluster."""

import asyncio
import os
import re
import shlex
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from playwright.async_api import Page, expect

from localcluster import api, demo, install
from localcluster.relay import parse_address
from tests.browser.chat_page import WITHIN_MS, chromium, expect_last, find_chromium, open_tab, say, two_tabs_chat
from tests.cluster.conftest import settle
from tests.support.stack import eventually

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "chat.png"

pytestmark = [
    pytest.mark.local_cluster,
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]


@dataclass(frozen=True, slots=True)
class Chat:
    """The demo's chat. ``plain`` and ``secured`` are ports on this machine that lead to the balancer's Service;
    ``authority`` is the file that the demo tells people to trust."""

    plain: int
    secured: int
    authority: Path

    def certificate(self) -> x509.Certificate:
        """What whoever connects now, trusts the authority and nobody else, and asks for the chat's host is shown."""
        trusting = ssl.create_default_context(cafile=self.authority)
        with (
            socket.create_connection(("127.0.0.1", self.secured), timeout=5) as connection,
            trusting.wrap_socket(connection, server_hostname=demo.HOST) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown)

    def trusted(self) -> x509.Certificate:
        """The authority."""
        return x509.load_pem_x509_certificate(self.authority.read_bytes())


@pytest.fixture(scope="module")
def chat(local: api.Cluster) -> Iterator[Chat]:
    """The demo on the tests' cluster, on the data plane that is shipped."""
    leftover = ("-n", install.NAMESPACE, "delete", "--ignore-not-found", "secret", install.CERTIFICATE)
    local.kubectl(*leftover)  # one that is not the demo's it would leave alone
    relays: list[str] = []
    try:
        install.install_balancer(local, install.LOCAL_IMAGES, install.WSS)
        authority = demo.certify(local)
        demo.deploy_chat(local, install.LOCAL_IMAGES)
        demo.wait_for_chat(local)
        service = ("-n", install.NAMESPACE, "get", "service", f"{install.BALANCER}-balancer")
        address = local.kubectl(*service, "-o", "jsonpath={.spec.clusterIP}")
        relays += [local.relay(f"{address}:{port}") for port in (80, 443)]
        plain, secured = (parse_address(relay)[1] for relay in relays)
        demo.wait_for_page(plain)
        demo.wait_for_page(secured, ssl.create_default_context(cafile=authority))
        yield Chat(plain, secured, authority)
    finally:
        install.install_balancer(local, install.LOCAL_IMAGES)
        settle(local)
        for relay in relays:
            local.stop_relay(relay)
        local.kubectl(*leftover)
        namespace = ("delete", "namespace", "--ignore-not-found", demo.NAMESPACE, "--timeout=120s")
        local.kubectl(*namespace, timeout=150)


async def test_two_tabs_chat_through_the_balancer(chat: Chat, local: api.Cluster, tmp_path: Path) -> None:
    seen = await two_tabs_chat(f"http://{demo.HOST}:{chat.plain}/")
    assert seen.socket_url == f"ws://{demo.HOST}:{chat.plain}/ws"
    # The picture in the README is this one: WSROUTE_PICTURES=1 writes it anew.
    picture = PICTURE if os.environ.get("WSROUTE_PICTURES") else tmp_path / "chat.png"
    url = f"https://{demo.HOST}:{chat.secured}/"
    seen = await two_tabs_chat(url, screenshot=picture, authority=chat.trusted())
    assert seen.socket_url == f"wss://{demo.HOST}:{chat.secured}/ws"
    names = await asyncio.to_thread(
        local.kubectl, "-n", demo.NAMESPACE, "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"
    )
    assert set(seen.pods) <= set(names.split())
    assert picture.stat().st_size > 10_000


async def test_what_the_demo_proposes_leaves_the_chat_connected(chat: Chat, local: api.Cluster) -> None:
    async with chromium(authority=chat.trusted()) as browser:
        held = {
            "Ada": await open_tab(browser, f"http://{demo.HOST}:{chat.plain}/", name="Ada"),
            "Alan": await open_tab(browser, f"https://{demo.HOST}:{chat.secured}/", name="Alan"),
        }
        opened: list[str] = []
        for tab in held.values():
            tab.on("websocket", lambda socket: opened.append(socket.url))
        through = {name: await balancer_pod(tab) for name, tab in held.items()}
        before = await asyncio.to_thread(chat.certificate)

        for _, command in demo.experiments("local"):
            match shlex.split(command):
                case ["kubectl", *arguments]:
                    await asyncio.to_thread(local.kubectl, *arguments)
                case words:
                    assert words == ["make", "demo-certificate"]
                    await asyncio.to_thread(demo.certify, local)
        await asyncio.to_thread(demo.wait_for_chat, local)

        async def another_certificate() -> None:
            assert await asyncio.to_thread(chat.certificate) != before

        await eventually(another_certificate)
        for address in (f"http://{demo.SECOND_HOST}:{chat.plain}/", f"https://{demo.SECOND_HOST}:{chat.secured}/"):
            grace = await open_tab(browser, address, name="Grace")
            await say(grace, "Is this the second address?")
            await expect_last(grace, "Is this the second address?")
        for name, tab in held.items():
            await say(tab, "I never left.")
            await expect_last(tab, "I never left.")
            await expect(tab.get_by_role("status")).to_have_text("Connected", timeout=WITHIN_MS)
            await expect(tab.locator("#which")).to_have_text("The first one of this page")
            assert await balancer_pod(tab) == through[name]
        assert opened == [], "a page had to open another socket"


async def balancer_pod(tab: Page) -> str:
    """Through which pod of the balancer a tab has its socket."""
    name = await tab.locator("#balancer").inner_text()
    assert re.fullmatch(rf"{install.BALANCER}-balancer-[0-9a-z-]+", name)
    return name
