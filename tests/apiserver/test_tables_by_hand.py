"""What people do to the ConfigMaps of a table: the operator puts them right, and leaves alone what is not its own.

That nginx and its sockets notice nothing is tests/apiserver/test_agent_faults.py.
"""

from typing import Any, Final

import pytest

from tests.support.controlled import World, annotation_of, operating
from wsroute.dataplane import names
from wsroute.dataplane.shards import TABLE_KEY
from wsroute.kube.port import BALANCERS, CONFIG_MAPS, Json

SOON: Final = 5.0
"""Seconds within which what a hand has changed is as it was, and an edit that is made then is in the tables."""


def _emptied(found: Json) -> Json:
    return {**found, "data": {TABLE_KEY: ""}}


def _cut(found: Json) -> Json:
    return {**found, "data": {TABLE_KEY: found["data"][TABLE_KEY][:-20]}}


def _without_data(found: Json) -> Json:
    return {key: value for key, value in found.items() if key != "data"}


def _later(found: Json) -> Json:
    annotations = {**found["metadata"]["annotations"], names.TABLE_FORMAT_ANNOTATION: "2"}
    return {**found, "metadata": {**found["metadata"], "annotations": annotations}}


def _of_another_count(found: Json) -> Json:
    family = found["metadata"]["name"].removeprefix("shared-table-")[0]
    annotations = {**found["metadata"]["annotations"], names.SHARD_ANNOTATION: f"{family} 0/128"}
    return {**found, "metadata": {**found["metadata"], "annotations": annotations}}


EDITS: Final = {
    "emptied": _emptied,
    "cut": _cut,
    "without data": _without_data,
    "of a later format": _later,
    "of another count": _of_another_count,
    "deleted": None,
}


@pytest.mark.parametrize("name", ["shared-table-r0", "shared-table-e0"])
async def test_a_part_is_put_right(world: World, name: str) -> None:
    await world.balancer(data_plane="Dynamic")
    await world.backend("10.1.0.1")
    async with operating(world, "one"):
        await world.route()
        await world.until_programmed()
        await world.until_at_rest()
        stood = await world.config_map(name)
        assert stood is not None
        for how, edit in EDITS.items():
            if edit is None:
                await world.client.delete(CONFIG_MAPS, namespace=world.namespace, name=name)
            else:
                now = await world.get(CONFIG_MAPS, name)
                await world.client.update(CONFIG_MAPS, edit(now))

            async def healed() -> bool:
                found = await world.config_map(name)
                return (
                    found is not None
                    and found.get("data") == stood["data"]
                    and all(
                        annotation_of(found, each) == annotation_of(stood, each)
                        for each in (names.TABLE_FORMAT_ANNOTATION, names.SHARD_ANNOTATION, names.DIGEST_ANNOTATION)
                    )
                )

            await world.until(healed, what=f"{name} is as it was after it was {how}", seconds=SOON)
        await world.route("after", path="/after")

        async def published() -> bool:
            return "/after" in await world.published()

        await world.until(published, what="an edit is in the tables", seconds=SOON)
        await world.until_programmed("after")


async def test_somebody_else_s_object_of_that_name_is_left_alone_and_told_of(world: World) -> None:
    mine = {TABLE_KEY: "mine"}
    await world.apply(CONFIG_MAPS, "shared-table-r0", data=mine)
    await world.balancer(data_plane="Dynamic")
    await world.backend("10.1.0.1")

    async def told() -> bool:
        status: dict[str, Any] = (await world.get(BALANCERS, "shared")).get("status") or {}
        return any(
            condition["type"] == "Programmed"
            and condition["status"] == "False"
            and "shared-table-r0 exists and does not bear our labels" in condition["message"]
            for condition in status.get("conditions", [])
        )

    async with operating(world, "one"):
        await world.route()
        await world.until(told, what="the balancer says so")
        found = await world.config_map("shared-table-r0")
        assert found is not None
        assert found["data"] == mine

        async def is_not_served() -> bool:
            return (await world.conditions()).get("Programmed", ("", ""))[0] == "False"

        await world.until(is_not_served, what="the route says that it is not served")
        await world.client.delete(CONFIG_MAPS, namespace=world.namespace, name="shared-table-r0")
        await world.until_programmed(seconds=4 * SOON)
