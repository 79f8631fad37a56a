"""Strategy Restart as a pure function: a Deployment without agents, whose pods are replaced to bring a version in.

A pod is of the version that an annotation of its template names, and its init container takes the file of exactly that
version from the ConfigMaps, tests it, and only then lets nginx start. What agents acknowledge elsewhere is read from
the pods' own status, so that quarantine and statuses need not know the difference.

* The **version in force** (``<balancer>-nginx``) is the one that the Deployment is rolled out to. It also tells which
  version was refused because its rollout stalled, and why.
* The **last good version** (``<balancer>-nginx-next``) is the last one that all pods got ready with. Pods of it that
  start anew while the next one is rolled out find their file there.

ConfigMaps are written before the annotation, so a pod finds its file. A rollout is not overtaken by the next one unless
it fails: a steady stream of changes starves nobody. One that stalls while it is still what is wanted is taken back: the
last good version comes in force again, which ends only the pods that never got ready where maxUnavailable is 0.
Everything is read from objects, so any replica goes on where the last one stopped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from wsroute.cluster.objects import ConfigMap, Deployment, Pod
from wsroute.controller import generated, refusal
from wsroute.controller.rollout import Decision, InForce
from wsroute.controller.standing import unpacked
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement, Failure
from wsroute.graph.model import BalancerNode

MAX_WORDS: Final = 1_000
"""Letters of the reason that are remembered with a version."""

STALL: Final = "The Deployment "
"""How the words begin that are not nginx's."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A version that was taken back. ``words`` are nginx's where it said something, else the Deployment's state."""

    version: str
    words: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a step looks at.

    ``wanted`` is what the routes ask for, and ``released`` what the reload budget lets through of it. ``good`` is the
    last good version, None when its file is not there or damaged.
    """

    wanted: str
    released: str
    in_force: InForce | None
    good: str | None
    refused: Refused | None
    deployment: Deployment | None
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What should stand. ``refused`` is remembered, ``failure`` is why the wanted version is not served."""

    in_force: InForce
    good: str | None
    refused: Refused | None
    failure: Failure | None
    is_stall: bool

    @property
    def decision(self) -> Decision:
        """The same in the words of the rollout by agents."""
        return Decision(self.in_force, None, self.failure, None, {}, is_stall=self.is_stall)


@dataclass(frozen=True, slots=True)
class Restart:
    """The annotation that a Deployment's template should have."""

    deployment: Deployment
    version: str


def applies(node: BalancerNode) -> bool:
    """Whether a balancer's pods are replaced, in place of reloading."""
    return node.spec is not None and node.spec.reload.restarts


def acknowledgements(pods: Iterable[Pod]) -> Mapping[str, Acknowledgement]:
    """What agents would say of these pods: a ready one runs its version, and one whose init container failed at a line
    of the file has refused it. Other failures may be the machine's: they count when the rollout stalls."""
    return {pod.meta.key.name: _acknowledge(pod) for pod in pods if pod.version}


def _acknowledge(pod: Pod) -> Acknowledgement:
    failure = Failure(pod.version, "test", pod.init_failure)
    at_a_line = bool(pod.init_failure) and refusal.read(failure).line > 0
    return Acknowledgement(
        version=pod.version if pod.ready else "",
        epoch=0,
        sockets=0,
        nginx="",
        ipv6=True,
        failure=failure if at_a_line and not pod.ready else None,
    )


def step(inputs: Inputs) -> Step:
    """One step. What it asks for may allow one more; then it rests until the Deployment or its pods change."""
    refused = inputs.refused if inputs.refused is not None and inputs.refused.version == inputs.wanted else None
    if inputs.in_force is None:
        return _publish(inputs.released, inputs.good, None)
    current = inputs.in_force.version
    good = current if _is_done(inputs.deployment, current) else inputs.good
    pods = [pod for pod in inputs.pods if pod.version == current and not pod.terminating]
    words = next((pod.init_failure for pod in pods if pod.init_failure and not pod.ready), "")
    stalled = _is_stalled(inputs.deployment, current)
    at_a_line = any(said.failure is not None for said in acknowledgements(pods).values())
    if stalled or at_a_line:
        if current == inputs.wanted and good is not None and good != current:
            return _rest(good, good, Refused(current, (words or _describe(inputs.deployment))[:MAX_WORDS]))
        if current == inputs.wanted:  # there is nothing to go back to
            failure = Failure(current, "test", words or _describe(inputs.deployment))
            return replace(_publish(current, good, None), failure=failure, is_stall=not words)
    if refused is not None:
        # Only back at the good version is anything refused, and the only other version is that one.
        return _rest(current, good, refused)
    failed = stalled or bool(words)
    if good == current or failed or inputs.deployment is None or inputs.deployment.replicas == 0:
        return _publish(inputs.released, good, None)
    return _publish(current, good, None)


def _publish(version: str, good: str | None, refused: Refused | None) -> Step:
    return Step(InForce(version, ()), good, refused, None, is_stall=False)


def _rest(version: str, good: str | None, refused: Refused) -> Step:
    is_stall = refused.words.startswith(STALL)
    return replace(
        _publish(version, good, refused), failure=Failure(refused.version, "test", refused.words), is_stall=is_stall
    )


def _describe(deployment: Deployment | None) -> str:
    name = deployment.meta.key.name if deployment is not None else ""
    return f"{STALL}{name} made no progress for its progressDeadlineSeconds; look at its pods that are not ready."


def _is_observed(deployment: Deployment, version: str) -> bool:
    return deployment.version == version and deployment.progress.observed >= deployment.meta.generation


def _is_done(deployment: Deployment | None, version: str) -> bool:
    """Whether all pods are of this version and available. A Deployment without pods has shown nothing."""
    if deployment is None or not _is_observed(deployment, version):
        return False
    progress = deployment.progress
    counts = {progress.replicas, progress.updated, progress.available}
    return deployment.replicas > 0 and counts == {deployment.replicas}


def _is_stalled(deployment: Deployment | None, version: str) -> bool:
    return deployment is not None and _is_observed(deployment, version) and deployment.progress.is_stalled


# --- what stands in the objects ---


def read_good(following: ConfigMap | None) -> str | None:
    """The last good version; None when there is none, or its file is not whole. What is under canary is none."""
    if following is None or names.CANARY_ANNOTATION in following.annotations:
        return None
    version = generated.read_published(following).version
    return version if version and unpacked(generated.read_file(following)) is not None else None


def read_refused(nginx: ConfigMap | None) -> Refused | None:
    """The version that was taken back."""
    text = nginx.annotations.get(names.REFUSED_ANNOTATION, "") if nginx is not None else ""
    version, _, words = text.partition(" ")
    return Refused(version, words[:MAX_WORDS]) if version else None


def refused_annotation(refused: Refused | None) -> Mapping[str, str]:
    """The annotation that remembers it."""
    return {names.REFUSED_ANNOTATION: "" if refused is None else f"{refused.version} {refused.words}"}


def restart(node: BalancerNode, step: Step) -> Restart | None:
    """The annotation that the Deployment's template has yet to get. Another balancer's Deployment is left alone."""
    deployment = node.deployment
    if deployment is None or not node.drives or deployment.version == step.in_force.version:
        return None
    return Restart(deployment, step.in_force.version)


def restart_body(restart: Restart) -> Mapping[str, Any]:
    """The server-side apply that brings it about, only on the Deployment and the version of it that we last saw."""
    meta = restart.deployment.meta
    metadata: dict[str, Any] = {"namespace": meta.key.namespace, "name": meta.key.name, "uid": meta.uid}
    if meta.version >= 0:
        metadata["resourceVersion"] = str(meta.version)
    template = {"metadata": {"annotations": {names.VERSION_ANNOTATION: restart.version}}}
    return {"metadata": metadata, "spec": {"template": template}}
