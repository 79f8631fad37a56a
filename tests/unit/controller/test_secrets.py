"""Following Secrets by their names, and writing the generated ones."""

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from tests.support.certificates import Authority
from tests.support.fake_cluster import FakeCluster
from tests.support.waiting import until
from wsroute.cluster.objects import Key, Secret
from wsroute.controller import secrets as module
from wsroute.controller.certifying import Unseen
from wsroute.controller.secrets import Secrets
from wsroute.controller.tls_secrets import SecretWrite, WantedSecret
from wsroute.controller.writer import Outcome
from wsroute.dataplane import names
from wsroute.kube.backoff import Backoff
from wsroute.kube.port import SECRETS, ForbiddenError, KubeError, RejectedError, Resource, UnavailableError
from wsroute.observability.metrics import Metrics

SYSTEM = "wsroute-system"
CHAT, STORE = Key(SYSTEM, "chat"), Key(SYSTEM, "shared-tls-0")
PAIR = Authority().issue("chat.example.com")


class Scene:
    """A cluster, and who follows it."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.changes = 0
        self.secrets = Secrets(self.cluster, Metrics(), changed=self._count, assert_leading=lambda: None)

    def _count(self) -> None:
        self.changes += 1

    def put(self, name: str) -> None:
        raw = PAIR.secret(name)
        self.cluster.put(SECRETS, name, namespace=SYSTEM, type=raw["type"], data=raw["data"])

    def refuse(self, error: KubeError) -> None:
        """Have all requests fail."""
        self.cluster.fail = lambda *_: error

    async def until_seen(self, key: Key, kind: object) -> None:
        def seen() -> bool:
            found = self.secrets.sights.get(key)
            return found is kind or (isinstance(kind, type) and isinstance(found, kind))

        await until(seen, what=f"{key} is seen as {kind}")


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(module, "REFUSALS", Backoff(first=0.01, cap=0.02))
    made = Scene()
    task = asyncio.create_task(made.secrets.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_secret_is_seen_as_it_comes_changes_and_goes(scene: Scene) -> None:
    scene.secrets.aim(frozenset({CHAT}))
    await scene.until_seen(CHAT, Unseen.ABSENT)
    scene.put("other")
    scene.put("chat")
    await scene.until_seen(CHAT, Secret)
    assert scene.secrets.sights.keys() == {CHAT}
    before = scene.secrets.sights
    scene.cluster.put(SECRETS, "chat", namespace=SYSTEM, type="Opaque", data={})
    await until(lambda: scene.secrets.sights != before)
    scene.cluster.remove(SECRETS, "chat", namespace=SYSTEM)
    await scene.until_seen(CHAT, Unseen.ABSENT)
    assert isinstance(before[CHAT], Secret), "what a pass has been given does not change"
    assert scene.changes == 4


async def test_nobody_looks_any_more_at_what_nobody_names(scene: Scene) -> None:
    scene.put("chat")
    scene.secrets.aim(frozenset({CHAT, STORE}))
    await scene.until_seen(CHAT, Secret)
    await scene.until_seen(STORE, Unseen.ABSENT)
    scene.secrets.aim(frozenset({STORE}))
    await until(lambda: scene.secrets.sights.keys() == {STORE})


async def test_a_missing_right_is_seen_and_what_was_seen_before_stays(scene: Scene) -> None:
    scene.refuse(ForbiddenError("no", status=403))
    scene.secrets.aim(frozenset({CHAT}))
    await scene.until_seen(CHAT, Unseen.FORBIDDEN)
    scene.put("chat")
    scene.cluster.fail = lambda *_: None
    await scene.until_seen(CHAT, Secret)
    refused = 0

    def refuse(*_: object) -> KubeError:
        nonlocal refused
        refused += 1
        return ForbiddenError("no", status=403)

    scene.cluster.fail = refuse
    scene.put("other")  # ends the wait of the watch
    await until(lambda: refused >= 3)
    assert isinstance(scene.secrets.sights[CHAT], Secret)


async def test_an_outage_is_no_answer(scene: Scene) -> None:
    scene.refuse(UnavailableError("later", status=503))
    scene.secrets.aim(frozenset({CHAT}))
    await until(lambda: scene.cluster.lists.count("secrets") >= 3)
    assert scene.secrets.sights == {}


def wanted(epoch: str = "1") -> WantedSecret:
    data = {f"{'0' * 64}.pem": base64.b64encode(PAIR.key).decode()}
    return WantedSecret(STORE, "shared", {names.EPOCH_ANNOTATION: epoch}, data)


async def test_a_secret_is_made_and_written_anew_on_what_was_seen(scene: Scene) -> None:
    scene.secrets.aim(frozenset({STORE}))
    await scene.until_seen(STORE, Unseen.ABSENT)
    assert await scene.secrets.write(SecretWrite(wanted(), None)) is Outcome.WRITTEN
    first = scene.secrets.sights[STORE]
    assert isinstance(first, Secret), "the answer is enough"
    assert (first.type, first.labels[names.ROLE_LABEL]) == (names.TLS_TYPE, names.ROLE_TLS)
    assert await scene.secrets.write(SecretWrite(wanted("2"), first)) is Outcome.WRITTEN
    assert await scene.secrets.write(SecretWrite(wanted("3"), first)) is Outcome.CONFLICT, "it was written since"


async def test_what_somebody_else_has_is_not_touched(scene: Scene) -> None:
    scene.put(STORE.name)
    scene.secrets.aim(frozenset({STORE}))
    await scene.until_seen(STORE, Secret)
    assert await scene.secrets.write(SecretWrite(wanted(), None)) is Outcome.FOREIGN
    assert scene.cluster.writes == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RejectedError("type: field is immutable", status=422), Outcome.FOREIGN),
        (ForbiddenError("no", status=403), Outcome.REFUSED),
        (UnavailableError("later", status=503), Outcome.UNAVAILABLE),
    ],
)
async def test_a_write_that_fails(scene: Scene, error: KubeError, outcome: Outcome) -> None:
    def fail(verb: str, _resource: Resource, _name: str) -> KubeError | None:
        return error if verb == "apply" else None

    scene.cluster.fail = fail
    assert await scene.secrets.write(SecretWrite(wanted(), None)) is outcome


async def test_the_words_of_a_refusal_are_not_repeated(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scene.cluster.fail = lambda verb, *_: RejectedError("bad value HUSH", status=422) if verb == "apply" else None
    scene.cluster.put(SECRETS, STORE.name, namespace=SYSTEM, type=names.TLS_TYPE)
    scene.secrets.aim(frozenset({STORE}))
    await scene.until_seen(STORE, Secret)
    known = scene.secrets.sights[STORE]
    assert isinstance(known, Secret)
    assert await scene.secrets.write(SecretWrite(wanted(), known)) is Outcome.REFUSED
    assert "422" in caplog.text
    assert "HUSH" not in caplog.text
