"""The host that another namespace claimed first can't be taken, by no route and in no spelling."""

import json
from dataclasses import replace

import pytest

from localcluster.install import BALANCER, NAMESPACE
from tests.cluster.conftest import BOTH
from tests.support.stack import Stack, eventually
from wsroute.kube.port import CONFIG_MAPS, ROUTES, RejectedError
from wsroute.nginx.served import served_hosts

STATE = f"{BALANCER}-state"


@pytest.fixture
def other(stack: Stack, other_namespace: str) -> Stack:
    """Another team on the same balancer."""
    return replace(stack, namespace=other_namespace)


async def is_refused(team: Stack, name: str, words: str) -> None:
    """The route gets HostConflict, with these words."""

    async def told() -> None:
        condition = await team.condition(name, "Accepted", "False")
        assert condition["reason"] == "HostConflict"
        assert words in condition["message"]

    await eventually(told)


async def owners(stack: Stack, data_plane: str, host: str) -> set[str]:
    """The namespaces whose routes are published for a host."""
    if data_plane == "Static":
        return {served_hosts(await stack.configuration())[host]}
    words = [line.partition(" ") for line in (await stack.tables()).splitlines()]
    records = [json.loads(rest) for word, _, rest in words if word == "host"]
    return {path["route"].partition("/")[0] for each in records if each["host"] == host for path in each["paths"]}


@BOTH
async def test_a_host_that_was_claimed_first_can_not_be_taken(stack: Stack, other: Stack, data_plane: str) -> None:
    await other.route("older", hosts=[other.host("older")])
    await other.condition("older", "Accepted")
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    host = stack.host()

    async def is_still_ours() -> None:
        await stack.condition("chat", "Ready")
        await stack.answers(host=host, status=101)
        assert await owners(stack, data_plane, host) == {stack.namespace}

    # A new route, an older route that is edited, a wildcard.
    wildcard = f"*.{host.partition('.')[2]}"
    await other.route("newer", hosts=[host])
    await is_refused(other, "newer", f"The host {host} belongs to another namespace")
    await is_still_ours()
    await other.route("older", hosts=[other.host("older"), host])
    await is_refused(other, "older", f"The host {host} belongs to another namespace")
    await is_still_ours()
    await other.route("wild", hosts=[wildcard])
    await is_refused(other, "wild", f"The host {wildcard}, which overlaps with {host}, belongs to another namespace")
    await is_still_ours()

    # Other spellings: refused in a spec, and of one meaning in a request.
    for spelling, words in ((host.upper(), "in lower case"), (f"{host}.", "without the dot at its end")):
        with pytest.raises(RejectedError, match=words):
            await other.route("spelled", hosts=[spelling])
        await stack.answers(host=spelling, status=101)

    # The record deleted by hand while older routes wait: made anew, and nothing changes.
    before = (await stack.client.get(CONFIG_MAPS, namespace=NAMESPACE, name=STATE))["metadata"]["uid"]
    await stack.client.delete(CONFIG_MAPS, namespace=NAMESPACE, name=STATE)

    async def is_made_anew() -> None:
        listing = await stack.client.list(CONFIG_MAPS, namespace=NAMESPACE, label_selector="wsroute.dev/role=state")
        assert [
            found["metadata"]["name"]
            for found in listing.items
            if found["metadata"]["uid"] != before  # it is made empty, and then filled
            and f"{host} {stack.namespace}\n" in found.get("data", {}).get("hosts", "")
        ] == [STATE]

    await eventually(is_made_anew)
    await is_still_ours()

    # Deleted and made anew within the hold: for nobody else, and for its owner at once.
    await stack.client.delete(ROUTES, namespace=stack.namespace, name="chat")
    for waiting in ("newer", "older", "wild"):
        await is_refused(other, waiting, "and is held for that namespace until")
    stalled = await other.condition("newer", "Stalled", "False")
    assert stalled["reason"] == "Progressing"
    await eventually(lambda: stack.answers(host=host, status=404))
    await stack.route("anew", hosts=[host])
    await stack.condition("anew", "Ready")
    await stack.answers(host=host, status=101)
    assert await owners(stack, data_plane, host) == {stack.namespace}
    await is_refused(other, "newer", f"The host {host} belongs to another namespace")


async def test_a_host_below_another_namespaces_wildcard_can_not_be_taken(stack: Stack, other: Stack) -> None:
    await stack.backend()
    await stack.route("wild", hosts=[f"*.{stack.namespace}.example.com"])
    await stack.condition("wild", "Ready")
    await other.route("taker", hosts=[stack.host("any")])
    await is_refused(other, "taker", f"which overlaps with *.{stack.namespace}.example.com,")
    await stack.answers(host=stack.host("any").upper(), status=101)
