"""The pusher between a cluster in memory and nginx's side of the table in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from tests.support import tables as make
from tests.support.fake_cluster import FakeCluster
from tests.support.fake_table import FakeTable, answering, cutting, pushes
from tests.support.nginx_runner import short_folder
from tests.support.table_parts import part, publish, split
from tests.support.waiting import until
from wsroute.agent.metrics import AgentMetrics
from wsroute.agent.pusher import CHUNK, CHUNK_SIZE, TablePusher, chunks
from wsroute.balancer.applier import Applier
from wsroute.balancer.table_client import TableClient
from wsroute.dataplane import names
from wsroute.dataplane.dictionary import Operation, entries
from wsroute.dataplane.table import Table
from wsroute.kube.port import CONFIG_MAPS, GoneError, KubeError, Resource, UnavailableError

NAMESPACE = "wsroute-system"
FIRST = make.table()
SECOND = make.table(make.host(), make.host(name="other.example.com"))
MANY = make.table(*(make.host(name=f"h{number:03}.example.com") for number in range(CHUNK + 50)))


@dataclass
class Running:
    """A pusher and its surroundings."""

    pusher: TablePusher
    cluster: FakeCluster
    table: FakeTable
    metrics: AgentMetrics
    said: list[int]

    def publish(self, table: Table, **how: int) -> int:
        """As the operator."""
        return publish(self.cluster, NAMESPACE, table, **how)

    async def until_served(self, table: Table) -> None:
        """Wait until handshakes see this table, and that is known."""
        await until(
            lambda: self.table.served == entries(table) and self.pusher.version == self.cluster.version,
            what=f"for {table}; {self.pusher.version} {self.pusher.trouble}",
        )

    async def until_asked(self) -> None:
        """Wait until nginx was asked twice more: whatever follows from its answers is under way."""
        asked = self.table.asked
        await until(lambda: self.table.asked >= asked + 2, what="for a question")

    def pushed(self, kind: str, outcome: str = "pushed") -> int:
        """How often nginx was told a table."""
        return pushes(self.metrics, kind, outcome=outcome)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsroute.agent.tables.ASK", 0.05)


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
def cluster() -> FakeCluster:
    return FakeCluster()


@asynccontextmanager
async def pushing(run: Path, cluster: FakeCluster, table: FakeTable) -> AsyncIterator[Running]:
    """A pusher, ended as by SIGKILL."""
    metrics, said = AgentMetrics(), []
    pusher = TablePusher(
        cluster,
        Applier(conf=run, run=run),
        TableClient(run, timeout=60),
        metrics,
        namespace=NAMESPACE,
        balancer="shared",
        changed=lambda: said.append(pusher.version),
        present=lambda files: files,
    )
    task = asyncio.create_task(pusher.run())
    try:
        yield Running(pusher, cluster, table, metrics, said)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def running(run: Path, cluster: FakeCluster, table: FakeTable) -> AsyncIterator[Running]:
    async with pushing(run, cluster, table) as found:
        yield found


def test_requests_are_bounded_in_number_and_size_and_keep_the_order() -> None:
    assert chunks([]) == []
    many: list[Operation] = [("d", str(number)) for number in range(2 * CHUNK + 1)]
    assert [len(chunk) for chunk in chunks(many)] == [CHUNK, CHUNK, 1]
    assert [operation for chunk in chunks(many) for operation in chunk] == many
    large: list[Operation] = [("s", str(number), "v" * (CHUNK_SIZE // 3)) for number in range(5)]
    assert [len(chunk) for chunk in chunks(large)] == [2, 2, 1]
    assert [len(chunk) for chunk in chunks([("s", "k", "v" * 2 * CHUNK_SIZE)] * 2)] == [1, 1]


async def test_a_table_goes_out_whole_and_then_by_its_changes(running: Running) -> None:
    running.publish(FIRST)
    await running.until_served(FIRST)
    assert running.table.requests == [f"POST /table/{what}" for what in ("clear", "entries", "flip", "clear")]
    running.table.requests.clear()
    for table in (SECOND, FIRST, make.table(groups=[make.group(make.address(2))])):
        running.publish(table)
        await running.until_served(table)
    assert running.table.requests == ["POST /table/changes"] * 3
    assert (running.pushed("whole"), running.pushed("change")) == (1, 3)
    assert running.said[-1] == running.cluster.version
    text = running.metrics.render().decode()
    assert "wsroute_agent_table_seconds_count 4.0" in text
    await running.until_asked()
    assert "wsroute_agent_table_entries 3.0" in running.metrics.render().decode()


@pytest.mark.parametrize("odd", ["", "soon", "-1.000", "1e9", "1.0", "9" * 40 + ".000"])
async def test_the_way_from_the_operator_is_measured_by_its_clock_where_that_is_told(
    running: Running, odd: str
) -> None:
    running.publish(FIRST)
    await running.until_served(FIRST)
    began = time.time()
    for count, (table, written) in enumerate([(SECOND, f"{time.time() - 3:.3f}"), (FIRST, odd)], 1):
        [text] = [text for (family, _), text in split(table).items() if family == "r"]
        name = names.table_name("shared", "r", 0)
        running.cluster.put(CONFIG_MAPS, name, namespace=NAMESPACE, **part("r", 0, 1, text, written=written))
        await running.until_served(table)
        assert running.pushed("change") == count
    told = running.metrics.render().decode()
    assert "wsroute_agent_propagation_seconds_count 1.0" in told, "neither what was there at first nor what is no time"
    [total] = [float(line.split()[1]) for line in told.splitlines() if "propagation_seconds_sum" in line]
    assert 2.9 < total < 3.1 + time.time() - began


async def test_much_goes_out_in_parts_of_which_each_leaves_a_table(running: Running) -> None:
    running.publish(MANY, hosts=8)
    await running.until_served(MANY)
    assert running.table.requests.count("POST /table/entries") == 3
    running.table.requests.clear()
    running.publish(FIRST, hosts=8)
    await running.until_served(FIRST)
    assert running.table.requests == ["POST /table/changes"] * len(running.table.requests)
    await running.until_asked()
    assert running.pushed("whole") == 1, "the marks on the way were right"


async def test_parts_that_are_not_all_there_change_nothing(running: Running) -> None:
    running.publish(FIRST)
    await running.until_served(FIRST)
    texts = split(SECOND, hosts=2)
    for index in (1, 0):
        await running.until_asked()
        assert running.table.served == entries(FIRST)
        running.cluster.put(
            CONFIG_MAPS,
            names.table_name("shared", "r", index),
            namespace=NAMESPACE,
            **part("r", index, 2, texts["r", index]),
        )
    await running.until_served(SECOND)


async def test_a_nginx_without_a_table_yet_is_told_as_soon_as_it_has_one(running: Running) -> None:
    running.table.format = 0
    running.publish(FIRST)
    await running.until_asked()
    assert running.table.requests == []
    running.table.format = 1
    running.pusher.look()
    await running.until_served(FIRST)


async def test_a_nginx_that_lost_its_table_is_told_again(running: Running) -> None:
    running.publish(FIRST)
    await running.until_served(FIRST)
    running.table.start_anew()
    await running.until_served(FIRST)
    running.table.mark = "f" * 64
    await until(lambda: running.pushed("whole") == 3)
    await running.until_served(FIRST)


async def test_a_nginx_that_was_started_anew_is_told_even_what_it_seems_to_have(run: Path, running: Running) -> None:
    (run / "master").write_text("1")
    running.publish(FIRST)
    await running.until_served(FIRST)
    await running.until_asked()
    running.table.entries = dict.fromkeys(running.table.entries, "damaged")
    (run / "master").unlink()
    (run / "master").write_text("1")
    await running.until_served(FIRST)
    assert running.pushed("change") == 0


async def test_an_agent_that_starts_touches_nothing_that_is_right(
    run: Path, cluster: FakeCluster, table: FakeTable
) -> None:
    async with pushing(run, cluster, table) as first:
        first.publish(FIRST)
        await first.until_served(FIRST)
    table.requests.clear()
    async with pushing(run, cluster, table) as second:
        await second.until_served(FIRST)
        await second.until_asked()
        assert second.pushed("whole") == 0
        assert set(table.requests) <= {"POST /table/clear"}
        second.publish(SECOND)
        await second.until_served(SECOND)
        assert second.pushed("whole") == 0
    publish(cluster, NAMESPACE, FIRST)
    async with pushing(run, cluster, table) as third:
        await third.until_served(FIRST)
        assert third.pushed("whole") == 1


async def test_an_agent_that_starts_without_the_api_server_touches_nothing(
    run: Path, cluster: FakeCluster, table: FakeTable
) -> None:
    async with pushing(run, cluster, table) as first:
        first.publish(FIRST)
        await first.until_served(FIRST)
    table.requests.clear()

    def fail(_verb: str, _resource: Resource, _name: str) -> KubeError:
        return UnavailableError("down")

    cluster.fail = fail
    async with pushing(run, cluster, table) as second:
        await second.until_asked()
        assert table.requests == []
        assert table.served == entries(FIRST)
        second.publish(SECOND)
        cluster.fail = lambda _verb, _resource, _name: None
        await second.until_served(SECOND)


@pytest.mark.parametrize("how", ["deleted", "an empty list"])
async def test_parts_that_vanish_take_nothing_away(running: Running, how: str) -> None:
    running.publish(SECOND, hosts=2)
    await running.until_served(SECOND)
    if how == "deleted":
        for _, namespace, name in list(running.cluster.objects):
            running.cluster.remove(CONFIG_MAPS, name, namespace=namespace)
        await until(lambda: running.pusher.version == 0)
    else:
        lists = len(running.cluster.lists)
        running.cluster.objects.clear()
        gone: list[KubeError] = [GoneError("too old")]
        running.cluster.fail = lambda verb, _resource, _name: gone.pop() if gone and verb == "watch" else None
        running.cluster.put(CONFIG_MAPS, "wakes-the-watch", namespace=NAMESPACE)
        await until(lambda: len(running.cluster.lists) > lists, what="for another list")
    await running.until_asked()
    assert running.table.served == entries(SECOND)
    # One comes back with another content: the rest is what was known of it.
    running.publish(FIRST, hosts=2)
    await running.until_served(FIRST)
    assert running.pushed("whole") == 1


async def test_a_damaged_part_stays_as_it_was_and_the_others_go_on(running: Running) -> None:
    running.publish(SECOND, hosts=2)
    await running.until_served(SECOND)
    served = running.pusher.version
    places = {place: text for place, text in split(SECOND, hosts=2).items() if place[0] == "r" and text}
    (_, index), text = next(iter(places.items()))
    running.cluster.put(
        CONFIG_MAPS,
        names.table_name("shared", "r", index),
        namespace=NAMESPACE,
        **part("r", index, 2, text, digest="0" * 64),
    )
    await until(lambda: "does not match its digest" in running.pusher.trouble)
    damaged = running.cluster.version
    moved = make.table(*SECOND.hosts, groups=[make.group(make.address(7))])
    endpoints = split(moved)["e", 0]
    running.cluster.put(
        CONFIG_MAPS, names.table_name("shared", "e", 0), namespace=NAMESPACE, **part("e", 0, 1, endpoints)
    )
    await until(lambda: running.table.served == entries(moved), what="for the endpoints")
    await until(lambda: running.pusher.version == damaged - 1)
    assert damaged - 1 >= served
    running.publish(moved, hosts=2)
    await running.until_served(moved)
    assert running.pusher.trouble == ""


async def test_a_lower_epoch_is_not_followed_unless_it_stands(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsroute.agent.decide.DOUBT", 3_600.0)
    running.publish(FIRST, epoch=5)
    await running.until_served(FIRST)
    running.publish(SECOND, epoch=4)
    await until(lambda: "lower epoch" in running.pusher.trouble)
    assert running.table.served == entries(FIRST)
    running.publish(FIRST, epoch=5)
    await running.until_served(FIRST)
    monkeypatch.setattr("wsroute.agent.decide.DOUBT", 0.5)
    running.publish(SECOND, epoch=3)
    await running.until_served(SECOND)


async def test_a_later_format_is_told_of_and_what_was_there_stays(running: Running) -> None:
    running.publish(FIRST)
    await running.until_served(FIRST)
    text = split(SECOND)["r", 0]
    running.cluster.put(
        CONFIG_MAPS, names.table_name("shared", "r", 0), namespace=NAMESPACE, **part("r", 0, 1, text, table_format="2")
    )
    await until(lambda: "format '2'" in running.pusher.trouble)
    await running.until_asked()
    assert running.table.served == entries(FIRST)


async def test_a_full_dictionary_keeps_what_it_has_until_there_is_room(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsroute.agent.tables.REST", 0.2)
    running.publish(FIRST)
    await running.until_served(FIRST)
    served = running.pusher.version
    running.table.room = 1_500
    running.publish(MANY)
    await until(lambda: "507" in running.pusher.trouble)
    await running.until_asked()
    assert running.table.served == entries(FIRST)
    assert running.pusher.version == served
    assert running.pushed("change", "full") >= 1
    running.table.room = 1_000_000
    await running.until_served(MANY)
    assert running.pusher.trouble == ""


async def test_without_room_for_more_endpoints_change_all_the_same(running: Running) -> None:
    running.publish(FIRST)
    await running.until_served(FIRST)
    running.table.room = 1_500
    moved = [make.group(make.address(9))]
    running.publish(make.table(*MANY.hosts, groups=moved))
    await until(lambda: running.table.served == entries(make.table(groups=moved)), what="for the endpoints")
    await until(lambda: "507" in running.pusher.trouble)
    moved = [make.group(make.address(10))]
    running.publish(make.table(*MANY.hosts, groups=moved))
    await until(lambda: running.table.served == entries(make.table(groups=moved)), what="for the endpoints")
    await running.until_asked()
    refused = running.pushed("change", "full")
    await running.until_asked()
    assert running.pushed("change", "full") == refused, "what was refused rests"
    assert running.pushed("whole") == 1


async def test_a_whole_table_that_has_no_room_leaves_none_behind(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsroute.agent.tables.REST", 0.2)
    running.table.room = 30_000
    running.publish(MANY)
    await until(lambda: "507" in running.pusher.trouble)
    await until(lambda: running.table.entries == {}, what="for the beginning to be taken out")
    assert running.pusher.version == 0
    running.table.room = 1_000_000
    await running.until_served(MANY)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("what", ["clear", "entries", "flip", "changes"])
async def test_whatever_is_cut_the_table_comes_to_be_what_is_published(
    running: Running, what: str, after: bool
) -> None:
    running.table.fault = cutting(what, times=3, after=after and what != "flip")
    running.publish(FIRST)
    await running.until_served(FIRST)
    running.publish(SECOND)
    await running.until_served(SECOND)


async def test_a_nginx_that_fails_is_tried_again(running: Running) -> None:
    running.table.fault = answering(500, to="entries")
    running.publish(FIRST)
    await until(lambda: running.pushed("whole", "unavailable") >= 2)
    assert running.table.served == {}
    running.table.fault = None
    await running.until_served(FIRST)


async def test_what_is_published_meanwhile_goes_out_next(running: Running) -> None:
    running.publish(FIRST)
    await running.until_served(FIRST)
    held, going = asyncio.Event(), asyncio.Event()

    async def hold(request: web.Request) -> None:
        if request.path.endswith("/changes"):
            held.set()
            await going.wait()

    running.table.fault = hold
    running.publish(SECOND)
    await held.wait()
    for number in range(5):
        running.publish(make.table(groups=[make.group(make.address(number + 2))]))
    going.set()
    await running.until_served(make.table(groups=[make.group(make.address(6))]))
    assert 2 <= running.pushed("change") < 6
