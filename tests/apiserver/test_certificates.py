"""Certificates from Secret to the pods' Secrets, by the whole operator against a real API server."""

import base64
import json
import logging
from typing import Any

import pytest

from tests.support.certificates import Authority, Pair, rsa_key
from tests.support.controlled import HOST, World, annotation_of, operating
from wsroute.cluster.certificates import Certificate
from wsroute.dataplane import names
from wsroute.dataplane.shards import TABLE_KEY, parse_certificates
from wsroute.kube.port import (
    BALANCERS,
    CONFIG_MAPS,
    EVENTS,
    ROUTES,
    SECRETS,
    Json,
    NotFoundError,
)

AUTHORITY = Authority()


async def put(world: World, pair: Pair, name: str = "chat", **changes: Any) -> None:
    """A Secret as an administrator makes it."""
    raw = pair.secret(name, world.namespace)
    await world.apply(SECRETS, name, **{"type": raw["type"], "data": raw["data"], **changes})


@pytest.fixture(params=["Static", "Dynamic"])
def plane(request: pytest.FixtureRequest) -> str:
    """The balancer's data plane."""
    return str(request.param)


async def listen(world: World, plane: str, *secrets: str) -> None:
    """A balancer with a listener that ends TLS."""
    certificates = [{"secretName": name} for name in secrets]
    listener = {"name": "wss", "port": 8443, "protocol": "HTTPS", "public": {"scheme": "wss", "port": 443}}
    await world.balancer(data_plane=plane, listeners=[{**listener, "tls": {"certificates": certificates}}])


async def stores(world: World) -> list[Json]:
    """The generated Secrets that there are."""
    found = []
    for number in range(names.TLS_SECRETS):
        try:
            found.append(await world.get(SECRETS, names.tls_name("shared", number)))
        except NotFoundError:
            continue
    return found


async def stored(world: World) -> set[str]:
    """The files in the generated Secrets."""
    return {name.removesuffix(".pem") for secret in await stores(world) for name in secret.get("data") or {}}


async def named(world: World) -> set[str]:
    """The files that the version in force names, and the table."""
    in_force = annotation_of(await world.config_map("shared-nginx"), names.CERTIFICATES_ANNOTATION)
    table = await world.config_map(names.table_name("shared", "c", 0))
    records = parse_certificates(table["data"][TABLE_KEY]) if table is not None else ()
    return {*in_force.split(), *(file for record in records for file in record.files)}


async def until_served(world: World, *certificates: Certificate) -> None:
    """Wait until these certificates are named, and the Secrets hold them and no others."""
    files = {certificate.file for certificate in certificates}

    async def served() -> bool:
        return await named(world) == files and await stored(world) == files

    await world.until(served, what=f"{len(files)} certificates are served")


async def resolved(world: World) -> tuple[str, str, str]:
    """The balancer's ResolvedRefs."""
    status = (await world.get(BALANCERS, "shared")).get("status") or {}
    told = [c for c in status.get("conditions", []) if c["type"] == "ResolvedRefs"]
    return (told[0]["status"], told[0]["reason"], told[0]["message"]) if told else ("", "", "")


async def until_resolved(world: World, reason: str) -> str:
    async def so() -> bool:
        return (await resolved(world))[1] == reason

    await world.until(so, what=f"the balancer says {reason}")
    return (await resolved(world))[2]


async def test_from_a_secret_to_the_pods_and_through_its_rotations(world: World, plane: str) -> None:
    await listen(world, plane, "chat", "rsa")
    await world.backend("10.1.0.1")
    old, new, rsa = AUTHORITY.issue(HOST), AUTHORITY.issue(HOST), AUTHORITY.issue(HOST, key=rsa_key())
    await put(world, old)
    await put(world, rsa, "rsa")
    async with operating(world, "one"):
        await world.route()
        await world.until_programmed()
        await until_served(world, old.certificate(), rsa.certificate())
        await until_resolved(world, "ResolvedRefs")
        assert (await resolved(world))[0] == "True"
        assert (await world.get(ROUTES, "chat"))["status"]["urls"] == [f"wss://{HOST}/ws"]
        for secret in await stores(world):
            assert secret["type"] == names.TLS_TYPE
            assert secret["metadata"]["labels"][names.BALANCER_LABEL] == "shared"
            for name, text in (secret.get("data") or {}).items():
                assert base64.b64decode(text) in {old.certificate().pem, rsa.certificate().pem}, name
        version = annotation_of(await world.config_map("shared-nginx"), names.VERSION_ANNOTATION)
        await put(world, new)
        await until_served(world, new.certificate(), rsa.certificate())
        reloaded = version != annotation_of(await world.config_map("shared-nginx"), names.VERSION_ANNOTATION)
        assert reloaded == (plane == "Static")
    # The next operator remembers nothing, and what stands is right.
    seen = {secret["metadata"]["name"]: secret["data"] for secret in await stores(world) if secret.get("data")}
    async with operating(world, "two"):
        await until_served(world, new.certificate(), rsa.certificate())
        await world.until_at_rest()
    assert {secret["metadata"]["name"]: secret["data"] for secret in await stores(world) if secret.get("data")} == seen


async def test_a_secret_that_comes_late_goes_bad_or_goes_is_told_and_harms_nobody_else(
    world: World, plane: str
) -> None:
    await listen(world, plane, "good", "chat")
    await world.backend("10.1.0.1")
    good, chat = AUTHORITY.issue("good.example.com"), AUTHORITY.issue(HOST)
    await put(world, good, "good")
    async with operating(world, "one"):
        await world.route()
        await world.until_programmed()
        assert "spec.listeners[0].tls.certificates[1].secretName" in await until_resolved(world, "SecretNotFound")
        await until_served(world, good.certificate())
        await put(world, chat)
        await until_served(world, good.certificate(), chat.certificate())
        await until_resolved(world, "ResolvedRefs")
        await put(world, Pair(chat.chain, good.key))
        assert "is served on" in await until_resolved(world, "InvalidCertificate")
        await world.client.delete(SECRETS, namespace=world.namespace, name="chat")
        await until_resolved(world, "SecretNotFound")
    async with operating(world, "two"):
        # It remembers nothing either, and goes on serving what came from there.
        await world.until_at_rest()
        await until_served(world, good.certificate(), chat.certificate())


@pytest.mark.parametrize("kind", ["Opaque", names.TLS_TYPE])
async def test_a_secret_of_somebody_else_is_left_alone(world: World, plane: str, kind: str) -> None:
    data = {"mine": base64.b64encode(b"mine").decode()}
    for number in range(names.TLS_SECRETS):
        await world.apply(SECRETS, names.tls_name("shared", number), type=kind, data=data)
    await listen(world, plane, "chat")
    await world.backend("10.1.0.1")
    await put(world, AUTHORITY.issue(HOST))
    async with operating(world, "one"):
        await world.route()

        async def told() -> bool:
            status = (await world.get(BALANCERS, "shared")).get("status") or {}
            said = {c["type"]: c["message"] for c in status.get("conditions", [])}
            return "Secret " in said.get("Programmed", "") and "is left alone" in said["Programmed"]

        await world.until(told, what="the balancer tells of it")

        async def waits() -> bool:
            table = await world.config_map(names.table_name("shared", "r", 0))
            shell = await world.config_map("shared-nginx")
            # Without TLS the route is served, and with TLS it is not yet: that is what Programmed tells.
            told = (await world.conditions()).get("Programmed") == ("False", "Pending")
            return table is not None and shell is not None and told

        # On Static everything has to wait for the certificates.
        if plane == "Dynamic":
            await world.until(waits, what="the routes are published")
    assert [secret["data"] for secret in await stores(world)] == [data] * names.TLS_SECRETS
    assert not await named(world)
    assert (await world.config_map("shared-nginx") is None) == (plane == "Static")


def lines_of(*pairs: Pair) -> set[str]:
    """The lines of the keys, plain, as they are written for nginx, and as the API server has them."""
    found: set[str] = set()
    for pair in pairs:
        for pem in (pair.key, pair.certificate().pem.partition(b"-----BEGIN PRIVATE KEY-----")[2]):
            found.update(line.decode() for line in pem.splitlines() if len(line) > 30 and b"-----" not in line)
            encoded = base64.b64encode(pem).decode()
            found.update(encoded[start : start + 40] for start in range(0, len(encoded) - 40, 40))
    return found


async def test_no_key_is_in_a_log_an_object_or_an_event(
    world: World, plane: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await listen(world, plane, "chat", "bad")
    await world.backend("10.1.0.1")
    chat, other = AUTHORITY.issue(HOST), AUTHORITY.issue("other.example.com")
    await put(world, chat)
    await put(world, Pair(other.chain, chat.key), "bad")
    async with operating(world, "one") as operator:
        await world.route()
        await world.until_programmed()
        await until_resolved(world, "InvalidCertificate")

        async def told() -> bool:
            listing = await world.client.list(EVENTS, namespace=world.namespace)
            return any(event.get("reason") == "InvalidCertificate" for event in listing.items)

        await world.until(told, what="an Event tells of it")
        everything = [
            item
            for resource in (CONFIG_MAPS, BALANCERS, ROUTES, EVENTS)
            for item in (await world.client.list(resource, namespace=world.namespace)).items
        ]
        shown = json.dumps(everything) + caplog.text + operator.metrics.render().decode()
    assert chat.certificate().file in shown
    assert not [line for line in lines_of(chat, other) if line in shown]
