"""How a balancer's file gets to its pods: what the reload budget lets through of it, the next step of its rollout, and
the ConfigMaps that bring that about. Pure but for the balancer's memo."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wsroute.cluster.objects import ConfigMap
from wsroute.controller import generated, making, restarting, rollout
from wsroute.controller.budget import Reload, Terms, describe_backlog, terms_of
from wsroute.controller.generated import File
from wsroute.controller.givens import Givens
from wsroute.controller.making import Made
from wsroute.controller.plan import Write, differing
from wsroute.controller.reasons import explain
from wsroute.controller.release import Means, Released, follow_endpoints, release
from wsroute.controller.restarting import Step
from wsroute.controller.rollout import Decision, Inputs, Trial
from wsroute.controller.standing import compare, means, unpacked
from wsroute.dataplane import names
from wsroute.dataplane.ir import Configuration, RouteRef


@dataclass(frozen=True, slots=True)
class Advance:
    """The next step of a rollout. ``step`` is that of strategy Restart. The others are as in ``plan.BalancerPlan``."""

    writes: tuple[Write, ...]
    decision: Decision | None = None
    step: Step | None = None
    released: Released | None = None
    waiting: frozenset[RouteRef] | None = None
    backlog: str = ""


def stay(given: Givens) -> Advance:
    """What stands, as it is, with this leader's epoch: what an older leader has under way must fail, also while there
    is nothing of our own to write."""
    standing = ((given.nginx, names.ROLE_NGINX), (given.following, names.ROLE_NEXT))
    return Advance(
        differing(
            Write(generated.restamped(known, given.own, role=role, epoch=given.epoch), known)
            for known, role in standing
            if known is not None
        )
    )


def advance(given: Givens, made: Made, terms: Terms) -> Advance:
    """The next step for a file that the balancer's routes give."""
    memo, maps = given.memo, (given.nginx, given.following)
    memo.standing.files[made.version], memo.unmade = made.file, None
    whole = given.trial if _is_whole(given.following, made.version) else None
    released = release(
        made.version,
        made.configuration,
        replace(given.published, trial=whole),
        given.pods,
        terms,
        _means(given),
        now=given.wall,
    )
    step, released = _replace_pods(given, made.version, released)
    waiting = compare(memo.standing, memo.versions, released, made.version, made.file, maps)
    released = replace(released, since=replace(released.since, changes=explain(given, made, released)))
    following = _follow(given, released, whole, step, terms, definition=given.trust.trusted or given.definition)
    making.forget(made, given.nginx, given.following, memo)
    return replace(following, waiting=waiting)


def go_on(given: Givens, wished: Configuration | None) -> Advance:
    """The next step where no file can be made: what is under way goes on to its end, and what stands follows the
    endpoints of what the routes wish for, where that is known: an address that has left may be somebody else's by now.
    """
    node, files = given.node, given.memo.standing.files
    trial = given.trial
    whole = trial if trial is not None and (trial.version in files or _is_whole(given.following, "")) else None
    published = replace(given.published, trial=whole)
    if node.spec is None:
        return stay(given)
    terms = terms_of(node.spec)
    released = follow_endpoints(wished, published, given.pods, terms, _means(given), now=given.wall)
    if released is None:
        return stay(given)
    refused = restarting.read_refused(given.nginx)
    rests = refused is not None and published.in_force is not None and released.version == published.in_force.version
    step, released = _replace_pods(given, refused.version if refused and rests else released.version, released)
    return _follow(given, released, whole, step, terms, definition=given.definition)


def _means(given: Givens) -> Means:
    memo = given.memo
    return means(memo.standing, memo.versions, memo.rendered, (given.nginx, given.following))


def _follow(
    given: Givens, released: Released, whole: Trial | None, step: Step | None, terms: Terms, *, definition: str
) -> Advance:
    """What brings the next step of a rollout about. ``whole`` is the trial that can be put in force, ``step`` that of
    strategy Restart, and ``definition`` the uid of the one whose routes the version in force serves."""
    memo = given.memo
    backlog = ""
    if released.full is not None and not released.full.coming:
        backlog = describe_backlog(released.full, terms, waiting=released.hold is not None)
    decision = _reload_pods(given, released, whole) if step is None else step.decision
    memo.owing = decision.owing
    writes = _writes(given, decision, step, released, terms, definition)
    standing = {each.version for each in (decision.in_force, decision.trial) if each is not None}
    standing |= {step.good} if step is not None and step.good is not None else set()
    memo.standing.files = {version: file for version, file in memo.standing.files.items() if version in standing}
    return Advance(writes, decision, step, released, backlog=backlog)


def _reload_pods(given: Givens, released: Released, whole: Trial | None) -> Decision:
    return rollout.step(
        Inputs(
            desired=released.version,
            akin=given.memo.versions.akin(released.version),
            in_force=given.in_force,
            trial=whole,
            pods=given.pods,
            now=given.now,
            owing=given.memo.owing,
        )
    )


def _replace_pods(given: Givens, wanted: str, released: Released) -> tuple[Step | None, Released]:
    """The step of strategy Restart, where the balancer has that, and what is released with it."""
    if not given.restarts:
        return None, released
    step = restarting.step(
        restarting.Inputs(
            wanted=wanted,
            released=released.version,
            in_force=given.in_force,
            good=restarting.read_good(given.following),
            refused=restarting.read_refused(given.nginx),
            deployment=given.node.deployment,
            pods=given.node.pods,
        )
    )
    return step, released if step.refused is None else replace(released, version=step.in_force.version)


def _is_whole(following: ConfigMap | None, desired: str) -> bool:
    """Whether the trial's file can be put in force: it is the desired one, or intact."""
    trial = generated.read_trial(following)
    if following is None or trial is None or trial.version == desired:
        return True
    return unpacked(generated.read_file(following)) is not None


def _files(given: Givens) -> Mapping[str, File]:
    """The files of all versions that may stand next, as we would make them now where we did."""
    files = {
        generated.read_published(known).version: generated.read_file(known)
        for known in (given.nginx, given.following)
        if known
    }
    made_for = making.made_for(given.node)
    now = {version: each.file for version, each in given.memo.made.items() if each.file.made_for == made_for}
    return files | given.memo.standing.files | now


def _writes(
    given: Givens, decision: Decision, step: Step | None, released: Released, terms: Terms, definition: str
) -> tuple[Write, ...]:
    """The version in force comes first: a canary is released only when it finds its version there. With strategy
    Restart it is the last good one. ``released.since`` goes with what was not published before."""
    own, published, epoch = given.own, given.published, given.epoch
    files = _files(given)
    writes = []
    in_force, trial = decision.in_force, decision.trial
    when: Reload | None
    if in_force is not None:
        since = released.since
        # Another version than the one that was released is an earlier one, which is taken back.
        when = since if in_force.version == released.version else replace(since, changes=())
        file = files[in_force.version]
        if published.in_force is not None and published.in_force.version == in_force.version:
            when = published.in_force_since
        elif published.trial is not None and published.trial.version == in_force.version and published.trial_since:
            when = replace(published.trial_since, time=since.time, interval_from=since.time)
        wanted = generated.wanted_in_force(
            own, in_force, file, epoch=epoch, since=when, terms=terms, definition=definition
        )
        if step is not None:
            remembered = restarting.refused_annotation(step.refused)
            wanted = replace(wanted, annotations={**wanted.annotations, **remembered})
        writes.append(Write(wanted, given.nginx))
    if step is not None and step.good is not None:
        good = generated.wanted_good(own, step.good, files[step.good], epoch=epoch)
        writes.insert(0, Write(good, given.following))
    elif trial is not None:
        again = published.trial is not None and published.trial.version == trial.version
        when = published.trial_since if again else released.since
        tried = generated.wanted_trial(own, trial, files[trial.version], epoch=epoch, since=when)
        writes.append(Write(tried, given.following))
    elif given.following is not None:
        writes.append(Write(generated.wanted_no_trial(own, epoch=epoch), given.following))
    return differing(writes)
