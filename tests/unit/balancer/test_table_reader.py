"""What nginx's side answers is believed only where it makes sense."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.nginx_runner import short_folder
from wsroute.balancer import table_reader
from wsroute.balancer.table_client import TableUnavailableError
from wsroute.balancer.table_reader import PORTION, Counts, OpenSocket, TableReader
from wsroute.cli.dump import TRIES, lines, parse

MARK = "a" * 64


@pytest.fixture
def run() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@asynccontextmanager
async def answering(run: Path, **answers: Any) -> AsyncIterator[list[Any]]:
    """Listen where nginx does, with these answers, as ``keys="..."``; gives what was asked in bodies. An answer that is
    callable is called with the question."""
    asked: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        answer = answers[request.path.removeprefix("/").removeprefix("table/")]
        if request.method == "POST":
            asked.append(await request.json())
        if callable(answer):
            answer = answer(asked[-1] if asked else None)
        if isinstance(answer, web.Response):
            return answer
        return web.Response(text=answer if isinstance(answer, str) else json.dumps(answer))

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(run / "admin.sock")).start()
        yield asked
    finally:
        await runner.cleanup()


async def test_values_are_asked_for_in_portions_and_what_went_meanwhile_is_left_out(run: Path) -> None:
    keys = [f"k{number}" for number in range(PORTION + 1)]

    def values(question: list[str]) -> list[str | None]:
        return [None if key == "k3" else key.upper() for key in question]

    async with (
        answering(run, keys="".join(f"{key}\n" for key in keys), values=values) as asked,
        TableReader(run) as read,
    ):
        found = await read.entries()
        assert list(map(len, asked)) == [PORTION, 1]
    assert found == {key: key.upper() for key in keys if key != "k3"}


@pytest.mark.parametrize("values", ["no json", "null", {}, [], ["a", "b"], "[" * 100_000])
async def test_values_that_make_no_sense(run: Path, values: Any) -> None:
    async with answering(run, keys="k\n", values=values), TableReader(run) as reader:
        with pytest.raises(TableUnavailableError):
            await reader.entries()


@pytest.mark.parametrize(
    "sockets", [[], [-1], [True], ["1"], [1.5], [2**60], {"10.0.0.1:80": 1}, web.Response(status=500)], ids=str
)
async def test_numbers_of_sockets_that_make_no_sense(run: Path, sockets: Any) -> None:
    async with answering(run, sockets=sockets), TableReader(run) as reader:
        with pytest.raises(TableUnavailableError):
            await reader.endpoint_sockets(["10.0.0.1:80"])


async def test_lines_that_are_no_sockets_are_left_out(run: Path) -> None:
    good = "31 7 1700000000 2001:db8::1 [fd00::1]:8080 team-a/chat"
    odd = ["", "31 7", good + " more", good.replace("31", "-1"), good.replace("2001:db8::1", "evil\x1b[2J")]
    text = "".join(f"{line}\n" for line in [*odd, good])
    async with (
        answering(run, open=lambda _: web.Response(text=text, headers={"X-Parts": "2"})),
        TableReader(run) as reader,
    ):
        found = [socket async for socket in reader.open_sockets()]
    assert found == [OpenSocket(31, 7, 1_700_000_000, "2001:db8::1", "[fd00::1]:8080", "team-a/chat")] * 2


@pytest.mark.parametrize("parts", ["", "-1", "many", "1025", "²", "1 2"])
async def test_so_many_parts_are_none(run: Path, parts: str) -> None:
    async with (
        answering(run, open=lambda _: web.Response(text="", headers={"X-Parts": parts})),
        TableReader(run) as reader,
    ):
        with pytest.raises(TableUnavailableError):
            _ = [socket async for socket in reader.open_sockets()]


async def test_counts(run: Path) -> None:
    raw = {"requests": {"no-route ": 2, "forwarded a/b": 1, "odd": 3}, "open": {"a/b": 1}, "ejected": 4}
    async with answering(run, counts=raw), TableReader(run) as reader:
        assert await reader.counts() == Counts({("no-route", ""): 2, ("forwarded", "a/b"): 1}, {"a/b": 1}, 4)


@pytest.mark.parametrize(
    "counts",
    [
        None,
        {},
        {"requests": [], "open": {}, "ejected": 0},
        {"requests": {"a": "1"}, "open": {}, "ejected": 0},
        {"requests": {}, "open": {"a": -1}, "ejected": 0},
        {"requests": {}, "open": {}, "ejected": True},
        {"requests": {}, "open": {}, "ejected": -1},
    ],
)
async def test_counts_that_make_no_sense(run: Path, counts: Any) -> None:
    async with answering(run, counts=counts), TableReader(run) as reader:
        with pytest.raises(TableUnavailableError):
            await reader.counts()


async def test_an_answer_has_an_end(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_reader, "_ANSWER_LIMIT", 100)
    async with answering(run, keys="k\n" * 200), TableReader(run) as reader:
        with pytest.raises(TableUnavailableError, match="has no end"):
            await reader.entries()


async def test_without_nginx(run: Path) -> None:
    async with TableReader(run) as reader:
        with pytest.raises(TableUnavailableError, match="gives no answer"):
            await reader.entries()


# --- what `wsroute table` makes of it ---


def described(mark: str = MARK) -> dict[str, Any]:
    return {"format": 1, "live": "a", "mark": mark, "free": 1, "capacity": 2, "entries": 1}


@pytest.mark.parametrize("changes", [0, 1, TRIES, 100])
async def test_a_table_is_read_again_while_it_changes_but_not_for_ever(run: Path, changes: int) -> None:
    asked = iter(range(1_000))

    def stand(_: Any) -> dict[str, Any]:
        return described(f"{min(next(asked), changes):064x}")

    answers = {"": stand, "keys": "k\n", "values": ["v"], "sockets": {}}
    answers |= {"counts": {"requests": {}, "open": {}, "ejected": 0}, "version": "0123456789ab", "table": stand}
    async with answering(run, **answers):
        told = [json.dumps(line) async for line in lines(run, sockets=False)]
    dump = parse(told)
    assert dump.moving is (changes > TRIES - 1)
    assert (dump.entries, dump.version) == ({"k": "v"}, "0123456789ab")


async def test_one_of_the_static_data_plane_has_a_version_only(run: Path) -> None:
    async with answering(run, version="0123456789ab", table=web.Response(status=404)):
        told = [json.dumps(line) async for line in lines(run, sockets=True)]
    dump = parse(told)
    assert (dump.version, dump.table_format, dump.mark, dump.entries) == ("0123456789ab", 0, "", {})
