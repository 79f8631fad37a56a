"""The chat's page, served by the app itself: no balancer in between."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.chat_page import (
    WITHIN_MS,
    chromium,
    expect_last,
    find_chromium,
    open_tab,
    say,
    two_tabs_chat,
)
from tests.support.chat_app import chat_app
from tests.support.ports import free_ports

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]


async def test_two_tabs_talk(tmp_path: Path) -> None:
    """What one tab says shows in the other; hostile text stays text; the picture is written."""
    picture = tmp_path / "chat.png"
    async with chat_app(pod="chat-7") as url:
        seen = await two_tabs_chat(url, screenshot=picture)
    assert seen.pods == ("chat-7", "chat-7")
    assert seen.socket_url == url.replace("http:", "ws:") + "ws"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("path", ["team/chat", "team/chat/", "team/chat/?room=1#top"])
async def test_the_socket_is_found_under_any_prefix(path: str) -> None:
    """The page derives the socket's URL from its own address, with or without a trailing slash."""
    async with chat_app() as url, chromium() as browser:
        page = await open_tab(browser, url + path, name="Ada")
        await expect(page.locator("#url")).to_have_text(url.replace("http:", "ws:") + "team/chat/ws")
        await say(page, "found")
        await expect_last(page, "found")


async def test_a_new_socket_repeats_nothing() -> None:
    """A tab whose socket was cut gets the history again and shows each message once, its own ones as its own."""
    async with chat_app() as url, chromium() as browser:
        page = await open_tab(browser, url, name="Ada")
        await say(page, "one")
        await expect_last(page, "one")
        await expect(page.locator("#since")).to_have_text(re.compile(r"^Open since \d\d:\d\d:\d\d"))
        await expect(page.locator("#which")).to_have_text("The first one of this page")
        await page.evaluate("socket.close()")
        await page.wait_for_function("() => mine.size === 2", timeout=WITHIN_MS)
        await expect(page.locator("#which")).to_have_text("Number 2 of this page")
        await say(page, "two")
        await expect_last(page, "two")
        assert await page.locator(".bubble").all_inner_texts() == ["one", "two"]
        assert await page.locator(".message.mine").count() == 2


async def test_it_reconnects_by_itself_and_loses_no_text() -> None:
    """The server goes and another one comes up on the same port: the tab connects again and keeps what it showed."""
    # A port that no connection can take before the second one listens.
    [port] = free_ports(1)
    async with chromium() as browser:
        async with chat_app(port=port, pod="old") as url:
            page = await open_tab(browser, url, name="Ada")
            await say(page, "before")
            await expect_last(page, "before")
        state = page.get_by_role("status")
        await expect(state).not_to_have_text("Connected")
        await page.get_by_label("Message", exact=True).fill("not lost")
        await page.get_by_label("Message", exact=True).press("Enter")
        await expect(page.get_by_label("Message", exact=True)).to_have_value("not lost")
        async with chat_app(port=port, pod="new"):
            await expect(state).to_have_text("Connected")
            await expect(page.locator("#pod")).to_have_text("new")
            await page.get_by_label("Message", exact=True).press("Enter")
            await expect_last(page, "not lost")
            assert await page.locator(".bubble").all_inner_texts() == ["before", "not lost"]


async def test_history_is_shown_once_to_a_tab_that_comes_back() -> None:
    """After a reload the tab knows its own messages, and the history stands there once."""
    async with chat_app() as url, chromium() as browser:
        page = await open_tab(browser, url, name="Ada")
        await say(page, "one")
        await expect_last(page, "one")
        await page.reload()
        await expect(page.get_by_label("You", exact=True)).to_have_value("Ada")
        await expect_last(page, "one")
        assert await page.locator(".message.mine").count() == 1


async def test_it_works_with_the_keyboard_on_a_phone() -> None:
    """At a phone's width the name folds away, nothing is wider than the screen, and Enter goes from name to text."""
    async with chat_app() as url, chromium() as browser:
        page = await open_tab(browser, url, name="Ada", width=390, height=780, scheme="dark")
        assert await page.evaluate("document.documentElement.scrollWidth") == 390
        summary = page.get_by_text("Your name and connection")
        await summary.focus()
        await page.keyboard.press("Enter")
        name = page.get_by_label("You", exact=True)
        await name.fill("Grace")
        await name.press("Enter")
        await expect(page.get_by_label("Message", exact=True)).to_be_focused()
        await expect(page.get_by_label("Message", exact=True)).to_have_value("")
        await page.keyboard.type("typed")
        await page.keyboard.press("Enter")
        await expect_last(page, "typed")
        assert await page.locator(".author").last.text_content() == "Grace"


async def test_the_server_says_what_is_wrong_with_a_message() -> None:
    """The server's sentence about a refused message shows as an alert."""
    async with chat_app() as url, chromium() as browser:
        page = await open_tab(browser, url, name="A")
        field = page.get_by_label("Message", exact=True)
        await field.evaluate("(field) => { field.maxLength = 9000; }")
        await say(page, "x" * 5000)
        await expect(page.get_by_role("alert")).to_have_text("The message is longer than 4096 bytes.")
        await expect(page.locator(".message")).to_have_count(0)


async def test_the_policy_lets_nothing_else_run() -> None:
    """The page's Content-Security-Policy refuses a script that is not the page's own."""
    async with chat_app() as url, chromium() as browser:
        page = await open_tab(browser, url, name="A")
        await page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "document.title = 'owned'";
                document.head.append(script);
            }"""
        )
        assert await page.title() == "Chat"
