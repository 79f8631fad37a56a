"""What a balancer's Secrets come to: the certificates in its nginx.conf, the generated Secrets, and what is told."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.support.certificates import Authority, Pair, secret_of
from tests.support.world import SHARED, SYSTEM, Planner, SmallWorld
from wsroute.api.conditions import Condition, ConditionType
from wsroute.cluster.certificates import Certificate
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key, Secret
from wsroute.controller import certifying
from wsroute.controller.certifying import Unseen
from wsroute.controller.reconciler import status_targets
from wsroute.controller.statuses import StatusKey
from wsroute.controller.tls_secrets import SecretWrite, apply_body, store_keys
from wsroute.dataplane import names

AUTHORITY = Authority()
CHAT, OTHER = (AUTHORITY.issue(f"{name}.example.com") for name in ("chat", "other"))
STORES = store_keys(SHARED)


def listener(*secrets: str, name: str = "wss", port: int = 8443) -> dict[str, Any]:
    certificates = [{"secretName": secret} for secret in secrets]
    return {"name": name, "port": port, "protocol": "HTTPS", "tls": {"certificates": certificates}}


class Scene(Planner):
    """A balancer with a route and a listener that ends TLS, and what is seen of Secrets."""

    def __init__(self, *secrets: str) -> None:
        super().__init__(SmallWorld(pods=1))
        self.world.balancer(listeners=[listener(*(secrets or ("chat",)))])
        self.world.service("chat", "10.0.0.1")
        self.world.route("chat")
        self.see()

    def see(self, **pairs: Pair | dict[str, Any] | Unseen) -> None:
        """These Secrets are seen; of the generated ones what was written."""
        for key in STORES:
            self.sights.setdefault(key, Unseen.ABSENT)
        for name, seen in pairs.items():
            raw = seen.secret(name) if isinstance(seen, Pair) else seen
            self.sights[Key(SYSTEM, name)] = raw if isinstance(raw, Unseen) else secret_of(raw)

    def put(self, write: SecretWrite) -> None:
        """Do what the API server would."""
        self.world.version += 1
        body: Any = apply_body(write.wanted, write.known)
        body["metadata"] |= {"uid": f"uid-{write.wanted.key.name}", "resourceVersion": str(self.world.version)}
        self.sights[write.wanted.key] = secret_of(body)

    def settle_all(self) -> None:
        """Pass and write until nothing is left to do."""
        for _ in range(20):
            plan = self.plan()
            for write in plan.certified.writes:
                self.put(write)
            if not plan.certified.writes:
                self.settle()
                if not self.plan().certified.writes:
                    return
        raise AssertionError("no end")

    def resolved(self) -> Condition:
        target = status_targets(self.result(), self.memo)[StatusKey(Kind.BALANCER, SHARED)]
        return next(c for c in target.conditions if c.type is ConditionType.RESOLVED_REFS)

    def stored(self) -> dict[str, bytes]:
        """The files in the generated Secrets."""
        secrets = [sight for key in STORES if isinstance(sight := self.sights[key], Secret)]
        return {name: base64.b64decode(text) for secret in secrets for name, text in secret.data.items()}

    def served(self) -> str:
        return self.newest().file.bundle.data["nginx.conf"]

    def in_force(self) -> str:
        found = self.world.snapshot.config_maps[Key(SYSTEM, "shared-nginx")]
        return found.annotations[names.CERTIFICATES_ANNOTATION]


def files(*certificates: Certificate) -> dict[str, bytes]:
    return {f"{certificate.file}.pem": certificate.pem for certificate in certificates}


def test_a_pair_is_brought_to_the_pods_before_the_version_that_names_it() -> None:
    scene = Scene()
    scene.see(chat=CHAT)
    plan = scene.plan()
    assert {write.wanted.key for write in plan.certified.writes} == set(STORES)
    assert all(write.known is None for write in plan.certified.writes)
    scene.settle_all()
    certificate = CHAT.certificate()
    assert scene.stored() == files(certificate)
    assert scene.in_force() == certificate.file
    assert f"ssl_certificate      /etc/wsroute-tls/{certificate.file}.pem;" in scene.served()
    assert scene.resolved().status
    assert scene.plan().certified.writes == ()


def test_before_all_secrets_were_seen_nothing_is_made() -> None:
    scene = Scene("chat", "other")
    scene.see(chat=CHAT)
    plan = scene.plan()
    assert plan.certified.followed == {*STORES, Key(SYSTEM, "chat"), Key(SYSTEM, "other")}
    assert (plan.desired, plan.obstacle, plan.certified.writes) == ("", "", ())


def test_a_rotation_keeps_what_a_published_version_names_until_none_does() -> None:
    scene = Scene()
    scene.see(chat=CHAT)
    scene.settle_all()
    new = AUTHORITY.issue("chat.example.com")
    scene.see(chat=new)
    for write in scene.plan().certified.writes:
        scene.put(write)
    assert scene.stored() == files(CHAT.certificate(), new.certificate())
    scene.settle_all()
    assert scene.in_force() == new.certificate().file
    assert scene.stored() == files(new.certificate())


def damaged(pair: Pair) -> dict[str, Any]:
    raw = pair.secret()
    return {**raw, "data": {**raw["data"], "tls.key": OTHER.secret()["data"]["tls.key"]}}


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        (Unseen.ABSENT, "SecretNotFound", "There is no Secret chat in the namespace wsroute-system"),
        (Unseen.FORBIDDEN, "RefNotPermitted", "may not read the Secret chat"),
        (damaged(CHAT), "InvalidCertificate", "is not the key of the first certificate"),
        (CHAT.secret(type="Opaque"), "InvalidCertificate", "type must be kubernetes.io/tls"),
    ],
)
def test_a_bad_secret_harms_its_own_hosts_only_and_what_it_had_is_served_on(seen: Any, reason: str, words: str) -> None:
    path = "spec.listeners[0].tls.certificates[1].secretName"
    fresh = Scene("other", "chat")
    fresh.see(other=OTHER, chat=seen)
    fresh.settle_all()
    assert fresh.in_force() == OTHER.certificate().file
    said = fresh.resolved()
    assert (said.status, str(said.reason)) == (False, reason)
    assert path in said.message
    assert words in said.message
    assert "get no certificate of it" in said.message

    served = Scene("other", "chat")
    served.see(other=OTHER, chat=CHAT)
    served.settle_all()
    before = served.served()
    served.see(chat=seen)
    assert "is served on" in served.resolved().message
    served.settle_all()
    assert served.served() == before
    # The next leader knows no more than what is written.
    again = Planner(served.world)
    again.sights, again.epoch = dict(served.sights), served.epoch
    assert again.plan().desired == served.plan().desired
    # And it is told, and goes, once the Secret is good again.
    served.see(chat=CHAT)
    assert served.resolved().status


def test_without_the_right_to_the_generated_secrets_everything_stays() -> None:
    scene = Scene()
    scene.see(chat=CHAT)
    scene.settle_all()
    before = scene.in_force()
    scene.sights[STORES[2]] = Unseen.FORBIDDEN
    scene.world.route("more")
    plan = scene.plan()
    assert "may not read the Secrets wsroute-system/shared-tls-2" in plan.obstacle
    assert scene.in_force() == before


@pytest.mark.parametrize("change", [{"type": "Opaque"}, {"metadata": {"labels": {}}}])
def test_a_secret_of_somebody_else_is_neither_read_nor_taken_over(change: dict[str, Any]) -> None:
    scene = Scene()
    scene.see(chat=CHAT)
    certificate = CHAT.certificate()
    key = STORES[names.tls_number(certificate.file)]
    labels = {names.BALANCER_LABEL: "shared", names.ROLE_LABEL: names.ROLE_TLS}
    data = {f"{certificate.file}.pem": base64.b64encode(certificate.pem).decode()}
    foreign = {"metadata": {"labels": labels}, "type": names.TLS_TYPE, "data": data, **change}
    foreign["metadata"] = {**foreign["metadata"], "name": key.name, "namespace": SYSTEM, "uid": "theirs"}
    scene.sights[key] = secret_of(foreign)
    write = next(write for write in scene.plan().certified.writes if write.wanted.key == key)
    assert write.known is None


def test_what_a_hand_has_put_into_a_generated_secret_is_no_certificate() -> None:
    scene = Scene()
    scene.see(chat=CHAT)
    scene.settle_all()
    file = CHAT.certificate().file
    key = STORES[names.tls_number(file)]
    ours = scene.sights[key]
    assert isinstance(ours, Secret)
    wrong = {f"{file}.pem": base64.b64encode(OTHER.certificate().pem).decode()}
    scene.sights[key] = Secret(ours.meta, ours.labels, ours.annotations, ours.type, wrong)
    scene.see(chat=Unseen.ABSENT)
    assert "get no certificate of it" in scene.resolved().message


@pytest.mark.parametrize(
    ("begins", "ends", "words", "at", "then"),
    [(1, 9, "is valid only from", 1, True), (-9, 1, "", 1, False), (-9, -1, "has expired on", 9, False)],
)
def test_a_certificate_out_of_its_time_is_served_and_told(
    begins: int, ends: int, words: str, at: int, then: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = AUTHORITY.issue("chat.example.com", begins=timedelta(days=begins), ends=timedelta(days=ends))
    certificate = pair.certificate()
    scene = Scene()
    monkeypatch.setattr("tests.support.world.BEGIN", certificate.begins - begins * 86_400)
    scene.see(chat=pair)
    scene.settle_all()
    assert certificate.file in scene.in_force()
    said = scene.resolved()
    assert said.status is not bool(words)
    assert words in said.message
    if words != "has expired on":
        assert scene.plan().look_again == pytest.approx(at * 86_400, abs=5)
    scene.now = at * 86_400 + 60
    assert scene.resolved().status is then


def test_the_default_is_the_first_one_with_its_twin_of_another_key() -> None:
    scene = Scene("chat", "other")
    scene.see(chat=CHAT, other=OTHER)
    assert scene.plan().certified.tls["wss"].default == (CHAT.certificate().file,)
    scene.see(chat=Unseen.ABSENT)
    assert scene.plan().certified.tls["wss"].default == ()


def test_when_the_listener_goes_so_do_the_files() -> None:
    scene = Scene()
    scene.see(chat=CHAT)
    scene.settle_all()
    scene.world.balancer()
    scene.settle_all()
    assert scene.in_force() == ""
    assert scene.stored() == {}
    assert scene.plan().certified.followed == frozenset()


def test_a_new_leader_writes_all_generated_secrets_anew() -> None:
    scene = Scene()
    scene.see(chat=CHAT)
    scene.settle_all()
    scene.epoch = 2
    writes = scene.plan().certified.writes
    assert {write.wanted.key for write in writes} == set(STORES)
    assert all(write.known is not None for write in writes)


def test_a_full_secret_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certifying, "ROOM", 100)
    scene = Scene()
    scene.see(chat=CHAT)
    assert "There is no room for the certificate of the Secret chat" in scene.resolved().message


def texts_of(pair: Pair) -> Iterator[str]:
    """The lines of a key, as PEM and as base64 of that."""
    for pem in (pair.key, pair.certificate().pem.partition(b"-----BEGIN PRIVATE KEY-----")[2]):
        yield from (line.decode() for line in pem.splitlines() if len(line) > 30 and b"-----" not in line)
        encoded = base64.b64encode(pem).decode()
        yield from (encoded[start : start + 40] for start in range(0, len(encoded) - 40, 40))


def test_no_key_is_in_a_config_map_a_status_or_what_is_shown_of_a_plan() -> None:
    scene = Scene("chat", "bad")
    scene.see(chat=CHAT, bad=damaged(OTHER))
    scene.settle_all()
    result = scene.result()
    statuses = status_targets(result, scene.memo)
    maps = scene.world.snapshot.config_maps
    shown = json.dumps([[dict(each.data), dict(each.annotations)] for each in maps.values()])
    shown += f"{statuses!r} {result!r} {scene.sights!r} {scene.memo!r}"
    assert CHAT.certificate().file in shown
    for text in (*texts_of(CHAT), *texts_of(OTHER)):
        assert text not in shown
