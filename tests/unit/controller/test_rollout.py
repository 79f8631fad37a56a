"""The rolling reload: tables of single steps, and simulated pods that load late, refuse, fall silent and vanish."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsroute.controller.rollout import SILENCE, BalancerPod, Decision, InForce, Inputs, Owing, Trial, step
from wsroute.dataplane.acknowledgement import Acknowledgement, Failure

ALL = ("*",)


def pod(name: str, runs: str = "v0", *, refused: str = "", sockets: int = 0, ready: bool = True) -> BalancerPod:
    """A pod whose agent has acknowledged ``runs`` and refused ``refused``."""
    failure = Failure(refused, "test", f"nginx: [emerg] {refused} is bad") if refused else None
    said = Acknowledgement(version=runs, epoch=1, sockets=sockets, nginx="1.31.3", ipv6=True, failure=failure)
    return BalancerPod(name, ready, said)


def mute(name: str) -> BalancerPod:
    """A ready pod whose agent never said anything."""
    return BalancerPod(name, ready=True, said=None)


def decide(
    pods: Iterable[BalancerPod],
    *,
    desired: str,
    in_force: InForce | None = None,
    trial: Trial | None = None,
    akin: Iterable[str] = (),
    now: float = 100.0,
    owing: dict[str, Owing] | None = None,
) -> Decision:
    """One step."""
    return step(
        Inputs(
            desired=desired,
            akin=frozenset({desired, *akin}),
            in_force=in_force,
            trial=trial,
            pods=tuple(pods),
            now=now,
            owing=owing or {},
        )
    )


def stands(decision: Decision) -> tuple[InForce | None, Trial | None]:
    return decision.in_force, decision.trial


# --- where no canary is possible ---


@pytest.mark.parametrize(
    "pods",
    [(), (pod("a", ready=False),)],
    ids=["no-pods", "none-ready"],
)
@pytest.mark.parametrize("in_force", [None, InForce("v0", ALL)])
def test_without_a_ready_pod_the_version_comes_in_force_at_once(
    pods: tuple[BalancerPod, ...], in_force: InForce | None
) -> None:
    assert stands(decide(pods, desired="v1", in_force=in_force)) == (InForce("v1", ALL), None)


UNHEARD = pytest.mark.parametrize(
    "pods",
    [(mute("a"), mute("b")), (pod("a", ""),), (pod("a", "", refused="v0"), mute("b"), pod("c", ready=False))],
    ids=["none-answers", "nothing-loaded", "mixed"],
)
"""Ready pods of which it is not known what they run."""


@UNHEARD
def test_the_first_version_does_not_wait_for_pods_that_were_not_heard(pods: tuple[BalancerPod, ...]) -> None:
    assert stands(decide(pods, desired="v1")) == (InForce("v1", ALL), None)


@UNHEARD
@pytest.mark.parametrize("turn", [ALL, ("a",), ("gone",)])
@pytest.mark.parametrize("trial", [None, Trial("v1", "a"), Trial("v2", "gone")])
def test_ready_pods_that_were_not_heard_are_waited_for_until_all_count_as_silent(
    pods: tuple[BalancerPod, ...], turn: tuple[str, ...], trial: Trial | None
) -> None:
    force = InForce("v0", turn)
    first = decide(pods, desired="v1", in_force=force, trial=trial, now=100.0)
    assert stands(first) == (force, trial)
    assert first.look_again == SILENCE
    late = 100.0 + SILENCE
    second = decide(pods, desired="v1", in_force=force, trial=trial, now=late - 1, owing=dict(first.owing))
    assert stands(second) == (force, trial)
    assert second.look_again == 1
    third = decide(pods, desired="v1", in_force=force, trial=trial, now=late, owing=dict(second.owing))
    assert stands(third) == (InForce("v1", ALL), None)
    # Dead agents hold up one rollout, not each of them.
    fourth = decide(pods, desired="v3", in_force=InForce("v1", ALL), now=late + 1, owing=dict(third.owing))
    assert stands(fourth) == (InForce("v3", ALL), None)


@pytest.mark.parametrize(("others", "waited"), [([pod("a", sockets=2)], 1.0), ([mute("a")], SILENCE)])
def test_a_canary_tries_it_once_the_others_were_heard_or_count_as_silent(
    others: list[BalancerPod], waited: float
) -> None:
    force = InForce("v0", ALL)
    first = decide([mute("a"), mute("b")], desired="v1", in_force=force, now=100.0)
    pods = [*others, pod("b")]
    second = decide(pods, desired="v1", in_force=force, now=100.0 + waited, owing=dict(first.owing))
    assert stands(second) == (force, Trial("v1", "b"))


@UNHEARD
def test_endpoints_do_not_wait_for_pods_that_were_not_heard(pods: tuple[BalancerPod, ...]) -> None:
    decision = decide(pods, desired="v1", akin=["v0"], in_force=InForce("v0", ("a",)), trial=Trial("v2", "a"))
    assert stands(decision) == (InForce("v1", ALL), None)


def test_the_first_version_goes_through_a_canary_when_a_pod_answers() -> None:
    decision = decide([pod("a", "old"), pod("b", "old")], desired="v1")
    assert stands(decision) == (None, Trial("v1", "a"))


# --- the trial ---


def test_the_canary_is_the_pod_with_fewest_sockets_then_by_name() -> None:
    pods = [pod("c", sockets=3), pod("b", sockets=1), pod("a", sockets=7), pod("d", sockets=1)]
    assert decide(pods, desired="v1", in_force=InForce("v0", ALL)).trial == Trial("v1", "b")


def test_a_canary_stays_while_its_verdict_is_awaited_even_when_another_pod_has_fewer_sockets_by_now() -> None:
    pods = [pod("a", sockets=9), pod("b")]
    decision = decide(pods, desired="v1", in_force=InForce("v0", ALL), trial=Trial("v1", "a"))
    assert stands(decision) == (InForce("v0", ALL), Trial("v1", "a"))
    assert decision.look_again == SILENCE


def test_a_newer_version_waits_for_the_verdict() -> None:
    decision = decide([pod("a"), pod("b")], desired="v2", in_force=InForce("v0", ALL), trial=Trial("v1", "a"))
    assert stands(decision) == (InForce("v0", ALL), Trial("v1", "a"))


def test_an_accepted_version_comes_in_force_for_the_canary_and_the_next_pod() -> None:
    pods = [pod("a"), pod("b", "v1"), pod("c"), pod("d")]
    decision = decide(pods, desired="v1", in_force=InForce("v0", ALL), trial=Trial("v1", "b"))
    assert stands(decision) == (InForce("v1", ("a", "b")), None)


@pytest.mark.parametrize("others", [[], [pod("b")]])
def test_with_one_or_two_pods_promotion_is_the_last_write(others: list[BalancerPod]) -> None:
    decision = decide([pod("a", "v1"), *others], desired="v1", in_force=InForce("v0", ALL), trial=Trial("v1", "a"))
    assert stands(decision) == (InForce("v1", ALL), None)


def test_an_accepted_version_comes_in_force_although_a_newer_one_is_wanted() -> None:
    pods = [pod("a", "v1"), pod("b"), pod("c")]
    decision = decide(pods, desired="v2", in_force=InForce("v0", ALL), trial=Trial("v1", "a"))
    assert stands(decision) == (InForce("v1", ("a", "b")), None)


def test_an_accepted_version_takes_newer_endpoints_along() -> None:
    pods = [pod("a", "v1"), pod("b"), pod("c")]
    decision = decide(pods, desired="v2", akin=["v1"], in_force=InForce("v0", ALL), trial=Trial("v1", "a"))
    assert stands(decision) == (InForce("v2", ("a", "b")), None)


def test_what_one_pod_refuses_is_tried_by_each_other_one_and_then_rests() -> None:
    force = InForce("v0", ALL)
    one = decide([pod("a", refused="v1"), pod("b", sockets=5)], desired="v1", in_force=force, trial=Trial("v1", "a"))
    assert stands(one) == (force, Trial("v1", "b"))
    assert one.failure == Failure("v1", "test", "nginx: [emerg] v1 is bad")
    pods = [pod("a", refused="v1"), pod("b", sockets=5, refused="v1")]
    two = decide(pods, desired="v1", in_force=force, trial=Trial("v1", "b"))
    assert stands(two) == (force, Trial("v1", "b"))
    assert two.look_again is None


def test_what_one_pod_refused_comes_in_force_when_another_one_takes_it() -> None:
    pods = [pod("a", refused="v1"), pod("b", "v1"), pod("c")]
    decision = decide(pods, desired="v1", in_force=InForce("v0", ALL), trial=Trial("v1", "b"))
    assert decision.in_force is not None
    assert decision.in_force.version == "v1"


def test_the_only_pod_is_its_own_canary() -> None:
    force = InForce("v0", ALL)
    assert stands(decide([pod("a")], desired="v1", in_force=force)) == (force, Trial("v1", "a"))
    refused = [pod("a", refused="v1")]
    assert stands(decide(refused, desired="v1", in_force=force, trial=Trial("v1", "a"))) == (force, Trial("v1", "a"))
    assert stands(decide(refused, desired="v2", in_force=force, trial=Trial("v1", "a"))) == (force, Trial("v2", "a"))
    taken = [pod("a", "v2")]
    assert stands(decide(taken, desired="v2", in_force=force, trial=Trial("v2", "a"))) == (InForce("v2", ALL), None)


def test_the_only_pod_that_is_deleted_while_it_tries_leaves_the_version_to_those_that_start() -> None:
    force = InForce("v0", ALL)
    decision = decide([pod("b", "", ready=False)], desired="v1", in_force=force, trial=Trial("v1", "a"))
    assert stands(decision) == (InForce("v1", ALL), None)


def test_a_version_that_starting_pods_refuse_makes_way_for_the_next_at_once() -> None:
    pods = [pod("a", "", refused="v1", ready=False), pod("b", "", refused="v1", ready=False)]
    assert stands(decide(pods, desired="v2", in_force=InForce("v1", ALL))) == (InForce("v2", ALL), None)


def test_a_newer_version_takes_the_place_of_a_refused_one() -> None:
    pods = [pod("a", refused="v1", sockets=2), pod("b", sockets=1)]
    decision = decide(pods, desired="v2", in_force=InForce("v0", ALL), trial=Trial("v1", "a"))
    assert stands(decision) == (InForce("v0", ALL), Trial("v2", "b"))
    assert decision.failure is None


def test_going_back_to_what_is_in_force_ends_the_trial() -> None:
    pods = [pod("a", refused="v1"), pod("b")]
    decision = decide(pods, desired="v0", in_force=InForce("v0", ALL), trial=Trial("v1", "a"))
    assert stands(decision) == (InForce("v0", ALL), None)


@pytest.mark.parametrize("gone", [[], [pod("a", ready=False)], [mute("a")]], ids=["deleted", "not-ready", "no-answer"])
def test_another_canary_is_chosen_when_the_first_is_gone(gone: list[BalancerPod]) -> None:
    decision = decide([*gone, pod("b"), pod("c")], desired="v1", in_force=InForce("v0", ALL), trial=Trial("v1", "a"))
    assert stands(decision) == (InForce("v0", ALL), Trial("v1", "b"))


def test_a_silent_canary_is_replaced_and_not_chosen_again() -> None:
    pods = [pod("a"), pod("b", sockets=5)]
    first = decide(pods, desired="v1", in_force=InForce("v0", ALL), trial=Trial("v1", "a"), now=100.0)
    assert first.trial == Trial("v1", "a")
    second = decide(
        pods, desired="v1", in_force=InForce("v0", ALL), trial=first.trial, now=100.0 + SILENCE, owing=dict(first.owing)
    )
    assert second.trial == Trial("v1", "b")
    third = decide(pods, desired="v2", in_force=InForce("v0", ALL), trial=None, now=115.0, owing=dict(second.owing))
    assert third.trial == Trial("v2", "b")


def test_a_silent_pod_that_speaks_again_is_silent_no_more() -> None:
    owing = {"a": Owing(("v0", ""), 0.0)}
    decision = decide([pod("a", "v1"), pod("b", sockets=5)], desired="v2", in_force=InForce("v1", ALL), owing=owing)
    assert decision.trial is None  # pod b has yet to load v1
    decision = decide(
        [pod("a", "v1"), pod("b", "v1", sockets=5)], desired="v2", in_force=InForce("v1", ALL), owing=owing
    )
    assert decision.trial == Trial("v2", "a")


# --- one after another ---


def test_an_answer_to_an_older_question_ends_a_debt_and_the_next_one_begins_anew() -> None:
    owing = {"a": Owing(("v0", ""), 100.0)}
    late = 100.0 + SILENCE - 1
    decision = decide([pod("a", "v1")], desired="v2", in_force=InForce("v2", ALL), now=late, owing=owing)
    assert decision.owing == {"a": Owing(("v1", ""), late)}
    assert decision.look_again == SILENCE


def test_the_next_pod_has_its_turn_when_all_before_it_have_acknowledged() -> None:
    force = InForce("v1", ("a", "b"))
    waiting = [pod("a", "v1"), pod("b"), pod("c"), pod("d")]
    assert decide(waiting, desired="v1", in_force=force).in_force == force
    further = [pod("a", "v1"), pod("b", "v1"), pod("c"), pod("d")]
    assert decide(further, desired="v1", in_force=force).in_force == InForce("v1", ("a", "b", "c"))
    last = [pod("a", "v1"), pod("b", "v1"), pod("c", "v1"), pod("d")]
    assert decide(last, desired="v1", in_force=InForce("v1", ("a", "b", "c"))).in_force == InForce("v1", ALL)


def test_a_pod_that_refuses_or_is_silent_does_not_hold_up_the_others() -> None:
    force = InForce("v1", ("a", "b"))
    refusing = [pod("a", "v1"), pod("b", refused="v1"), pod("c"), pod("d")]
    assert decide(refusing, desired="v1", in_force=force).in_force == InForce("v1", ("a", "b", "c"))
    silent = [pod("a", "v1"), pod("b"), pod("c"), pod("d")]
    owing = {"b": Owing(("v0", ""), 0.0)}
    assert decide(silent, desired="v1", in_force=force, owing=owing).in_force == InForce("v1", ("a", "b", "c"))


def test_a_new_trial_waits_until_all_pods_had_the_version_in_force() -> None:
    pods = [pod("a", "v1"), pod("b"), pod("c")]
    decision = decide(pods, desired="v2", in_force=InForce("v1", ("a", "b")))
    assert stands(decision) == (InForce("v1", ("a", "b")), None)
    done = [pod("a", "v1"), pod("b", "v1"), pod("c", "v1")]
    assert decide(done, desired="v2", in_force=InForce("v1", ALL)).trial == Trial("v2", "a")


def test_nothing_changes_when_everything_is_done() -> None:
    decision = decide([pod("a", "v1"), pod("b", "v1")], desired="v1", in_force=InForce("v1", ALL))
    assert stands(decision) == (InForce("v1", ALL), None)
    assert decision.look_again is None
    assert not decision.owing


# --- endpoints only ---


def test_a_change_of_endpoints_comes_in_force_everywhere_at_once() -> None:
    pods = [pod("a"), pod("b"), pod("c")]
    assert stands(decide(pods, desired="v1", akin=["v0"], in_force=InForce("v0", ALL))) == (InForce("v1", ALL), None)


def test_a_change_of_endpoints_does_not_wait_for_a_rollout_in_progress() -> None:
    pods = [pod("a"), pod("b", "v1"), pod("c")]
    decision = decide(pods, desired="v2", akin=["v1"], in_force=InForce("v1", ("a", "b")))
    assert stands(decision) == (InForce("v2", ALL), None)


def test_a_structural_trial_is_given_up_when_it_is_wanted_no_more_and_endpoints_changed() -> None:
    decision = decide(
        [pod("a"), pod("b")], desired="v2", akin=["v0"], in_force=InForce("v0", ALL), trial=Trial("v1", "a")
    )
    assert stands(decision) == (InForce("v2", ALL), None)


# --- simulated pods ---


@dataclass
class SimulatedPod:
    """A pod as its agent behaves: its aim is a function of what stands; loading takes some ticks."""

    name: str
    runs: str = ""
    loading: str = ""
    left: int = 0
    failure: Failure | None = None
    said: Acknowledgement | None = None
    ready: bool = False
    dead: bool = False

    def aim(self, in_force: InForce | None, trial: Trial | None) -> str:
        """The version to run, by the contract in ``wsroute.dataplane.names``."""
        refused = self.failure.version if self.failure is not None else ""
        if trial is not None and trial.canary == self.name and trial.version != refused:
            return trial.version
        if in_force is not None and ("*" in in_force.turn or self.name in in_force.turn or not self.runs):
            return in_force.version
        return self.runs

    def tick(self, in_force: InForce | None, trial: Trial | None, *, duration: int, bad: frozenset[str]) -> None:
        """Some time passes."""
        if self.dead:
            return
        if self.loading:
            self.left -= 1
            if self.left <= 0:
                if self.loading in bad:
                    self.failure = Failure(self.loading, "load", "no")
                else:
                    self.runs, self.failure, self.ready = self.loading, None, True
                self.loading = ""
        if not self.loading:
            aim = self.aim(in_force, trial)
            refused = self.failure.version if self.failure is not None else ""
            if aim not in (self.runs, refused, ""):
                self.loading, self.left = aim, duration
        self.said = Acknowledgement(self.runs, 1, 0, "1.31.3", ipv6=True, failure=self.failure)


@dataclass
class Simulation:
    """A balancer: what stands, its pods, and an operator that steps."""

    pods: dict[str, SimulatedPod]
    bad: frozenset[str]
    now: float = 0.0
    in_force: InForce | None = None
    trial: Trial | None = None
    owing: dict[str, Owing] = field(default_factory=dict)
    desired: str = "v0"
    structures: dict[str, str] = field(default_factory=dict)
    unproven: set[str] = field(default_factory=set)
    """Structures that came in force while no pod could try them."""

    def operator(self) -> None:
        """One pass, with the checks that hold for any decision."""
        pods = tuple(BalancerPod(pod.name, pod.ready, pod.said) for pod in self.pods.values())
        akin = frozenset(version for version in self.structures if akin_to(self, version, self.desired))
        inputs = Inputs(self.desired, akin, self.in_force, self.trial, pods, self.now, self.owing)
        decision = step(inputs)
        self.check_proof(decision, pods)
        self.check_turns(decision, pods)
        self.check_settled(inputs, decision)
        self.in_force, self.trial, self.owing = decision.in_force, decision.trial, dict(decision.owing)

    def check_proof(self, decision: Decision, pods: tuple[BalancerPod, ...]) -> None:
        """What comes in force is loaded by a pod, or differs in endpoints only, or no pod could have been asked."""
        force = decision.in_force
        if force is None or (self.in_force is not None and force.version == self.in_force.version):
            return
        runs = {p.said.version for p in pods if p.said is not None}
        before = {self.in_force.version} if self.in_force is not None else set()
        if not any(akin_to(self, version, force.version) for version in runs | before):
            for p in pods:
                silent = p.name in decision.owing and self.now - decision.owing[p.name].since >= SILENCE
                unheard = p.said is None or not p.said.version
                assert silent or not p.ready or (self.in_force is None and unheard)
            self.unproven.add(self.structures[force.version])

    def check_turns(self, decision: Decision, pods: tuple[BalancerPod, ...]) -> None:
        """Of the pods that have an older structure, one at a time loads the version that comes in force. Whose answer
        was deleted after its turn counts as loading, but gets no other pod's turn."""
        force = decision.in_force
        if force is None or "*" in force.turn or force == self.in_force:
            return
        loading = [
            p.name
            for p in pods
            if p.ready
            and p.name in force.turn
            and not (p.said is not None and akin_to(self, p.said.version, force.version))
            and not p.refused(force.version)
            and self.now - decision.owing[p.name].since < SILENCE
        ]
        assert len(loading) <= 1

    def check_settled(self, inputs: Inputs, decision: Decision) -> None:
        """Passes over the same pods come to rest."""
        last = decision
        for _ in range(3):
            inputs = replace(inputs, in_force=last.in_force, trial=last.trial, owing=last.owing)
            last, before = step(inputs), last
            if last == before:
                return
        raise AssertionError("the rollout does not come to rest")

    def act(self, action: str, n: int) -> None:
        """Something happens in the cluster."""
        one = self.pods.get(f"p{n}")
        if action == "want":
            self.desired = f"v{n}"
        elif action == "tick":
            self.tick(n % 4 + 1)
        elif action == "forget":
            for pod in self.pods.values():
                pod.said = None
        elif action == "add":
            self.pods.setdefault(f"p{n}", SimulatedPod(f"p{n}"))
        elif one is not None and action == "delete":
            del self.pods[one.name]
        elif one is not None and action == "unready":
            one.ready = False
        elif one is not None:
            one.dead = action == "kill-agent"

    def tick(self, duration: int) -> None:
        """The agents look at what stands."""
        self.now += 0.1
        for one in self.pods.values():
            one.tick(self.in_force, self.trial, duration=duration, bad=self.bad)


def akin_to(simulation: Simulation, a: str, b: str) -> bool:
    """Whether two versions differ in endpoints only, or not at all."""
    return a == b or (a in simulation.structures and simulation.structures[a] == simulation.structures.get(b))


VERSIONS = 12
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from([*["want", "tick"] * 2, "tick", "forget", "delete", "add", "unready", "kill-agent", "revive"]),
        st.integers(0, VERSIONS - 1),
    ),
    max_size=50,
)


@settings(max_examples=150)
@given(
    actions=ACTIONS,
    bad=st.frozensets(st.integers(1, VERSIONS // 3 - 1)),
    final=st.integers(0, VERSIONS - 1),
    count=st.integers(1, 4),
)
def test_simulated_pods_converge_on_what_is_wanted_and_nothing_refused_comes_in_force(
    actions: list[tuple[str, int]], bad: frozenset[int], final: int, count: int
) -> None:
    """Versions 3k, 3k+1 and 3k+2 differ in endpoints only, and are good or bad together."""
    structures = {f"v{n}": f"s{n // 3}" for n in range(VERSIONS)}
    refused = frozenset(version for version, structure in structures.items() if int(structure[1:]) in bad)
    world = Simulation(pods={f"p{n}": SimulatedPod(f"p{n}") for n in range(count)}, bad=refused, structures=structures)
    for action, n in actions:
        world.act(action, n)
        world.operator()
        force = world.in_force
        assert force is None or force.version not in refused or structures[force.version] in world.unproven
    for one in world.pods.values():
        one.dead, one.ready = False, bool(one.runs)
    world.desired = f"v{final}"
    for _ in range(250):
        world.operator()
        world.tick(1)
    if world.desired not in refused:
        assert stands_in(world) == (InForce(world.desired, ALL), None)
        assert {one.runs for one in world.pods.values()} <= {world.desired}


def stands_in(world: Simulation) -> tuple[InForce | None, Trial | None]:
    return world.in_force, world.trial


@pytest.mark.parametrize("dead", [{"p0"}, {"p0", "p2"}, {"p0", "p1", "p2"}])
def test_pods_that_never_answer_hold_up_no_others_after_their_answers_were_deleted(dead: set[str]) -> None:
    world = Simulation(
        pods={f"p{n}": SimulatedPod(f"p{n}") for n in range(3)},
        bad=frozenset(),
        structures={"v0": "s0", "v1": "s1"},
    )
    for _ in range(20):
        world.operator()
        world.tick(1)
    for one in world.pods.values():
        one.dead, one.said = one.name in dead, None
    world.desired = "v1"
    for _ in range(round(3 * SILENCE / 0.1)):
        world.operator()
        world.tick(1)
    assert stands_in(world) == (InForce("v1", ALL), None)
    assert {one.name for one in world.pods.values() if one.runs != "v1"} == dead


def test_a_steady_stream_of_structural_changes_reaches_every_pod() -> None:
    world = Simulation(
        pods={f"p{n}": SimulatedPod(f"p{n}") for n in range(4)},
        bad=frozenset(),
        structures={f"v{n}": f"s{n}" for n in range(200)},
    )
    seen: dict[str, set[str]] = {name: set() for name in world.pods}
    for n in range(200):
        world.desired = f"v{n}"
        world.operator()
        world.tick(3)
        for one in world.pods.values():
            seen[one.name].add(one.runs)
    assert all(len(versions) >= 5 for versions in seen.values())
