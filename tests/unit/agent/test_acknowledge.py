"""When a pod's state is written, and that it gets through."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from tests.support.fake_cluster import FakeCluster
from tests.support.waiting import until
from wsroute.agent.acknowledge import AFTERWARDS, COALESCE, REFRESH, SOCKETS, Acknowledger, Sent, due
from wsroute.dataplane.acknowledgement import Acknowledgement, Draining, Failure
from wsroute.kube.port import KubeError, Resource, UnavailableError

ONE = Acknowledgement(version="aaaaaaaaaaaa", epoch=1, sockets=0, nginx="1.31.3", ipv6=True)
SENT = Sent(ONE, at=100.0)


def test_what_matters_is_written_at_once() -> None:
    assert due(ONE, None) < 0
    assert due(replace(ONE, version="bbbbbbbbbbbb"), SENT) <= SENT.at
    assert due(replace(ONE, failure=Failure("bbbbbbbbbbbb", "test", "no")), SENT) <= SENT.at


def test_the_rest_waits() -> None:
    assert due(replace(ONE, epoch=2), SENT) == SENT.at + COALESCE
    assert due(replace(ONE, sockets=5), SENT) == SENT.at + SOCKETS
    assert due(replace(ONE, sockets=5, epoch=2), SENT) == SENT.at + COALESCE
    assert due(replace(ONE, draining=Draining(1, 5, 1000)), SENT) == SENT.at + COALESCE
    assert due(replace(ONE, table=7), SENT) == SENT.at + COALESCE
    long_after = SENT.at + 100
    assert due(replace(ONE, table=7), SENT, since=long_after) == long_after + AFTERWARDS
    assert due(replace(ONE, table=7, version="bbbbbbbbbbbb"), SENT, since=long_after) == SENT.at
    assert due(replace(ONE, trouble="The table is full."), SENT) == SENT.at + COALESCE
    fewer = Sent(replace(ONE, draining=Draining(1, 5, 1000)), at=100.0)
    assert due(replace(ONE, draining=Draining(1, 4, 1000)), fewer) == fewer.at + SOCKETS
    assert due(ONE, SENT) == SENT.at + REFRESH


@asynccontextmanager
async def acknowledging(cluster: FakeCluster) -> AsyncIterator[tuple[Acknowledger, list[bool]]]:
    attempts: list[bool] = []
    acknowledger = Acknowledger(cluster, namespace="ns", balancer="shared", pod="shared-abc", counted=attempts.append)
    task = asyncio.create_task(acknowledger.run())
    try:
        yield acknowledger, attempts
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_it_applies_its_own_key() -> None:
    cluster = FakeCluster()
    async with acknowledging(cluster) as (acknowledger, attempts):
        acknowledger.update(ONE)
        await until(lambda: attempts == [True])
        [body] = cluster.applied
        assert body["metadata"] == {"namespace": "ns", "name": "shared-agents"}
        assert list(body["data"]) == ["shared-abc"]
        assert json.loads(body["data"]["shared-abc"])["version"] == ONE.version


async def test_a_new_version_does_not_wait_for_the_last_one_s_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsroute.agent.acknowledge.COALESCE", 60.0)
    cluster = FakeCluster()
    async with acknowledging(cluster) as (acknowledger, attempts):
        for number in range(3):
            acknowledger.update(replace(ONE, version=f"{number:012x}"))
            await until(lambda number=number: len(attempts) == number + 1)  # type: ignore[misc]


async def test_a_pushed_table_is_told_soon_after_a_quiet_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsroute.agent.acknowledge.COALESCE", 60.0)
    cluster = FakeCluster()
    async with acknowledging(cluster) as (acknowledger, attempts):
        acknowledger.update(ONE)
        await until(lambda: len(attempts) == 1)
        acknowledger._sent = Sent(ONE, at=time.monotonic() - 60.0)
        acknowledger.update(replace(ONE, table=7))
        await until(lambda: len(attempts) == 2)


async def test_it_gets_through_once_the_server_is_back() -> None:
    cluster = FakeCluster()
    down = True

    def fail(_verb: str, _resource: Resource, _name: str) -> KubeError | None:
        return UnavailableError("down") if down else None

    cluster.fail = fail
    async with acknowledging(cluster) as (acknowledger, attempts):
        acknowledger.update(ONE)
        await until(lambda: len(attempts) >= 2)
        down = False
        await until(lambda: attempts[-1])
        assert len(cluster.applied) == 1


async def test_the_same_is_written_again_after_a_reconnection() -> None:
    cluster = FakeCluster()
    async with acknowledging(cluster) as (acknowledger, attempts):
        acknowledger.update(ONE)
        await until(lambda: len(attempts) == 1)
        acknowledger.update(ONE)
        acknowledger.repeat()
        await until(lambda: len(attempts) == 2)
        assert cluster.applied[0] == cluster.applied[1]
