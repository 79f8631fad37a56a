"""Which version a balancer's rollout is for: the one that is wanted, or, while that has to wait for the reload budget,
the one that stands. Pure.

The version that stands is the one under canary, unless it was refused there, else the one in force.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from wsroute.controller.budget import (
    Cause,
    Endpoints,
    Full,
    Go,
    Hold,
    Reload,
    Terms,
    find_full,
    judge,
    only_endpoints,
    removes,
    removes_of,
    with_endpoints,
)
from wsroute.controller.rollout import BalancerPod, InForce, Trial
from wsroute.controller.versions import Versions
from wsroute.dataplane.ir import Configuration


@dataclass(frozen=True, slots=True)
class Published:
    """What stands, each with when and why it was published, where that is known."""

    in_force: InForce | None
    in_force_since: Reload | None
    trial: Trial | None
    trial_since: Reload | None


@dataclass(frozen=True, slots=True)
class Released:
    """What goes to the rollout.

    ``since`` goes with whatever is published because of it. ``hold`` says why something else waits, and ``full`` names
    a pod that has no room for another reload.
    """

    version: str
    since: Reload
    hold: Hold | None
    full: Full | None


@dataclass(frozen=True, slots=True)
class Means:
    """What a release needs of its surroundings.

    ``make`` makes the file of a configuration and gives its version, None when it can't; ``read`` gives the addresses
    of a version that stands and was made elsewhere, None when its file is damaged.
    """

    versions: Versions
    make: Callable[[Configuration], str | None]
    read: Callable[[str], Endpoints | None]


def release(
    version: str,
    desired: Configuration,
    published: Published,
    pods: tuple[BalancerPod, ...],
    terms: Terms,
    means: Means,
    *,
    now: float,
) -> Released:
    """Decide. ``version`` is the desired configuration's; ``now`` is seconds since the epoch."""
    in_force, trial = published.in_force, published.trial
    base, last, tried = _standing(published, pods)
    continued = _continued(last, now=now)
    if base is None:
        return Released(version, continued, None, None)
    full = find_full(
        pods, standing=base.version, published=last.time if last is not None else None, terms=terms, now=now
    )
    alone = _alone_while_refused(version, desired, published, pods, terms, full, means, now=now)
    if alone is not None:
        return alone
    if version in {each.version for each in (in_force, trial) if each is not None}:
        return Released(version, continued, None, full)
    cause = _cause(base.version, version, desired, means)
    verdict: Go | Hold = Go()
    if cause is not None and any(pod.ready for pod in pods):  # else there is nothing to reload
        verdict = judge(cause, terms=terms, last=last, full=full, now=now)
    if isinstance(verdict, Hold):
        return Released(base.version, continued, verdict, full)
    since = Reload(now, cause or Cause.CONFIGURATION, now)
    known = means.versions.get(base.version)
    if verdict.alone and last is not None and known is not None:
        mixed = only_endpoints(known.configuration, desired)
        made = means.make(mixed) if mixed is not None else None
        if made is not None and made != version:
            rest = judge(Cause.CONFIGURATION, terms=terms, last=last, full=full, now=now)
            # On top of a trial it comes in force with the trial, from which the next interval counts then.
            since = since if tried else replace(since, interval_from=last.interval_from)
            return Released(made, since, rest if isinstance(rest, Hold) else None, full)
    return Released(version, since, None, full)


def follow_endpoints(
    wished: Configuration | None,
    published: Published,
    pods: tuple[BalancerPod, ...],
    terms: Terms,
    means: Means,
    *,
    now: float,
) -> Released | None:
    """What stands, for want of anything newer, with the endpoints of what is wished for as far as these can go alone;
    None where nothing stands."""
    base, last, tried = _standing(published, pods)
    if base is None:
        return None
    full = find_full(
        pods, standing=base.version, published=last.time if last is not None else None, terms=terms, now=now
    )
    # One that was refused is tried on by the other pods.
    stays = Released((published.trial or base).version, _continued(last, now=now), None, full)
    known = means.versions.get(base.version)
    if wished is None or known is None:
        return stays
    mixed = with_endpoints(known.configuration, wished)
    if mixed == known.configuration:
        return stays
    cause = Cause.REMOVAL if removes(known.configuration, mixed) else Cause.ENDPOINTS
    verdict = judge(cause, terms=terms, last=last, full=full, now=now) if any(pod.ready for pod in pods) else Go()
    if isinstance(verdict, Hold):
        return replace(stays, hold=verdict)
    made = means.make(mixed)
    if made is None:
        return stays
    alone = verdict.alone and last is not None and not tried
    return Released(made, Reload(now, cause, last.interval_from if alone and last is not None else now), None, full)


def _standing(
    published: Published, pods: tuple[BalancerPod, ...]
) -> tuple[InForce | Trial | None, Reload | None, bool]:
    """The version that stands, since when it does, and whether it is under canary."""
    trial = published.trial
    if trial is not None and not any(pod.refused(trial.version) for pod in pods):
        return trial, published.trial_since, True
    return published.in_force, published.in_force_since, False


def _continued(last: Reload | None, *, now: float) -> Reload:
    return Reload(now, last.cause if last is not None else Cause.CONFIGURATION, now)


def _alone_while_refused(
    version: str,
    desired: Configuration,
    published: Published,
    pods: tuple[BalancerPod, ...],
    terms: Terms,
    full: Full | None,
    means: Means,
    *,
    now: float,
) -> Released | None:
    """While nginx refuses what is wanted and no route is at fault, what is in force follows the endpoints by itself: an
    address that has left may be somebody else's by now."""
    in_force, trial, last = published.in_force, published.trial, published.in_force_since
    if in_force is None or trial is None or last is None or version not in means.versions.akin(trial.version):
        return None
    if any(pod.runs(trial.version) for pod in pods) or not any(pod.refused(trial.version) for pod in pods):
        return None
    known = means.versions.get(in_force.version)
    mixed = only_endpoints(known.configuration, desired) if known is not None else None
    if known is None or mixed is None or mixed == known.configuration:
        return None
    cause = Cause.REMOVAL if removes(known.configuration, mixed) else Cause.ENDPOINTS
    if isinstance(judge(cause, terms=terms, last=last, full=full, now=now), Hold):
        return None
    made = means.make(mixed)
    return None if made is None else Released(made, Reload(now, cause, last.interval_from), None, full)


def _cause(base: str, version: str, desired: Configuration, means: Means) -> Cause | None:
    """What makes the change necessary; None when the file that stands is damaged, and so has to be replaced."""
    if desired.shell is not None:
        return Cause.CONFIGURATION  # no endpoint stands in it, and none that leaves has to wait for it
    known = means.versions.get(base)
    if known is not None:
        if removes(known.configuration, desired):
            return Cause.REMOVAL
        return Cause.ENDPOINTS if base in means.versions.akin(version) else Cause.CONFIGURATION
    addresses = means.read(base)
    if addresses is None:
        return None
    return Cause.REMOVAL if removes_of(addresses, desired) else Cause.CONFIGURATION
