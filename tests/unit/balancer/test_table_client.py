"""What is asked of nginx's side of the table, and what is made of its answers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.fake_table import FakeTable, answering, cutting
from tests.support.nginx_runner import short_folder
from wsroute.balancer.table_client import (
    NO_TABLE,
    Stand,
    TableClient,
    TableError,
    TableFullError,
    TableMovedError,
    TableRefusedError,
    TableUnavailableError,
)

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def run() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
async def table(run: Path) -> AsyncIterator[FakeTable]:
    found = FakeTable()
    async with found.serving(run):
        yield found


@pytest.fixture
async def client(run: Path) -> AsyncIterator[TableClient]:
    found = TableClient(run, timeout=60)
    yield found
    await found.close()


async def test_a_whole_table_and_then_a_change(table: FakeTable, client: TableClient) -> None:
    assert await client.stand() == Stand(1, "", "", 1_000_000, 1_000_000, 0)
    await client.clear("a")
    await client.add("a", [("s", "hws chat", "0 chat|ws"), ("s", "eteam/chat:80", "0 0 0\n")])
    assert table.served == {}
    await client.flip("a", ONE)
    assert table.served == {"hws chat": "0 chat|ws", "eteam/chat:80": "0 0 0\n"}
    await client.change("a", [("s", "hws é", '"\ud800'), ("d", "hws chat")], old=ONE, new=TWO)
    assert table.served == {"hws é": '"\ud800', "eteam/chat:80": "0 0 0\n"}
    stand = await client.stand()
    assert (stand.live, stand.mark, stand.entries) == ("a", TWO, 2)


async def test_all_of_a_generation_is_taken_out_however_often_that_must_be_asked(
    table: FakeTable, client: TableClient
) -> None:
    table.entries = {f"{letter}={number}": "" for letter in "ab" for number in range(1000)}
    await client.clear("a")
    assert {key[0] for key in table.entries} == {"b"}
    assert table.requests == ["POST /table/clear"] * 7


async def test_refusals_say_which(table: FakeTable, client: TableClient) -> None:
    with pytest.raises(TableMovedError, match="409 to changes of its table: another table is live"):
        await client.change("a", [], old=ONE, new=TWO)
    table.room = 10
    with pytest.raises(TableFullError, match="full"):
        await client.add("a", [("s", "k", "v" * 100)])
    table.fault = answering(400, "operation 3:\x1b a key\nmust be", to="entries")
    with pytest.raises(TableRefusedError, match="operation 3:  a key must be"):
        await client.add("a", [])
    table.fault = answering(500, to="flip")
    with pytest.raises(TableUnavailableError, match="500 to flip of its table: without a word"):
        await client.flip("a", ONE)


async def test_a_configuration_without_a_table_has_none(table: FakeTable, client: TableClient) -> None:
    table.format = 0
    assert await client.stand() == NO_TABLE


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"format":1}',
        '{"format":0,"live":"","mark":"","free":1,"capacity":1,"entries":0}',
        '{"format":true,"live":"","mark":"","free":1,"capacity":1,"entries":0}',
        '{"format":1,"live":"c","mark":"","free":1,"capacity":1,"entries":0}',
        '{"format":1,"live":"","mark":"","free":-1,"capacity":1,"entries":0}',
        '{"format":1,"live":"","mark":"","free":1,"capacity":1,"entries":1e400}',
    ],
)
async def test_nonsense_is_no_answer(table: FakeTable, client: TableClient, body: str) -> None:
    table.fault = answering(200, body, to="table")
    with pytest.raises(TableUnavailableError):
        await client.stand()


@pytest.mark.parametrize("mark", ["", "x" * 64, "1" * 63, "1" * 65])
async def test_a_damaged_mark_is_none(table: FakeTable, client: TableClient, mark: str) -> None:
    table.live, table.mark = "a", mark
    assert (await client.stand()).mark == ""


async def test_one_connection_serves_all(table: FakeTable, client: TableClient) -> None:
    peers = set()

    async def watch(request: web.Request) -> None:
        peers.add(request.transport)

    table.fault = watch
    for _ in range(5):
        await client.stand()
        await client.add("a", [])
    assert len(peers) == 1


async def test_a_connection_that_was_cut_costs_one_more_try(table: FakeTable, client: TableClient) -> None:
    await client.stand()
    table.fault = cutting("flip")
    await client.flip("a", ONE)
    table.fault = cutting("entries", after=True)
    await client.add("b", [("s", "k", "v")])
    assert table.requests == ["POST /table/flip"] * 2 + ["POST /table/entries"] * 2
    assert (table.mark, table.entries) == (ONE, {"bk": "v"})


async def test_changes_that_worked_unheard_are_not_made_again(table: FakeTable, client: TableClient) -> None:
    await client.flip("a", ONE)
    table.fault = cutting("changes", after=True)
    with pytest.raises(TableMovedError):
        await client.change("a", [("s", "k", "v")], old=ONE, new=TWO)
    assert (await client.stand()).mark == TWO


async def test_two_cuts_are_no_answer(table: FakeTable, client: TableClient) -> None:
    await client.stand()
    table.fault = cutting("flip", times=2)
    with pytest.raises(TableUnavailableError):
        await client.flip("a", ONE)
    await client.flip("a", ONE)


async def test_silence_is_no_answer(run: Path, table: FakeTable, client: TableClient) -> None:
    async def hang(_: web.Request) -> None:
        await asyncio.Event().wait()

    table.fault = hang
    impatient = TableClient(run, timeout=0.05)
    with pytest.raises(TableUnavailableError):
        await impatient.stand()
    await impatient.close()
    table.fault = None
    await client.stand()


async def test_nobody_answers_without_a_socket(run: Path, client: TableClient) -> None:
    for _ in range(2):
        with pytest.raises(TableError, match="admin socket"):
            await client.stand()
    table = FakeTable()
    async with table.serving(run):
        await client.stand()
    with pytest.raises(TableUnavailableError):
        await client.stand()
