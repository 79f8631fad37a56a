"""Rolling reload as a pure function: which ConfigMaps of one balancer should stand, from those that do and its pods.

Nothing is remembered between passes but since when a pod owes an answer, so any replica and any restart goes on where
the last one stopped:

* The **version in force** (``<balancer>-nginx``) names the pods whose turn it is to load it, or ``*`` for all.
* The **trial** (``<balancer>-nginx-next``) holds a version that has yet to be loaded by one pod, the canary: the one
  with fewest sockets. It is empty while nothing is tried.

A structural change goes to the trial; once the canary has acknowledged it, it comes in force and the other pods get
their turn one after another; only then may the next trial begin. The version that the canary accepted comes in force
even when a newer one is wanted by then, so that a steady stream of changes starves nobody. A version that its canary
refuses and that is wanted all the same (``quarantine`` found nobody to blame: it may be this pod's own trouble) is
tried by another pod. When all have refused it, it stays in the trial until another one is wanted, so that objects alone
tell of the refusal, and the agent of the last canary tries it again from time to time.

A change of nothing but endpoints (addresses that a parser typed can't break the file) comes in force at once, on all
pods and without canary: there latency counts. So does any change while no pod could answer: none is ready, no version
is in force yet, or all that are ready have been silent for :data:`SILENCE` seconds. Ready pods that have merely not
been heard (somebody deleted the agents' ConfigMap; they write again within seconds) are waited for until then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from wsroute.dataplane.acknowledgement import Acknowledgement, Failure

ALL_PODS: Final = "*"
"""The turn of all pods at once."""

SILENCE: Final = 10.0
"""Seconds after which a pod that owes an answer counts as silent: it is waited for no longer."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The version in force and whose turn it is: names of pods, or ``("*",)``."""

    version: str
    turn: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """A version under canary."""

    version: str
    canary: str


@dataclass(frozen=True, slots=True)
class BalancerPod:
    """A pod of the balancer that is not terminating. ``said`` is what its agent acknowledged, None before the first."""

    name: str
    ready: bool
    said: Acknowledgement | None

    def runs(self, version: str) -> bool:
        """Whether all its accepting workers run this version."""
        return self.said is not None and self.said.version == version

    def refused(self, version: str) -> bool:
        """Whether its nginx refused this version."""
        return self.said is not None and self.said.failure is not None and self.said.failure.version == version


@dataclass(frozen=True, slots=True)
class Owing:
    """Since when a pod owes an answer, the answer that it had given before that, and whether it counts as silent."""

    before: tuple[str, str]
    since: float
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a step looks at.

    ``akin`` are versions that differ from the desired one in nothing but endpoints; the desired one is always akin to
    itself. ``now`` is monotonic, seconds.
    """

    desired: str
    akin: frozenset[str]
    in_force: InForce | None
    trial: Trial | None
    pods: tuple[BalancerPod, ...]
    now: float
    owing: Mapping[str, Owing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What should stand, and the state of the rollout as statuses show it.

    ``failure`` is a refusal of the desired version, in nginx's words. ``look_again`` is in how many seconds a step
    would decide otherwise although no pod answered, None when never. ``owing`` goes into the next step.
    """

    in_force: InForce | None
    trial: Trial | None
    failure: Failure | None
    look_again: float | None
    owing: Mapping[str, Owing]
    is_stall: bool = False
    """Whether the failure is that a Deployment made no progress, and not nginx's refusal."""


def step(inputs: Inputs) -> Decision:
    """One step of one balancer's rollout. What it writes may ask for one more; then it rests until a pod answers."""
    ready = {pod.name: pod for pod in sorted(inputs.pods, key=lambda pod: pod.name) if pod.ready}
    silent = _silent(ready.values(), inputs)
    answering = {
        name: pod for name, pod in ready.items() if pod.said is not None and pod.said.version and name not in silent
    }
    in_force, trial = _target(inputs, ready, answering, silent)
    owing = _owing(ready.values(), in_force, trial, silent, inputs)
    return Decision(
        in_force=in_force,
        trial=trial,
        failure=_failure(inputs.desired, ready.values(), inputs.pods),
        look_again=_look_again(owing, inputs.now),
        owing=owing,
    )


def _target(
    inputs: Inputs,
    ready: Mapping[str, BalancerPod],
    answering: Mapping[str, BalancerPod],
    silent: frozenset[str],
) -> tuple[InForce | None, Trial | None]:
    """The version in force and the trial that should stand."""
    desired, in_force, trial = inputs.desired, inputs.in_force, inputs.trial
    if in_force is not None and in_force.version == desired:
        return _continue(in_force, ready, silent), None
    if in_force is not None and in_force.version in inputs.akin:
        return InForce(desired, (ALL_PODS,)), None
    if not answering:
        if in_force is None or all(name in silent for name in ready):
            return InForce(desired, (ALL_PODS,)), None
        return in_force, trial  # the ready pods owe an answer
    if trial is None:
        if in_force is not None and _in_progress(in_force, ready, silent):
            return _continue(in_force, ready, silent), None
        return in_force, _new_trial(desired, answering)
    if any(pod.runs(trial.version) for pod in answering.values()):
        version = desired if trial.version in inputs.akin else trial.version
        return InForce(version, _turn(trial.version, (), ready, silent)), None
    canary = answering.get(trial.canary)
    if canary is not None and not canary.refused(trial.version):
        return in_force, trial  # its verdict is awaited, even when a newer version is wanted by now
    untried = {name: pod for name, pod in answering.items() if not pod.refused(desired)}
    if canary is not None and trial.version == desired and not untried:
        return in_force, trial  # all have refused it
    return in_force, _new_trial(desired, untried or answering)


def _new_trial(version: str, answering: Mapping[str, BalancerPod]) -> Trial:
    """A trial on the pod with fewest sockets, by name where several have as few."""

    def burden(pod: BalancerPod) -> tuple[int, str]:
        return (pod.said.sockets if pod.said is not None else 0, pod.name)

    return Trial(version, min(answering.values(), key=burden).name)


def _waiting(version: str, ready: Mapping[str, BalancerPod], silent: frozenset[str]) -> list[str]:
    """The ready pods that have yet to give their verdict on a version, in their order."""
    return [
        name for name, pod in ready.items() if not pod.runs(version) and not pod.refused(version) and name not in silent
    ]


def _in_progress(in_force: InForce, ready: Mapping[str, BalancerPod], silent: frozenset[str]) -> bool:
    return bool(_waiting(in_force.version, ready, silent))


def _turn(
    version: str, before: tuple[str, ...], ready: Mapping[str, BalancerPod], silent: frozenset[str]
) -> tuple[str, ...]:
    """Whose turn it is: all that had theirs and the next one; all pods as soon as only one is left to wait for."""
    waiting = _waiting(version, ready, silent)
    if len(waiting) <= 1:
        return (ALL_PODS,)
    had = {name for name, pod in ready.items() if name in before or name not in waiting}
    return tuple(sorted(had | {waiting[0]}))


def _continue(in_force: InForce, ready: Mapping[str, BalancerPod], silent: frozenset[str]) -> InForce:
    """The same version, with the turn of one pod more when all that had theirs have given their verdict."""
    if ALL_PODS in in_force.turn:
        return in_force
    waiting = _waiting(in_force.version, ready, silent)
    if any(name in in_force.turn for name in waiting):
        return in_force
    return replace(in_force, turn=_turn(in_force.version, in_force.turn, ready, silent))


def _failure(desired: str, ready: Iterable[BalancerPod], pods: Iterable[BalancerPod]) -> Failure | None:
    """What nginx said against the desired version, on a ready pod rather than on one that is not."""
    for pod in (*ready, *sorted(pods, key=lambda pod: pod.name)):
        if pod.refused(desired) and pod.said is not None:
            return pod.said.failure
    return None


# --- silence ---


def _answer(pod: BalancerPod) -> tuple[str, str]:
    """What counts as an answer: not the number of sockets, which a hung nginx's agent goes on reporting."""
    if pod.said is None:
        return ("", "")
    return (pod.said.version, pod.said.failure.version if pod.said.failure is not None else "")


def _owes(pod: BalancerPod, in_force: InForce | None, trial: Trial | None) -> bool:
    if pod.said is None or not pod.said.version:
        return True  # it is ready, so it runs something, and has yet to say what
    aim = None
    if trial is not None and trial.canary == pod.name and not pod.refused(trial.version):
        aim = trial.version
    elif in_force is not None and (ALL_PODS in in_force.turn or pod.name in in_force.turn):
        aim = in_force.version
    return aim is not None and not pod.runs(aim) and not pod.refused(aim)


def _owing(
    ready: Iterable[BalancerPod],
    in_force: InForce | None,
    trial: Trial | None,
    silent: frozenset[str],
    inputs: Inputs,
) -> Mapping[str, Owing]:
    """Who owes an answer from now on. A debt ends with any answer, also one to an older question; who fell silent stays
    silent until then, so that a dead agent holds up one rollout, not each of them."""
    owing = {}
    for pod in ready:
        if pod.name in silent:
            owing[pod.name] = replace(inputs.owing[pod.name], is_silent=True)
        elif _owes(pod, in_force, trial):
            known = inputs.owing.get(pod.name)
            kept = known is not None and known.before == _answer(pod)
            owing[pod.name] = known if kept and known is not None else Owing(_answer(pod), inputs.now)
    return owing


def _silent(ready: Iterable[BalancerPod], inputs: Inputs) -> frozenset[str]:
    """The pods that owe an answer for too long."""
    silent = set()
    for pod in ready:
        known = inputs.owing.get(pod.name)
        if known is None or known.before != _answer(pod):
            continue
        if known.is_silent or inputs.now - known.since >= SILENCE:
            silent.add(pod.name)
    return frozenset(silent)


def _look_again(owing: Mapping[str, Owing], now: float) -> float | None:
    ahead = [debt.since + SILENCE - now for debt in owing.values()]
    ahead = [seconds for seconds in ahead if seconds > 0]
    return min(ahead) if ahead else None
