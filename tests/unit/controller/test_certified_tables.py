"""The certificates of a Dynamic balancer: what its table says of them, when, and what routes are told of it."""

from typing import Any

import pytest

from tests.support.certificates import Pair
from tests.support.world import SHARED, TEAM
from tests.unit.controller.test_certifying import AUTHORITY, CHAT, STORES, Scene, files, listener
from tests.unit.controller.test_tables import damage
from wsroute.api.conditions import ConditionType
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller import certifying
from wsroute.controller.certifying import Unseen
from wsroute.controller.statuses import StatusKey
from wsroute.dataplane import names
from wsroute.dataplane.shards import TABLE_KEY, parse_certificates, parse_hosts

TABLE, HOSTS = (Key("wsroute-system", f"shared-table-{family}0") for family in "cr")


class DynamicScene(Scene):
    """A Dynamic balancer with a route and a listener that ends TLS."""

    def __init__(self, *secrets: str) -> None:
        super().__init__(*secrets)
        self.listen(*(secrets or ("chat",)))

    def listen(self, *secrets: str, **spec: Any) -> None:
        listeners = [listener(*secrets)] if secrets else [{"name": "ws", "port": 8080, "protocol": "HTTP"}]
        self.world.balancer(dataPlane="Dynamic", listeners=listeners, **spec)

    def files(self) -> dict[str, tuple[str, ...]]:
        """The files by name, as they are published."""
        part = self.world.snapshot.config_maps.get(TABLE)
        return {} if part is None else {each.name: each.files for each in parse_certificates(part.data[TABLE_KEY])}

    def hosts(self) -> list[str]:
        return [each.host for each in parse_hosts(self.world.snapshot.config_maps[HOSTS].data[TABLE_KEY])]

    def balancer_programmed(self) -> bool:
        return self._said(StatusKey(Kind.BALANCER, SHARED), ConditionType.PROGRAMMED)[0]

    def have(self, *, table: int | None = None) -> None:
        """Have the pod say that its nginx has the file in force and these tables; the newest ones by default."""
        version = self.world.snapshot.config_maps[Key("wsroute-system", "shared-nginx")]
        said = self.world.version if table is None else table
        self.world.say("p0", version=version.annotations[names.VERSION_ANNOTATION], table=said)


def settled(**pairs: Pair) -> DynamicScene:
    """A scene in which everything is published, and the pod has it."""
    scene = DynamicScene(*pairs)
    scene.see(**pairs)
    scene.settle_all()
    scene.have()
    return scene


def test_certificates_stand_in_the_table_and_not_in_the_file() -> None:
    scene = settled(chat=CHAT)
    file = CHAT.certificate().file
    assert scene.files() == {"chat.example.com": (file,), "*": (file,)}
    assert scene.stored() == files(CHAT.certificate())
    assert file not in scene.served()
    assert scene.in_force() == ""
    assert scene.programmed("chat")[0]


def test_a_rotation_is_another_table_and_no_other_file() -> None:
    scene = settled(chat=CHAT)
    version, old, new = scene.plan().desired, CHAT.certificate(), AUTHORITY.issue("chat.example.com")
    scene.see(chat=new)
    plan = scene.plan()
    assert plan.desired == version
    assert [write.wanted.key for stage in plan.certificate_stages for write in stage] == [TABLE]
    for write in plan.certified.writes:
        scene.put(write)
    assert scene.stored() == files(old, new.certificate()), (
        "pods that start look the old one up until the table is written"
    )
    scene.settle_all()
    assert scene.files()["chat.example.com"] == (new.certificate().file,)
    assert scene.stored() == files(new.certificate())


def test_a_route_stays_programmed_through_a_rotation_of_which_the_balancer_tells() -> None:
    scene = settled(chat=CHAT)
    had = scene.world.version
    scene.see(chat=AUTHORITY.issue("chat.example.com"))
    scene.settle_all()
    scene.have(table=had)
    assert scene.programmed("chat")[0]
    assert not scene.balancer_programmed()
    scene.have()
    assert scene.balancer_programmed()


def test_a_balancer_is_programmed_once_its_pods_have_taken_the_last_certificate_out() -> None:
    scene = settled(chat=CHAT)
    scene.world.remove(Kind.ROUTE, "chat", TEAM)
    scene.settle_all()
    scene.have()
    had = scene.world.version
    scene.listen()
    scene.settle_all()
    assert scene.files() == {}
    scene.have(table=had)
    assert not scene.balancer_programmed()
    scene.have()
    assert scene.balancer_programmed()


def test_a_route_is_programmed_once_its_pods_have_a_certificate_for_it() -> None:
    scene = DynamicScene("other", "chat")
    scene.see(other=Unseen.ABSENT, chat=Unseen.ABSENT)
    scene.settle_all()
    scene.have()
    assert scene.files() == {}
    assert scene.programmed("chat")[0], "what no certificate is for is the balancer's affair"
    assert not scene.resolved().status
    had = scene.world.version
    scene.see(chat=CHAT)
    scene.settle_all()
    scene.have(table=had)
    assert not scene.programmed("chat")[0]
    scene.have()
    assert scene.programmed("chat")[0]


@pytest.mark.parametrize("unseen", ["yet", "forbidden"])
def test_while_certificates_are_not_known_routes_go_on_and_the_table_of_them_stays(unseen: str) -> None:
    scene = settled(chat=CHAT)
    before = scene.files()
    if unseen == "yet":
        scene.listen("chat", "more")
    else:
        scene.sights[STORES[1]] = Unseen.FORBIDDEN
    scene.world.route("next")
    scene.settle()
    assert scene.hosts() == ["chat.example.com", "next.example.com"]
    assert scene.files() == before
    assert bool(scene.plan().obstacle) == (unseen == "forbidden")


def test_a_new_leader_that_knows_no_certificates_yet_leaves_them() -> None:
    scene = settled(chat=CHAT)
    part = scene.world.snapshot.config_maps[TABLE]
    again = DynamicScene.__new__(DynamicScene)
    Scene.__init__(again)
    again.world, again.epoch, again.sights = scene.world, 7, {}
    again.settle()
    after = again.world.snapshot.config_maps[TABLE]
    assert after.data == part.data
    assert after.annotations[names.EPOCH_ANNOTATION] == "7", "what an older leader has under way must fail"


def test_what_a_hand_does_to_the_part_is_undone() -> None:
    scene = settled(chat=CHAT)
    before = scene.files()
    text = 'certificate {"files":["../../etc/passwd"],"listeners":["wss"],"name":"*"}\n'
    damage(scene, TABLE.name, text)
    scene.settle_all()
    assert scene.files() == before


def test_when_the_listener_goes_the_part_is_emptied_and_without_one_there_is_none() -> None:
    scene = settled(chat=CHAT)
    scene.listen()
    scene.settle_all()
    assert scene.world.snapshot.config_maps[TABLE].data == {TABLE_KEY: ""}
    assert scene.stored() == {}
    plain = DynamicScene()
    plain.listen()
    plain.settle()
    assert TABLE not in plain.world.snapshot.config_maps


def test_names_have_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certifying, "NAMES_ROOM", 500)
    scene = DynamicScene("chat", "other")
    scene.see(chat=CHAT, other=AUTHORITY.issue(*(f"h{number}.example.com" for number in range(3))))
    scene.settle_all()
    assert set(scene.files()) == {"chat.example.com", "*"}
    assert "There is no room for the certificate of the Secret other" in scene.resolved().message
