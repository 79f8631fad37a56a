"""Drives the chat's page in a real Chromium: two people in two tabs talk to one another.

The same function serves every tier: the app alone, `wsroute standalone`, a cluster. It knows a URL and nothing else.
"""

import base64
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.async_api import Browser, Page, async_playwright, expect

WITHIN_MS = 15_000
"""How long anything that must show up in a page may take."""

expect.set_options(timeout=WITHIN_MS)

HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'

CONVERSATION = (
    ("Ada", "Good morning! The page and this chat came through one route, on one port."),
    ("Grace", "Morning, Ada. I'm in another tab, on a socket of my own."),
    ("Grace", "Did you see them change the route just now?"),
    ("Ada", "No. My socket has been open all the time."),
    ("Grace", "Mine too: same socket, not one message lost."),
    ("Ada", "So that is the point of it."),
)
"""What the two say: with the author and in order, as the screenshot shows it."""


@dataclass(frozen=True, slots=True)
class ChatSeen:
    """What the two tabs showed: the socket's URL, and for each tab the pod that served it."""

    socket_url: str
    pods: tuple[str, str]


def find_chromium() -> str | None:
    """The browser's path: the variable CHROMIUM, else Debian's or Google's name on the PATH, else None."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@asynccontextmanager
async def chromium(
    *, host_rules: str | None = None, authority: x509.Certificate | None = None
) -> AsyncIterator[Browser]:
    """A headless Chromium that talks to nobody but the pages that it is told to open.

    `host_rules` is Chromium's --host-resolver-rules, as in ``MAP chat.example.test 127.0.0.1``. It accepts what
    `authority` has issued, beside what machines trust.
    """
    arguments = [
        "--no-sandbox",  # the tests may run as root
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    if host_rules is not None:
        arguments.append(f"--host-resolver-rules={host_rules}")
    if authority is not None:
        key = authority.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = base64.b64encode(hashlib.sha256(key).digest()).decode()
        arguments.append(f"--ignore-certificate-errors-spki-list={digest}")
    path = find_chromium()
    if path is None:
        raise RuntimeError("No Chromium found. Install Debian's package chromium, or name one in CHROMIUM.")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, headless=True, args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


async def open_tab(
    browser: Browser,
    url: str,
    *,
    name: str,
    width: int = 1200,
    height: int = 760,
    scheme: Literal["light", "dark"] = "light",
) -> Page:
    """A tab of its own (own storage, own socket), connected and named."""
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=2, locale="en-GB"
    )
    page = await context.new_page()
    await page.goto(url)
    await expect(page.get_by_role("status")).to_have_text("Connected")
    field = page.get_by_label("You", exact=True)
    if not await field.is_visible():
        await page.get_by_text("Your name and connection").click()
        await field.fill(name)
        await page.get_by_text("Your name and connection").click()
    else:
        await field.fill(name)
    return page


async def say(page: Page, text: str) -> None:
    """Write a message and send it, as a person would: with the keyboard."""
    field = page.get_by_label("Message", exact=True)
    await field.fill(text)
    await field.press("Enter")
    await expect(field).to_have_value("")


async def expect_last(page: Page, text: str) -> None:
    """Wait until the newest message in the tab is exactly this text."""
    await expect(page.locator(".message").last.locator(".bubble")).to_have_text(text)


async def two_tabs_chat(
    url: str,
    *,
    screenshot: Path | None = None,
    host_rules: str | None = None,
    authority: x509.Certificate | None = None,
) -> ChatSeen:
    """Open `url` twice, let the two tabs talk, and check that each shows what the other sent.

    Raises AssertionError where something does not show in time. `screenshot` gets a PNG of one tab, after a short
    conversation and before the hostile text.
    """
    async with chromium(host_rules=host_rules, authority=authority) as browser:
        tabs = {name: await open_tab(browser, url, name=name) for name in ("Ada", "Grace")}
        for name, text in CONVERSATION:
            await say(tabs[name], text)
            for page in tabs.values():
                await expect_last(page, text)
        for name, page in tabs.items():
            authors = page.locator(".message:not(.mine) .author")
            other = "Grace" if name == "Ada" else "Ada"
            await expect(authors.last).to_have_text(other)
            await expect(page.locator("#people")).to_have_text(re.compile(r"^\d+ people here$"))
        if screenshot is not None:
            screenshot.parent.mkdir(parents=True, exist_ok=True)
            await tabs["Ada"].screenshot(path=screenshot, animations="disabled")

        await say(tabs["Grace"], HOSTILE)
        for page in tabs.values():
            await expect_last(page, HOSTILE)
            assert await page.locator("#log img, #log script").count() == 0
            assert await page.title() == "Chat"
        pods = [await page.locator("#pod").inner_text() for page in tabs.values()]
        return ChatSeen(socket_url=await tabs["Ada"].locator("#url").inner_text(), pods=(pods[0], pods[1]))
