"""Quarantine in whole passes: a simulated nginx refuses what it likes, leaders come and go, everybody else is served.

The pods are simulated too. What nginx refuses is told by a route's path: ``/line`` with the line, ``/dark`` at the test
without one, ``/load`` at load only, without a line; ``/worse`` is refused with its line even once it is withdrawn.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.world import SHARED, SYSTEM, TEAM, SmallWorld
from wsroute.api.conditions import Condition, ConditionType
from wsroute.cluster.balancer_state import read_state
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import ConfigMap, Key
from wsroute.cluster.quarantine import Quarantined, Refusals
from wsroute.controller import generated
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.quarantine import _blame, _named
from wsroute.controller.reconciler import PassMemo, plan_pass, status_targets
from wsroute.controller.statuses import StatusKey
from wsroute.controller.view import Refused, Standing, View
from wsroute.dataplane import bundle, names
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.bundle import FILE_KEY, Bundle, BundleError
from wsroute.dataplane.ir import RouteRef
from wsroute.graph.model import GraphSettings
from wsroute.nginx import views
from wsroute.nginx.quoting import EmitError, Identifier, PathPattern

SETTINGS = GraphSettings()
_LOCATION = re.compile(r"        location ~ \^(\S+)\(/\|\\z\) \{")


def words(text: str, version: str) -> Failure | None:
    """What the simulated nginx says against a file."""
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        found = _LOCATION.fullmatch(line)
        if found is None:
            continue
        proxied = "$wsroute_refusal" not in lines[number + 1]
        place = f" in /etc/wsroute/{version}.conf:{number}"
        if found[1].startswith("/worse") or (found[1].startswith("/line") and proxied):
            return Failure(version, "test", f'nginx: [emerg] invalid "{found[1]}"{place}')
        if found[1].startswith("/dark") and proxied:
            return Failure(version, "test", 'nginx: [emerg] unknown "team" variable')
        if found[1].startswith("/load") and proxied:
            return Failure(version, "load", '2026/01/31 12:00:00 [emerg] 7#7: limit "z" uses another key than before')
    return None


@dataclass
class Pod:
    """A pod as its agent behaves."""

    runs: str = ""
    text: str = ""
    failure: Failure | None = None
    trouble: str = ""
    """What this pod alone says against any new version."""
    alive: bool = True

    def act(self, name: str, trial: ConfigMap | None, main: ConfigMap | None) -> None:
        """Test and load what it should."""
        turn = _says(main, names.PODS_ANNOTATION).split()
        is_canary = _says(trial, names.CANARY_ANNOTATION) == name
        for config_map, mine in ((trial, is_canary), (main, not self.runs or "*" in turn or name in turn)):
            version = _says(config_map, names.VERSION_ANNOTATION)
            if config_map is None or not version:
                continue
            known = self.failure is not None and self.failure.version == version
            if self.runs != version and not (known and not self.trouble):
                text = config_map.data[FILE_KEY]
                failure = words(text, version)
                if self.trouble:
                    failure = Failure(version, "load", self.trouble)
                if failure is not None and (mine or failure.phase == "test"):
                    self.failure = failure
                elif mine and failure is None:
                    self.runs, self.text, self.failure = version, text, None
                    return
            if mine and self.runs == version:
                return


def _says(config_map: ConfigMap | None, annotation: str) -> str:
    return config_map.annotations.get(annotation, "") if config_map is not None else ""


@dataclass
class Scene:
    """A balancer, its pods, the leader's memo and that of a replica that only watches."""

    world: SmallWorld
    leader: PassMemo = field(default_factory=PassMemo)
    standby: PassMemo = field(default_factory=PassMemo)
    pods: dict[str, Pod] = field(default_factory=dict)
    trials: set[str] = field(default_factory=set)
    always: set[str] = field(default_factory=set)
    """Routes that are served all the time."""
    now: float = 0.0

    def plan(self, memo: PassMemo | None = None) -> BalancerPlan:
        result = plan_pass(
            self.world.snapshot,
            SETTINGS,
            memo or self.leader,
            revision=self.world.revision,
            epoch=1,
            now=self.now,
            wall=1_000_000.0,
        )
        return result.plans[SHARED]

    def map(self, name: str) -> ConfigMap | None:
        return self.world.snapshot.config_maps.get(Key(SYSTEM, name))

    def step(self) -> bool:
        """A pass of each replica, then the pods; false when nothing happens any more."""
        plan = self.plan()
        self.world.commit(plan)
        self.plan(self.standby)
        trial, main = self.map("shared-nginx-next"), self.map("shared-nginx")
        self.trials.add(_says(trial, names.VERSION_ANNOTATION))
        self.check(main)
        before = dict(self.world.said)
        for name, pod in self.pods.items():
            if not pod.alive:
                continue
            pod.act(name, trial, main)
            self.world.pod(name, ready=bool(pod.runs))
            self.world.say(name, version=pod.runs, failure=pod.failure)
        self.now += 0.1
        return bool(plan.writes) or self.world.said != before

    def check(self, main: ConfigMap | None) -> None:
        """Nothing that nginx refuses is in force once a pod could tell, and nobody is touched."""
        if main is not None and any(pod.runs for pod in self.pods.values()):
            assert words(main.data[FILE_KEY], "") is None
        for pod in self.pods.values():
            assert self.always <= self.served(pod.text) or not pod.text

    @staticmethod
    def served(text: str) -> set[str]:
        """The routes that have a proxied location."""
        return {match[1] for match in re.finditer(r"# team-a/(\S+), WebSockets only\n", text)}

    def settle(self) -> None:
        for _ in range(500):
            if not self.step():
                return
        raise AssertionError("no end")

    def refusals(self) -> Refusals:
        state = self.map("shared-state")
        assert state is not None
        return read_state(state.data).state.refusals

    def quarantined(self) -> set[str]:
        return {key.name for key in self.refusals().quarantined}

    def condition(
        self, route: str, kind: ConditionType = ConditionType.PROGRAMMED, *, namespace: str = TEAM
    ) -> Condition:
        result = plan_pass(
            self.world.snapshot, SETTINGS, self.leader, revision=self.world.revision, epoch=1, now=self.now, wall=1e6
        )
        target = status_targets(result, self.leader)[StatusKey(Kind.ROUTE, Key(namespace, route))]
        return next(condition for condition in target.conditions if condition.type is kind)


def scene(*routes: str, pods: int = 2) -> Scene:
    """A balancer that serves these routes already."""
    world = SmallWorld(pods=pods)
    world.service("chat", "10.0.0.1")
    for route in routes:
        world.route(route)
    found = Scene(world, pods={f"p{number}": Pod() for number in range(pods)})
    for name in found.pods:
        world.pod(name, ready=False)
    found.settle()
    found.always = set(routes)
    found.trials.clear()
    return found


GUILTY = ["/line", "/dark", "/load", "/worse"]


@pytest.mark.parametrize("path", GUILTY)
@pytest.mark.parametrize("pods", [1, 2, 3])
def test_a_new_bad_route_is_quarantined_with_nginx_words_and_its_neighbours_go_live(path: str, pods: int) -> None:
    here = scene("old", pods=pods)
    here.world.route("bad", path=path)
    for number in range(5):
        here.world.route(f"good-{number}")
    here.settle()
    assert here.quarantined() == {"bad"}
    for pod in here.pods.values():
        assert here.served(pod.text) == {"old", *(f"good-{number}" for number in range(5))}
    told = here.condition("bad")
    assert (told.status, str(told.reason)) == (False, "ConfigRejected")
    assert "Edit the route" in told.message
    assert {"/line": "invalid", "/dark": "unknown", "/load": "uses another key", "/worse": "invalid"}[
        path
    ] in told.message
    assert here.condition("bad", ConditionType.ACCEPTED).status
    assert not here.condition("bad", ConditionType.READY).status
    assert here.condition("bad", ConditionType.STALLED).status
    assert here.condition("good-0").status
    left_out = here.refusals().quarantined[Key(TEAM, "bad")].left_out
    assert left_out == (path == "/worse")
    assert ("team-a/bad, refused" in here.pods["p0"].text) != left_out


def test_the_line_costs_one_trial() -> None:
    here = scene("old")
    here.world.route("bad", path="/line")
    here.world.route("good")
    here.settle()
    assert len(here.trials - {""}) == 2


def test_the_only_one_at_fault_is_found_by_halves_and_all_others_come_in_at_once() -> None:
    here = scene("old")
    here.world.route("bad", path="/dark")
    for number in range(15):
        here.world.route(f"good-{number}")
    here.settle()
    # The version with all of them, the one without, all again, four halves, and the end.
    assert len(here.trials - {""}) <= 1 + 1 + math.log2(16) + 1


def test_a_line_of_several_routes_is_nobodys() -> None:
    one, two = RouteRef("team-a", "one"), RouteRef("team-a", "two")
    refused = Refused(Failure("v1", "test", "no"), (one, two))
    assert _named(refused, (one, two)) is None
    assert _named(refused, (two,)) == two, "the other one has not changed"


def test_who_is_withdrawn_is_left_out_only_for_a_line_of_its_own() -> None:
    one, two = RouteRef("team-a", "one"), RouteRef("team-a", "two")
    entry = Quarantined(uid="u", generation=1, identity="i", version="v0", message="no", left_out=False)
    before = Refusals(quarantined={Key(*one): entry})
    nothing_else = SimpleNamespace(
        wishes={},
        routes={},
        standing=Standing("", None, None),
        own_is_taken=True,
        known=lambda _version: None,
        identity=str,
        told=lambda _version: None,
    )
    view, failure = cast("View", nothing_else), Failure("v1", "test", "no")
    assert _blame(before, Refused(failure, (one, two)), view) == before
    after = _blame(before, Refused(failure, (one,)), view)
    assert after.quarantined == {Key(*one): replace(entry, left_out=True)}


@pytest.mark.parametrize("path", GUILTY)
@pytest.mark.parametrize("edited", ["good", "again"])
def test_it_ends_with_the_next_edit(path: str, edited: str) -> None:
    here = scene("bad", "old")
    here.always = {"old"}
    here.world.route("bad", path=path, generation=2)
    here.settle()
    assert here.quarantined() == {"bad"}
    here.leader, here.standby = PassMemo(), PassMemo()
    here.settle()
    assert here.quarantined() == {"bad"}
    assert str(here.condition("bad").reason) == "ConfigRejected"
    here.world.route("bad", path="/ws" if edited == "good" else f"{path}2", generation=3)
    here.settle()
    assert here.quarantined() == ({"bad"} if edited == "again" else set())
    assert here.condition("bad").status == (edited == "good")


def test_endpoints_that_come_and_go_change_nothing_in_a_quarantine() -> None:
    here = scene("old")
    here.world.route("bad", path="/line")
    here.settle()
    here.always = set()
    here.world.service("chat")
    here.settle()
    here.world.service("chat", "10.0.0.5")
    here.settle()
    assert here.quarantined() == {"bad"}
    assert all(here.condition(route).status == (route == "old") for route in ("old", "bad"))


def test_a_route_that_becomes_bad_only_when_its_endpoints_come_is_blamed() -> None:
    here = scene("old")
    here.world.route("bad", path="/dark", service="late")
    here.world.service("late")
    here.settle()
    assert here.quarantined() == set()
    here.world.service("late", "10.0.0.7")
    here.settle()
    assert here.quarantined() == {"bad"}


@pytest.mark.parametrize("path", GUILTY)
def test_after_a_restart_of_all_replicas_the_only_route_that_was_edited_is_found(path: str) -> None:
    """Nobody knows any more what it was like; its text in the file in force is another one."""
    here = scene("old", "bad", "other")
    here.always = {"old", "other"}
    here.leader, here.standby = PassMemo(), PassMemo()
    here.world.route("bad", path=path, generation=2)
    here.world.route("new")
    here.world.service("chat", "10.0.0.1", "10.0.0.2")
    here.settle()
    assert here.quarantined() == {"bad"}
    assert all(here.served(pod.text) == {"old", "other", "new"} for pod in here.pods.values())


@pytest.mark.parametrize("path", ["/dark", "/load"])
def test_after_a_restart_of_all_replicas_nobody_is_taken_away_in_order_to_find_out(path: str) -> None:
    here = scene("old", "bad", "other")
    here.leader, here.standby = PassMemo(), PassMemo()
    here.world.route("bad", path=path, generation=2)
    here.world.route("other", path="/ws2", generation=2)
    here.settle()
    assert here.quarantined() == set()
    assert all(here.served(pod.text) == {"old", "other", "bad"} for pod in here.pods.values())
    assert str(here.condition("other").reason) == "ConfigRejected"
    here.world.route("bad", generation=3)
    here.settle()
    assert here.condition("other").status


def test_a_recreated_route_is_another_one() -> None:
    here = scene("old")
    here.world.route("bad", path="/line")
    here.settle()
    entry = here.refusals().quarantined[Key(TEAM, "bad")]
    assert entry.uid == f"{Kind.ROUTE}-bad"
    assert entry.generation == 1
    here.world.remove(Kind.ROUTE, "bad", TEAM)
    here.settle()
    assert here.quarantined() == set()


def test_the_balancers_own_fault_is_nobody_elses() -> None:
    """All servers change with the balancer's listeners, and nginx names a line of a route."""
    here = scene("one", "two", "three")
    for pod in here.pods.values():
        pod.trouble = 'nginx: [emerg] unknown "wsroute_new" variable'
    here.world.balancer(listeners=[{"name": "ws", "port": 8090, "protocol": "HTTP"}])
    here.settle()
    assert here.quarantined() == set()
    assert here.refusals().search is None
    told = here.condition("one")
    assert (told.status, str(told.reason)) == (False, "ConfigRejected")
    for pod in here.pods.values():
        pod.trouble = ""
    here.world.balancer()
    here.settle()
    assert here.condition("one").status


def test_routes_that_are_edited_while_new_ones_are_searched_are_found_too() -> None:
    """The search began while the balancer itself had just changed, and so among new routes alone."""
    here = scene("one", "two", "old")
    here.world.balancer(requestHeaders=["X-Team"])
    here.world.route("new", path="/dark")
    here.world.route("fine")
    while not (search := here.refusals().search) or not search.probe:
        here.step()
    assert search.base == ""
    here.always = {"old"}
    for route in ("one", "two"):
        here.world.route(route, path="/load", generation=2)
    here.settle()
    assert here.quarantined() == {"new", "one", "two"}
    assert all(here.served(pod.text) == {"old", "fine"} for pod in here.pods.values())


def test_another_nginx_that_refuses_what_was_in_force_blames_nobody() -> None:
    """All pods come back with another image at once: what they refuse is what they ran before."""
    here = scene("one", "two")
    before = here.map("shared-nginx")
    assert before is not None
    for name, pod in here.pods.items():
        pod.runs = pod.text = ""
        pod.trouble = (
            f"nginx: [emerg] no such directive in /etc/wsroute/{_says(before, names.VERSION_ANNOTATION)}.conf:240"
        )
        here.world.pod(name, ready=False)
        here.world.say(name, version="")
    for _ in range(5):
        here.step()
    assert here.quarantined() == set()
    for pod in here.pods.values():
        pod.trouble, pod.failure = "", None
    here.settle()
    assert all(here.served(pod.text) == {"one", "two"} for pod in here.pods.values())


def test_a_new_version_of_the_operator_that_nginx_refuses_takes_nobody_away(monkeypatch: pytest.MonkeyPatch) -> None:
    here = scene("one", "two", "three")
    for module in ("making", "view"):
        monkeypatch.setattr(f"wsroute.controller.{module}.__version__", "9.9.9")
    here.leader, here.standby = PassMemo(), PassMemo()
    for route in ("one", "two", "three"):
        here.world.route(route, path="/line")  # the same generation: as if it were rendered in another way
    here.settle()
    assert here.quarantined() == set()
    assert all(here.served(pod.text) == here.always for pod in here.pods.values())


@pytest.mark.parametrize("path", GUILTY)
def test_a_new_version_of_the_operator_tries_what_is_in_quarantine_once(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene("bad", "old")
    here.always = {"old"}
    here.world.route("bad", path=path, generation=2)
    here.settle()
    before = here.refusals().quarantined[Key(TEAM, "bad")]
    for module in ("making", "view"):
        monkeypatch.setattr(f"wsroute.controller.{module}.__version__", "9.9.9")
    here.leader, here.standby = PassMemo(), PassMemo()
    here.world.route("new")
    here.settle()
    assert here.quarantined() == {"bad"}
    assert here.refusals().quarantined[Key(TEAM, "bad")].identity != before.identity
    assert all(here.served(pod.text) == {"old", "new"} for pod in here.pods.values())


@pytest.mark.parametrize(
    "trouble",
    [
        "2026/01/31 12:00:00 [emerg] 7#7: bind() to 0.0.0.0:8080 failed (98: Address in use)",
        "The old workers did not make way for new ones within 10 seconds.",
        '2026/01/31 12:00:00 [emerg] 7#7: limit "z" uses another key than before',
    ],
)
def test_the_trouble_of_one_pod_blames_nobody_and_holds_up_nobody(trouble: str) -> None:
    here = scene("old", pods=3)
    here.pods["p0"].trouble = trouble
    here.world.route("new")
    here.settle()
    assert here.quarantined() == set()
    assert [here.served(pod.text) for pod in here.pods.values()] == [{"old"}, {"old", "new"}, {"old", "new"}]
    here.pods["p0"].trouble = ""
    here.pods["p0"].failure = None  # its agent tries again after a while
    here.settle()
    assert here.condition("new").status


def test_a_bad_version_that_starting_pods_meet_first_is_replaced_at_once() -> None:
    here = scene("old")
    here.always = set()
    for pod in here.pods.values():
        pod.runs = pod.text = ""
    here.world.said.clear()
    for name in here.pods:
        here.world.pod(name, ready=False)
        here.world.say(name, version="")
    here.world.route("bad", path="/dark")
    here.world.route("good")
    here.settle()
    assert here.quarantined() == {"bad"}
    assert all(here.served(pod.text) == {"old", "good"} for pod in here.pods.values())


def test_the_first_version_of_all_may_be_bad() -> None:
    world = SmallWorld()
    world.service("chat", "10.0.0.1")
    for name in ("p0", "p1"):
        world.pod(name, ready=False)
    for number in range(7):
        world.route(f"r{number}", path="/dark" if number == 4 else "/ws")
    here = Scene(world, pods={name: Pod() for name in ("p0", "p1")})
    here.settle()
    assert here.quarantined() == {"r4"}
    assert all(len(here.served(pod.text)) == 6 for pod in here.pods.values())


def test_a_canary_that_is_deleted_while_it_tries_leaves_the_search_to_another_pod() -> None:
    here = scene("old", pods=2)
    for number in range(6):
        here.world.route(f"r{number}", path="/load" if number == 2 else "/ws")
    here.step()
    canary = _says(here.map("shared-nginx-next"), names.CANARY_ANNOTATION)
    del here.pods[canary]
    here.world.remove(Kind.POD, canary, SYSTEM)
    here.settle()
    assert here.quarantined() == {"r2"}


def test_a_canary_that_falls_silent_in_a_search_is_followed_by_another_pod() -> None:
    here = scene("old", pods=2)
    for number in range(6):
        here.world.route(f"r{number}", path="/dark" if number == 2 else "/ws")
    here.step()
    here.step()
    canary = _says(here.map("shared-nginx-next"), names.CANARY_ANNOTATION)
    here.pods[canary].alive = False
    for _ in range(300):
        here.step()
    assert here.quarantined() == {"r2"}
    other = next(pod for name, pod in here.pods.items() if name != canary)
    assert len(here.served(other.text)) == 6


@pytest.mark.parametrize("path", ["/line", "/dark"])
def test_there_is_a_limit_beyond_which_the_version_is_refused_as_a_whole(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsroute.controller.quarantine.MAX_QUARANTINED", 3)
    here = scene("old", pods=1)
    for number in range(5):
        here.world.route(f"bad-{number}", path=path)
    here.settle()
    assert len(here.quarantined()) == 3
    assert here.served(here.pods["p0"].text) == {"old"}


def test_cold_replicas_find_a_bad_edit_beside_a_route_that_can_t_be_written_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = scene("old", "two")
    here.always = {"old"}
    monkeypatch.setattr(views, "Identifier", _refuse_odd)
    here.world.route("odd", path="/odd")
    here.settle()
    assert here.quarantined() == {"odd"}
    here.leader, here.standby = PassMemo(), PassMemo()
    here.world.route("two", path="/line", generation=2)
    here.settle()
    assert here.quarantined() == {"odd", "two"}
    here.world.route("new")
    here.settle()
    assert here.condition("new").status


def _refuse_odd(value: str) -> Identifier:
    if "odd" in value:
        raise EmitError("A name must not be odd.")
    return Identifier(value)


def test_who_takes_most_of_the_room_gives_way_when_there_is_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too large can't be published at all: nobody's change would go out any more."""
    here = scene("old", "small")
    here.always = {"old", "small"}
    room = len(here.pods["p0"].text) + 12_000

    def pack(text: str) -> Bundle:
        if len(text) > room:
            raise BundleError(f"The configuration has {len(text)} bytes.")
        return bundle.pack(text)

    monkeypatch.setattr(generated, "pack", pack)
    for number in range(60):
        here.world.route(f"crowd-{number}", namespace="team-b", host=f"c{number}.example.com")
    here.world.route("new")
    here.settle()
    crowded = here.refusals().crowded
    assert crowded is not None
    assert crowded.counts.keys() == {"team-b"}
    assert 0 < crowded.counts["team-b"] < 60
    assert here.quarantined() == set()
    assert here.condition("new").status
    told = here.condition("crowd-0", namespace="team-b")
    assert (told.status, str(told.reason)) == (False, "ConfigRejected")
    assert "has no room for this route" in told.message
    assert "404 (no-route)" in told.message
    for number in range(50):
        here.world.remove(Kind.ROUTE, f"crowd-{number}", "team-b")
    here.settle()
    assert here.refusals() == Refusals(), "there is room again"


@pytest.mark.parametrize("path", ["/line", "/dark"])
def test_hundreds_of_routes_without_room_take_no_place_from_what_nginx_refuses(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene("old", "small")
    here.always = {"old", "small"}
    room = len(here.pods["p0"].text) + 30_000
    packs: list[int] = []

    def pack(text: str) -> Bundle:
        packs.append(len(text))
        if len(text) > room:
            excess = 1 - room / len(text)
            raise BundleError(f"The configuration has {len(text)} bytes.", excess=excess, compressed=False)
        return bundle.pack(text)

    monkeypatch.setattr(generated, "pack", pack)
    for number in range(300):
        here.world.route(f"crowd-{number}", namespace="team-b", host=f"c{number}.example.com")
    here.world.route("bad", path=path)
    here.world.route("new")
    here.settle()
    crowded = here.refusals().crowded
    assert crowded is not None
    assert 200 < crowded.counts["team-b"] < 300
    assert here.quarantined() == {"bad"}
    assert here.condition("new").status
    assert "nginx's words" in here.condition("bad").message
    assert sum(size > room for size in packs) < 30, "nobody waits while one after another gives way"
    # The next leader knows it, and tries nothing again.
    here.leader, here.standby = PassMemo(), PassMemo()
    here.trials.clear()
    before = here.refusals()
    here.settle()
    assert here.trials == {""}
    assert here.refusals() == before
    # An edit of theirs costs nobody else anything.
    here.world.route("crowd-0", namespace="team-b", host="c0.example.com", path="/other", generation=2)
    here.settle()
    assert here.quarantined() == {"bad"}
    assert here.condition("new").status
    assert here.condition("small").status


@pytest.mark.parametrize("path", GUILTY)
def test_who_is_at_fault_too_often_is_put_aside_as_a_whole_and_nobody_else_suffers(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsroute.controller.quarantine.MAX_OF_NAMESPACE", 3)
    here = scene("old", pods=1)
    here.world.service("chat", "10.0.1.1", namespace="team-b")
    for number in range(6):
        here.world.route(f"crowd-{number}", namespace="team-b", host=f"c{number}.example.com", path=path)
    here.world.route("theirs", namespace="team-b")
    here.world.route("new")
    here.world.route("bad", path=path)
    here.settle()
    assert here.refusals().whole.keys() == {"team-b"}
    assert "bad" in here.quarantined()
    assert len(here.quarantined()) == 4
    assert here.served(here.pods["p0"].text) == {"old", "new"}
    assert here.condition("new").status
    told = here.condition("theirs", namespace="team-b")
    assert "none of its routes is served" in told.message
    known = here.condition(min(here.quarantined() - {"bad"}), namespace="team-b")
    assert "nginx's words" in known.message
    assert "404 (no-route)" in known.message
    # What is known is known to the next leader too, and not tried again.
    here.leader, here.standby = PassMemo(), PassMemo()
    here.trials.clear()
    here.settle()
    assert here.trials == {""}
    # After an edit what is known of the others still is.
    for number in range(6):
        here.world.route(f"crowd-{number}", namespace="team-b", host=f"c{number}.example.com", generation=2)
    here.settle()
    assert here.quarantined() == {"bad"}
    assert not here.refusals().whole
    assert here.condition("theirs", namespace="team-b").status


def test_when_all_places_are_taken_whoever_has_most_of_them_gives_one_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsroute.controller.quarantine.MAX_QUARANTINED", 4)
    here = scene("old", pods=1)
    here.world.service("chat", "10.0.1.1", namespace="team-b")
    for number in range(4):
        here.world.route(f"crowd-{number}", namespace="team-b", host=f"c{number}.example.com", path="/line")
    here.settle()
    assert len(here.quarantined()) == 4
    here.world.route("bad", path="/line")
    here.world.route("new")
    here.settle()
    assert here.refusals().whole.keys() == {"team-b"}
    assert len(here.quarantined()) == 4
    assert "bad" in here.quarantined()
    assert here.condition("new").status


def test_who_has_no_more_than_its_part_is_not_put_aside_while_somebody_is_who_can_give_a_place_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wsroute.controller.quarantine.MAX_OF_NAMESPACE", 3)
    monkeypatch.setattr("wsroute.controller.quarantine.MAX_QUARANTINED", 6)
    here = scene("old", pods=1)
    for team, number in (("team-b", 4), ("team-c", 3)):
        here.world.service("chat", "10.0.1.1", namespace=team)
        here.world.route("theirs", namespace=team, host=f"{team}.example.com")
        for each in range(number):
            here.world.route(f"r{each}", namespace=team, host=f"{team}-{each}.example.com", path="/line")
    here.settle()
    assert here.refusals().whole.keys() == {"team-b"}
    assert len(here.refusals().quarantined) == 6
    here.world.route("bad", path="/line")
    here.settle()
    assert here.refusals().whole.keys() == {"team-b"}
    assert len(here.refusals().quarantined) == 6
    assert here.condition("theirs", namespace="team-c").status
    assert not here.condition("theirs", namespace="team-b").status


def test_while_the_balancer_itself_is_another_one_nobody_who_is_served_is_put_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be that one's fault what new routes are blamed for."""
    monkeypatch.setattr("wsroute.controller.quarantine.MAX_OF_NAMESPACE", 3)
    here = scene("old", pods=1)
    here.world.service("chat", "10.0.1.1", namespace="team-b")
    here.world.route("theirs", namespace="team-b", host="b.example.com")
    here.settle()
    here.world.balancer(requestHeaders=["X-Team"])
    for number in range(5):
        here.world.route(f"new-{number}", namespace="team-b", host=f"b{number}.example.com", path="/line")
    here.settle()
    assert not here.refusals().whole
    assert len(here.quarantined()) == 3
    assert "team-b/theirs, WebSockets only" in here.pods["p0"].text
    here.world.route("new-4", namespace="team-b", host="b4.example.com", generation=2)
    here.world.route("new-3", namespace="team-b", host="b3.example.com", generation=2)
    here.settle()
    assert here.condition("theirs", namespace="team-b").status
    assert here.condition("old").status


TEAMS = [TEAM, "team-b", "team-c"]


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(TEAMS), st.sampled_from(["/ws", "/line", "/dark", "/worse", "/wide"])),
        min_size=1,
        max_size=16,
    ),
    st.integers(2, 5),
)
def test_whatever_others_do_a_good_route_is_served_and_a_bad_one_is_tried_once(
    routes: list[tuple[str, str]], places: int
) -> None:
    """Of team-z, which has one good route, one bad one, and takes no more room than anybody."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("wsroute.controller.quarantine.MAX_OF_NAMESPACE", places)
        monkeypatch.setattr("wsroute.controller.quarantine.MAX_QUARANTINED", 6)
        here = scene("old", pods=1)
        room = len(here.pods["p0"].text) + 20_000

        def pack(text: str) -> Bundle:
            # Paths that begin so are wide.
            size = len(text) + 3_000 * text.count(" ^/wide")
            if size > room:
                excess = 1 - room / size
                raise BundleError(f"The configuration has {size} bytes.", excess=excess, compressed=False)
            return bundle.pack(text)

        monkeypatch.setattr(generated, "pack", pack)
        for team in (*TEAMS[1:], "team-z"):
            here.world.service("chat", "10.0.1.1", namespace=team)
        for number, (team, path) in enumerate(routes):
            here.world.route(f"r{number}", namespace=team, host=f"r{number}.example.com", path=path)
        here.world.route("z-good", namespace="team-z")
        here.world.route("z-bad", namespace="team-z", path="/line")
        here.always = set()
        here.settle()
        assert here.condition("z-good", namespace="team-z").status
        assert Key("team-z", "z-bad") in here.refusals().quarantined
        known = here.refusals().quarantined[Key("team-z", "z-bad")]
        here.leader, here.standby = PassMemo(), PassMemo()
        here.trials.clear()
        here.world.route("later", namespace="team-b", host="later.example.com", path="/dark")
        here.settle()
        assert here.refusals().quarantined[Key("team-z", "z-bad")] == known
        assert here.condition("z-good", namespace="team-z").status


@pytest.mark.parametrize(("everywhere", "left_out"), [(False, False), (True, True)])
def test_what_cannot_even_be_written_down_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, *, everywhere: bool, left_out: bool
) -> None:
    """The emitters refuse a value that the API let through."""
    here = scene("old")
    emitter = PathPattern if everywhere else Identifier

    def refuse(value: str) -> object:
        if "odd" in value:
            raise EmitError("A path must not be odd.")
        return emitter(value)

    monkeypatch.setattr(views, emitter.__name__, refuse)
    here.world.route("odd", path="/odd")
    here.world.route("good")
    here.settle()
    assert here.quarantined() == {"odd"}
    assert here.refusals().quarantined[Key(TEAM, "odd")].left_out == left_out
    assert "can't be written down for nginx: A path must not be odd." in here.condition("odd").message
    assert here.condition("good").status
    monkeypatch.undo()
    here.world.route("odd", path="/even", generation=2)
    here.settle()
    assert here.quarantined() == set()


def test_what_a_newer_operator_cannot_write_down_any_more_takes_nobody_away(monkeypatch: pytest.MonkeyPatch) -> None:
    here = scene("old", "odd")
    here.leader, here.standby = PassMemo(), PassMemo()
    monkeypatch.setattr("wsroute.controller.making.__version__", "9.9.9")

    def refuse(_value: str) -> object:
        raise EmitError("It is not written any more.")

    monkeypatch.setattr(views, "Identifier", refuse)
    here.settle()
    assert here.quarantined() == set()
    assert all(here.served(pod.text) == {"old", "odd"} for pod in here.pods.values())


ROUTES = [f"r{number}" for number in range(10)]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["route", "route", "route", "delete", "step", "step", "leader", "cold"]),
        st.sampled_from(ROUTES),
        st.sampled_from(["/ws", "/ws2", *GUILTY]),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(events=EVENTS, pods=st.integers(1, 3))
def test_all_the_innocent_are_served_and_all_the_guilty_are_quarantined(
    events: Iterable[tuple[str, str, str]], pods: int
) -> None:
    """Whatever is applied in whatever order, and whoever leads meanwhile. New routes only: see the next test."""
    here = scene("old", pods=pods)
    paths: dict[str, str] = {}
    generation = 1
    for event, name, path in events:
        match event:
            case "route" if name not in paths:
                generation += 1
                paths[name] = path
                here.world.route(name, path=path, generation=generation)
            case "step":
                here.step()
            case "leader":
                here.leader, here.standby = here.standby, here.leader
            case "cold":
                here.leader = PassMemo()
            case _:
                pass
    here.trials.clear()
    here.settle()
    guilty = {name for name, path in paths.items() if path in GUILTY}
    assert here.quarantined() == guilty
    for pod in here.pods.values():
        assert here.served(pod.text) == {"old", *paths} - guilty
    n = max(2, len(paths))
    assert len(here.trials - {""}) <= (len(guilty) + 1) * (math.ceil(math.log2(n)) + 3)


@settings(max_examples=80)
@given(events=EVENTS, pods=st.integers(1, 3), cold=st.booleans())
def test_so_are_those_of_routes_that_are_edited_while_they_are_served(
    events: Iterable[tuple[str, str, str]], pods: int, *, cold: bool
) -> None:
    """As long as one replica has seen what was in force before. When none has, it may be that edits wait for the next
    one, but nobody who is not at fault is touched."""
    here = scene("old", *ROUTES[:4], pods=pods)
    paths = dict.fromkeys(ROUTES[:4], "/ws")
    generation = 1
    for event, name, path in events:
        match event:
            case "route":
                generation += 1
                paths[name] = path
                here.world.route(name, path=path, generation=generation)
                if path in GUILTY:
                    here.always.discard(name)
            case "step":
                here.step()
            case "leader":
                here.leader, here.standby = here.standby, here.leader
            case "cold" if cold:
                here.leader, here.standby = PassMemo(), PassMemo()
            case _:
                pass
    here.settle()
    guilty = {name for name, path in paths.items() if path in GUILTY}
    assert here.quarantined() <= guilty
    if not cold:
        assert here.quarantined() == guilty
        for pod in here.pods.values():
            assert here.served(pod.text) == {"old", *paths} - guilty
        assert generated.read_trial(here.map("shared-nginx-next")) is None
