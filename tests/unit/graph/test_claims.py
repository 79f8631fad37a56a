"""Whoever claims a host first keeps it, whatever others do, and for ten minutes after its last route is gone."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import objects as made
from wsroute.api.conditions import ConditionType, Problem, Reason
from wsroute.cluster.balancer_state import BalancerState, HostClaim, claim_size, format_time, parse_time
from wsroute.cluster.objects import Key
from wsroute.graph import conflicts
from wsroute.graph.claims import HOLD, age, held_until, idle_hosts
from wsroute.graph.conditions import RolloutView, route_conditions
from wsroute.graph.memo import Memo
from wsroute.graph.model import Graph

NOON = 1_780_000_000.0
OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
HOST = "a.example.com"
TEAMS = ("team-a", "team-b", "team-c")


class Town:
    """A balancer, its routes, and what is remembered of it."""

    def __init__(self) -> None:
        self.routes: dict[Key, made.Json] = {}
        self.admitted = set(TEAMS)
        self.state = BalancerState()
        self.wall = NOON
        self.memo = Memo()
        self.allowed: made.Json = {}

    def put(self, team: str, *hosts: str, name: str = "chat", created: str = NEW, **spec: Any) -> None:
        self.routes[Key(team, name)] = made.route(name, team, hosts=hosts, created=created, spec=spec)

    def objects(self) -> list[made.Json]:
        teams = [made.namespace(team, {"open": "yes"} if team in self.admitted else {}) for team in TEAMS]
        selector = {"from": "Selector", "selector": {"matchLabels": {"open": "yes"}}}
        allowed = {"namespaces": selector, "hosts": ["*"], **self.allowed}
        return [made.balancer(spec={"allowedRoutes": allowed}), *teams, *self.routes.values()]

    def graph(self, *, memo: Memo | None = None, state: BalancerState | None = None) -> Graph:
        states = {made.BALANCER: self.state if state is None else state}
        return made.graph_of(self.objects(), memo=memo, states=states, wall=self.wall)

    def make(self, *, recorded: bool = True) -> Graph:
        """A pass. When it is not ``recorded``, the state could not be written."""
        graph = self.graph(memo=self.memo)
        self.memo.end_pass()
        if recorded:
            self.state = graph.states[made.BALANCER]
        return graph

    def hosts(self, graph: Graph | None = None) -> dict[str, str]:
        """Whose locations there are on each host."""
        found: dict[str, str] = {}
        for key, node in (graph or self.make()).routes.items():
            for host in node.hosts:
                assert found.setdefault(host, key.namespace) == key.namespace, host
        return found

    def problems(self, team: str, name: str = "chat") -> list[tuple[Reason, str]]:
        node = self.make().routes[Key(team, name)]
        return [(problem.reason, problem.path) for problem in node.acceptance_problems]


CONFLICT = [(Reason.HOST_CONFLICT, "spec.hosts[0]")]


@pytest.fixture
def town() -> Town:
    """A town in which team-a has the host, with a route that is younger than team-b's."""
    town = Town()
    town.put("team-b", "b.example.com", created=OLD)
    town.put("team-a", HOST, created=NEW)
    town.make()
    return town


def test_what_is_remembered_is_who_has_what(town: Town) -> None:
    assert town.state.hosts == {HOST: HostClaim("team-a"), "b.example.com": HostClaim("team-b")}
    before = town.state
    town.make()
    assert town.state is before


@pytest.mark.parametrize("host", [HOST, "*.example.com", "A.Example.com.", "a.example.com."])
def test_an_older_route_that_adds_the_host_later_does_not_get_it(town: Town, host: str) -> None:
    town.put("team-b", host, "mine.example.org", created=OLD)
    assert town.hosts() == {HOST: "team-a", "mine.example.org": "team-b"}
    assert not town.make().routes[Key("team-b", "chat")].accepted


def test_a_name_below_a_claimed_wildcard_is_taken_too() -> None:
    town = Town()
    town.put("team-a", "*.example.com", created=NEW)
    town.make()
    town.put("team-b", HOST, "a.b.example.com", "example.com", created=OLD)
    assert town.hosts() == {"*.example.com": "team-a", "a.b.example.com": "team-b", "example.com": "team-b"}
    town.put("team-a", HOST, name="single")
    assert town.hosts()[HOST] == "team-a"


def test_without_a_record_the_oldest_route_gets_it() -> None:
    town = Town()
    for team, created in (("team-a", NEW), ("team-b", OLD), ("team-c", NEW)):
        town.put(team, HOST, created=created)
    assert town.hosts() == {HOST: "team-b"}
    assert town.state.hosts == {HOST: HostClaim("team-b")}


def test_who_deletes_the_route_and_makes_it_anew_finds_its_host(town: Town) -> None:
    del town.routes[Key("team-a", "chat")]
    town.make()
    assert town.state.hosts[HOST] == HostClaim("team-a", format_time(NOON))
    town.wall += HOLD - 1
    town.put("team-a", HOST, name="another", created="2026-06-01T00:00:00Z")
    assert town.hosts()[HOST] == "team-a"
    assert town.state.hosts[HOST] == HostClaim("team-a")


def test_nobody_else_gets_it_before_ten_minutes_have_passed(town: Town) -> None:
    del town.routes[Key("team-a", "chat")]
    town.make()
    town.put("team-b", HOST, created=OLD)
    town.wall += 1
    until = format_time(NOON + HOLD)
    graph = town.make()
    (told,) = graph.routes[Key("team-b", "chat")].acceptance_problems
    assert told == Problem(
        Reason.HOST_CONFLICT,
        "spec.hosts[0]",
        f"The host {HOST} belonged to a route of another namespace that is gone, and is held for that namespace until "
        f"{until}: wait until then, or choose another host.",
        passing=True,
    )
    # What team-b gave up is held as well, and longer.
    assert graph.expires == NOON + HOLD
    town.wall = NOON + HOLD - 1
    assert HOST not in town.hosts()
    town.wall = NOON + HOLD
    assert town.hosts() == {HOST: "team-b"}
    assert town.state.hosts[HOST] == HostClaim("team-b")


def test_a_held_wildcard_holds_the_names_below_it(town: Town) -> None:
    town.put("team-c", "*.example.org")
    town.make()
    del town.routes[Key("team-c", "chat")]
    town.make()
    town.put("team-b", "x.example.org", created=OLD)
    assert town.problems("team-b") == CONFLICT
    town.wall += HOLD
    assert town.hosts()["x.example.org"] == "team-b"


def test_the_hold_begins_with_the_last_route(town: Town) -> None:
    town.put("team-a", HOST, name="second", paths=[made.path("/second")])
    town.make()
    del town.routes[Key("team-a", "chat")]
    town.make()
    assert town.state.hosts[HOST] == HostClaim("team-a")


@pytest.mark.parametrize("why", ["not admitted", "host not allowed", "beyond the quota", "spec is no mapping"])
def test_who_may_not_have_it_any_more_releases_it(town: Town, why: str) -> None:
    if why == "not admitted":
        town.admitted.discard("team-a")
    elif why == "host not allowed":
        town.allowed = {"hosts": ["b.example.com"]}
    elif why == "beyond the quota":
        town.put("team-a", "older.example.com", name="older", created=OLD)
        town.allowed = {"maxPerNamespace": 1}
    else:
        town.routes[Key("team-a", "chat")]["spec"] = "text"
    town.make()
    assert town.state.hosts[HOST] == HostClaim("team-a", format_time(NOON))


def test_a_wrong_route_keeps_its_host(town: Town) -> None:
    town.put("team-a", HOST, nonsense=1)
    town.put("team-b", HOST, created=OLD)
    assert town.problems("team-b") == CONFLICT
    assert town.state.hosts[HOST] == HostClaim("team-a")


def test_a_balancer_that_is_wrong_itself_releases_nothing(town: Town) -> None:
    before = town.state
    town.allowed = {"nonsense": 1}
    town.wall += 10 * HOLD
    assert town.make().states == {made.BALANCER: before}
    assert town.make().expires == float("inf")


def test_a_route_that_goes_to_another_balancer_leaves_its_host(town: Town) -> None:
    town.put("team-a", HOST, balancerRef={"name": "another", "namespace": "team-a"})
    town.make()
    assert town.state.hosts[HOST].released


def test_a_time_of_release_that_is_yet_to_come_counts_as_now(town: Town) -> None:
    town.state = BalancerState({"x.example.com": HostClaim("team-c", "2999-01-01T00:00:00Z")})
    town.make()
    assert town.state.hosts["x.example.com"] == HostClaim("team-c", format_time(NOON))


def test_claims_that_a_hand_made_overlap_are_settled_for_those_with_routes(town: Town) -> None:
    served = town.hosts()
    hand = {"*.example.com": HostClaim("team-c"), **town.state.hosts}
    for turned in (hand, dict(reversed(list(hand.items())))):
        town.state = BalancerState(turned)
        assert town.hosts() == served
        assert "*.example.com" not in town.state.hosts


def test_an_administrator_can_give_a_host_to_another_namespace(town: Town) -> None:
    town.put("team-b", HOST, created=OLD)
    town.state = BalancerState({**town.state.hosts, HOST: HostClaim("team-b")})
    assert town.hosts() == {HOST: "team-b"}
    assert town.problems("team-a") == CONFLICT


def test_a_host_for_which_there_is_no_room_is_refused_and_the_others_stay(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = sum(claim_size(host, claim.namespace) for host, claim in town.state.hosts.items())
    monkeypatch.setattr(conflicts, "HOSTS_LIMIT", used + claim_size("c.example.com", "team-c"))
    town.put("team-c", "c.example.com", "d.example.com")
    assert town.problems("team-c") == [(Reason.QUOTA, "spec.hosts[1]")]
    assert town.hosts() == {HOST: "team-a", "b.example.com": "team-b", "c.example.com": "team-c"}


@pytest.fixture
def crowded(town: Town, monkeypatch: pytest.MonkeyPatch) -> Town:
    """The list has room for some 60 hosts; two of them are little."""
    monkeypatch.setattr(conflicts, "HOSTS_LIMIT", 3_000)
    monkeypatch.setattr(conflicts, "LITTLE", 100)
    monkeypatch.setattr(conflicts, "RESERVE", 200)
    return town


def test_who_has_many_hosts_leaves_room_for_those_who_have_few(crowded: Town) -> None:
    for number in range(10):
        crowded.put("team-b", *(f"h{number}{host}.example.org" for host in range(10)), name=f"crowd-{number}")
    crowded.make()
    assert 40 < len(crowded.state.hosts) < 70
    assert crowded.graph().states[made.BALANCER] == crowded.state, "settling once more comes to the same"
    crowded.put("team-c", "c.example.com")
    assert crowded.problems("team-c") == []
    assert crowded.hosts()["c.example.com"] == "team-c"
    crowded.put("team-c", *(f"c{number}.example.com" for number in range(16)))
    assert (Reason.QUOTA, "spec.hosts[15]") in crowded.problems("team-c"), (
        "the last of the room is for all who have few"
    )
    crowded.put("team-a", HOST, "new.example.com")
    assert crowded.problems("team-a") == []


def test_hosts_that_a_team_has_given_up_by_the_dozen_are_in_nobodys_way(crowded: Town) -> None:
    del crowded.routes[Key("team-a", "chat")]
    crowded.make()
    for number in range(40):
        crowded.put("team-b", *(f"h{number}{host}.example.org" for host in range(9)))
        crowded.make()
        assert crowded.problems("team-b") == []
        assert sum(claim_size(host, claim.namespace) for host, claim in crowded.state.hosts.items()) <= 3_000
    crowded.put("team-c", "c.example.com")
    assert crowded.problems("team-c") == []
    crowded.put("team-b", HOST)
    assert crowded.problems("team-b") == CONFLICT, "whoever has given up few keeps them for as long as they are held"
    assert crowded.graph().states[made.BALANCER] == crowded.state


def test_who_waited_longest_gets_a_host_that_is_given_up_early(crowded: Town) -> None:
    """It is given up in the middle of a pass, for somebody else's sake."""
    released = HostClaim("team-b", format_time(NOON - 1))
    crowded.state = BalancerState({f"h{number}.example.org": released for number in range(60)})
    crowded.put("team-c", "h0.example.org", created=OLD)
    crowded.put("team-a", "h0.example.org", created="2026-03-01T00:00:00Z")
    assert crowded.problems("team-c") == crowded.problems("team-a") == CONFLICT
    crowded.put("team-b", *(f"b{number}.example.org" for number in range(16)), created=NEW)
    assert crowded.hosts()["h0.example.org"] == "team-c"
    assert crowded.problems("team-c") == crowded.problems("team-b") == []
    assert crowded.problems("team-a") == CONFLICT
    assert crowded.graph().states[made.BALANCER] == crowded.state, "settling once more comes to the same"


def test_who_takes_no_more_than_an_equal_share_is_not_made_to_give_up_what_is_held(crowded: Town) -> None:
    """Or else a team could fill the list to get what another one is about to make anew."""
    del crowded.routes[Key("team-a", "chat")], crowded.routes[Key("team-b", "chat")]
    released = HostClaim("team-c", format_time(NOON - 1))
    crowded.state = BalancerState({f"c{number}.example.com": released for number in range(20)})
    for number in range(10):
        crowded.put("team-b", *(f"h{number}{host}.example.org" for host in range(10)), name=f"crowd-{number}")
    crowded.put("team-b", *(f"c{number}.example.com" for number in range(16)), name="taker", created=OLD)
    crowded.make()
    assert crowded.problems("team-b", "crowd-9")[-1:] == [(Reason.QUOTA, "spec.hosts[9]")]
    assert {reason for reason, _ in crowded.problems("team-b", "taker")} == {Reason.HOST_CONFLICT}
    crowded.put("team-c", *(f"c{number}.example.com" for number in range(16)))
    assert crowded.problems("team-c") == []


def test_a_route_that_only_waits_is_not_stalled(town: Town) -> None:
    del town.routes[Key("team-a", "chat")]
    town.make()
    town.put("team-b", HOST, created=OLD)
    view = RolloutView(1, 1, 1)

    def stalled() -> tuple[bool, Reason]:
        node = town.make().routes[Key("team-b", "chat")]
        conditions = {condition.type: condition for condition in route_conditions(node, view)}
        assert conditions[ConditionType.ACCEPTED].reason is not Reason.ACCEPTED
        return conditions[ConditionType.STALLED].status, conditions[ConditionType.STALLED].reason

    assert stalled() == (False, Reason.PROGRESSING)
    town.put("team-c", "c.example.com")
    town.make()
    town.put("team-b", HOST, "c.example.com", created=OLD)
    assert stalled() == (True, Reason.HOST_CONFLICT)
    town.put("team-b", HOST, created=OLD, listeners=["nothing"])
    assert stalled() == (True, Reason.INVALID)


# --- anything that may happen, in any order ---

HOSTS = ("a.example.com", "b.example.com", "*.example.com", "x.example.org", "*.example.org")
EVENTS = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from(TEAMS),
        st.sampled_from(("one", "two")),
        st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3, unique=True),
        st.sampled_from((OLD, "2026-01-15T00:00:00Z", NEW)),
    ),
    st.tuples(st.just("delete"), st.sampled_from(TEAMS), st.sampled_from(("one", "two"))),
    st.tuples(st.just("wait"), st.sampled_from((0.5, 60.0, HOLD / 2, HOLD - 1.0, float(HOLD)))),
    st.tuples(st.just("admit"), st.sampled_from(TEAMS)),
    st.tuples(st.just("expel"), st.sampled_from(TEAMS)),
    st.tuples(st.just("quota"), st.sampled_from((1, None))),
    st.tuples(st.just("restart")),
    st.tuples(st.just("unwritten")),
)


def happen(town: Town, event: tuple[Any, ...]) -> None:
    match event:
        case ("put", team, name, hosts, created):
            known = town.routes.get(Key(team, name))
            created = known["metadata"]["creationTimestamp"] if known else created
            town.put(team, *hosts, name=name, created=created)
        case ("delete", team, name):
            town.routes.pop(Key(team, name), None)
        case ("wait", seconds):
            town.wall += seconds
        case ("admit", team):
            town.admitted.add(team)
        case ("expel", team):
            town.admitted.discard(team)
        case ("quota", None):
            town.allowed = {}
        case ("quota", number):
            town.allowed = {"maxPerNamespace": number}
        case ("restart",):
            town.memo = Memo()


def overlap(one: str, other: str) -> bool:
    first, parent = one.split(".", 1)
    second, other_parent = other.split(".", 1)
    return one == other or (parent == other_parent and (first == "*") != (second == "*"))


@given(st.lists(EVENTS, max_size=25))
def test_whatever_happens_hosts_stay_with_their_owners(events: list[tuple[Any, ...]]) -> None:
    town = Town()
    for event in events:
        happen(town, event)
        before, wall = town.state, town.wall
        graph = town.make(recorded=event != ("unwritten",))
        found = town.hosts(graph)
        after = graph.states[made.BALANCER]

        # Never two namespaces under one name.
        for host, team in found.items():
            assert all(team == rival for name, rival in found.items() if overlap(host, name))
        for host, claim in after.hosts.items():
            rivals = {other.namespace for name, other in after.hosts.items() if overlap(host, name)}
            assert rivals == {claim.namespace}

        # Who is served is on record, as one that has a route.
        assert all(after.hosts[host] == HostClaim(team) for host, team in found.items())

        # A claim of before stands: its host is with the owner or with nobody, until the hold is over.
        for host, claim in before.hosts.items():
            if claim.released and held_until(claim.released) <= wall:
                continue
            assert all(team == claim.namespace for name, team in found.items() if overlap(host, name))
            assert after.hosts[host].namespace == claim.namespace
            released = after.hosts[host].released
            assert (host in found) == (released == "")
            assert released in ("", claim.released or format_time(wall))

        # The memo changes nothing, and neither does making the pass once more.
        fresh = town.graph(state=before)
        assert (fresh.routes, fresh.states, fresh.expires) == (graph.routes, graph.states, graph.expires)
        again = town.graph(state=after)
        assert (again.routes, again.states, again.expires) == (graph.routes, graph.states, graph.expires)
        ends = [held_until(claim.released) for claim in after.hosts.values() if claim.released]
        assert graph.expires == min(ends, default=float("inf")) > wall


@given(
    st.dictionaries(st.sampled_from(HOSTS), st.sampled_from(TEAMS)),
    st.permutations(range(6)),
    st.lists(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3, unique=True), min_size=6, max_size=6),
)
def test_the_order_in_which_things_became_known_changes_nothing(
    recorded: Mapping[str, str], order: Iterable[int], hosts: list[list[str]]
) -> None:
    town, other = Town(), Town()
    routes = [(TEAMS[number % 3], hosts[number], f"r{number}") for number in range(6)]
    for team, names, name in routes:
        town.put(team, *names, name=name)
    for number in order:
        team, names, name = routes[number]
        other.put(team, *names, name=name)
    town.state = BalancerState({host: HostClaim(team) for host, team in recorded.items()})
    other.state = BalancerState({host: HostClaim(team) for host, team in reversed(list(recorded.items()))})
    here, there = town.make(), other.make()
    assert (here.routes, here.states, here.expires) == (there.routes, there.states, there.expires)


def test_aging_changes_nothing_while_nothing_is_due() -> None:
    claims = {HOST: HostClaim("team-a", format_time(NOON)), "b.example.com": HostClaim("team-b")}
    idle = idle_hosts(claims, {("b.example.com", "team-b"), (HOST, "team-c")})
    assert idle == (HOST,)
    standing, expires = age(claims, idle, wall=NOON + 1)
    assert standing is claims
    assert expires == NOON + HOLD
    assert age(claims, idle, wall=NOON + HOLD).claims == {"b.example.com": HostClaim("team-b")}


def test_the_hold_is_ten_minutes() -> None:
    assert held_until("2026-01-01T00:00:00Z") == parse_time("2026-01-01T00:10:00Z")
