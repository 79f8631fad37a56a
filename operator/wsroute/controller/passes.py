"""A pass with its I/O: plan, write what differs if we lead, say how it went. Called by the coalescer, one at a time."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Final

from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller.definition import NO_DEFINITION, Trust
from wsroute.controller.feed import Feed
from wsroute.controller.plan import BalancerPlan, Write
from wsroute.controller.reconciler import PassMemo, PassResult, plan_pass, status_targets
from wsroute.controller.rollout import InForce
from wsroute.controller.secrets import Secrets, describe_unwritten
from wsroute.controller.status_writer import StatusWriter
from wsroute.controller.writer import Outcome, Writer, describe_foreign, describe_unpatched
from wsroute.dataplane.names import ROLE_NEXT, ROLE_NGINX
from wsroute.graph.model import GraphSettings
from wsroute.kube.elector import Elector, NotLeadingError
from wsroute.kube.events import EventRecorder, reference
from wsroute.kube.port import BALANCERS, Json
from wsroute.observability.metrics import Metrics

logger = logging.getLogger(__name__)

STANDBY: Final = 5.0
"""Seconds between two passes of a replica that does not lead: often enough to take over with everything at hand, seldom
enough to leave the processor to the leader."""

RETRY: Final = 2.0
"""Seconds until a ConfigMap that could not be written is tried again, when nothing asks for a pass before."""

SETTLE: Final = 0.05
"""Seconds from a write to the pass that looks for the next step and tells in statuses what the write changed. Only the
pods' answers make a difference, and these take longer. Right after a write the agents need the processor."""

PUT_OFF: Final = 0.5
"""Seconds for which statuses are put off where each pass has something to write."""

FOREIGN_RETRY: Final = 15.0
"""Seconds until it is looked again whether somebody else's ConfigMap still has the name of ours: the watches follow
labelled ones only, so nothing tells when it goes."""

OUTLIVED: Final = 30.0
"""Seconds for which an agent's answer outlives its pod. The watches of pods and ConfigMaps tell at different times, so
that a new pod's answer may be seen before the pod."""


class Passes:
    """Makes passes over what the feed knows.

    Every replica plans, so that the next leader has everything at hand, but those that do not lead seldom; only the
    leader writes. ``again`` asks for
    another pass in so many seconds.
    """

    def __init__(
        self,
        feed: Feed,
        writer: Writer,
        secrets: Secrets,
        statuses: StatusWriter,
        elector: Elector,
        metrics: Metrics,
        events: EventRecorder,
        *,
        settings: GraphSettings,
        again: Callable[[float], None],
        trust: Callable[[], Trust] = lambda: NO_DEFINITION,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._feed = feed
        self._writer = writer
        self._statuses = statuses
        self._elector = elector
        self._metrics = metrics
        self._events = events
        self._settings = settings
        self._again = again
        self._trust = trust
        self._secrets = secrets
        self._clock = clock
        self._wall = wall
        self._memo = PassMemo()
        self._gone: dict[tuple[Key, str], float] = {}
        """Since when an agent's answer has no pod."""
        self._blocked: dict[Key, str] = {}
        """What to say of the balancers for which somebody else's ConfigMap, or a missing right, is in the way."""
        self._refused: dict[Key, frozenset[str]] = {}
        """The versions and the main template of each balancer that are refused: each counts once."""
        self._quarantined: dict[Key, frozenset[Key]] = {}
        """The routes in quarantine by their balancer: each is logged once."""
        self._whole: dict[Key, frozenset[str]] = {}
        """The namespaces that are as a whole."""
        self._last = -math.inf
        """When the last pass was made."""
        self._untold_since: float | None = None
        """Since when statuses are put off."""
        self.done = False
        """Whether a pass was made since the start."""

    async def make(self) -> None:
        """Make a pass, or put it off while another replica leads."""
        put_off = self._last + STANDBY - self._clock()
        if put_off > 0 and not self._elector.leading:
            self._again(put_off)
            return
        self._last = self._clock()
        try:
            again = await self._make()
        except Exception:
            self._metrics.passes.labels("failed").inc()
            raise
        self._metrics.passes.labels("ok").inc()
        self.done = True
        if again is not None:
            self._again(again)

    async def _make(self) -> float | None:
        state = self._feed.state
        started = time.perf_counter()
        result = plan_pass(
            state.snapshot(),
            self._settings,
            self._memo,
            revision=self._feed.revision,
            epoch=self._elector.epoch,
            now=self._clock(),
            wall=self._wall(),
            trust=self._trust(),
            sights=self._secrets.sights,
        )
        self._secrets.aim(frozenset().union(*(plan.certified.followed for plan in result.plans.values())))
        self._metrics.pass_seconds.labels("plan").observe(time.perf_counter() - started)
        leaving = [plan.leaving for plan in result.plans.values()]
        self._metrics.leaving_pods.set(sum(each.pods for each in leaving))
        self._metrics.leaving_sockets.set(sum(each.sockets for each in leaving))
        self._metrics.set_objects({kind: state.size(kind) for kind in Kind})
        self._count_refusals(result)
        waits = [result.look_again]
        if self._elector.leading:
            try:
                waits += await self._lead(result)
            except NotLeadingError:
                return None  # whoever leads now does it
        wait = min(waits)
        return None if math.isinf(wait) else wait

    async def _lead(self, result: PassResult) -> list[float]:
        """Write what differs; gives in how many seconds each part wants another pass."""
        started = time.perf_counter()
        waits = await asyncio.gather(*(self._write(plan) for plan in result.plans.values()))
        self._metrics.pass_seconds.labels("write").observe(time.perf_counter() - started)
        self._tell_of_closes(result)
        self._blocked = {key: text for key, text in self._blocked.items() if key in result.plans}
        if not self._put_off_statuses(wrote=SETTLE in waits):
            started = time.perf_counter()
            self._statuses.aim(status_targets(result, self._memo, blocked=self._blocked))
            self._metrics.pass_seconds.labels("statuses").observe(time.perf_counter() - started)
        return [*waits, await self._prune(result)]

    def _put_off_statuses(self, *, wrote: bool) -> bool:
        """Whether the next pass tells what this one would: one that ``wrote`` is followed by another."""
        now = self._clock()
        since = now if self._untold_since is None else self._untold_since
        put_off = wrote and now - since < PUT_OFF
        self._untold_since = since if put_off else None
        return put_off

    async def _write(self, plan: BalancerPlan) -> float:
        """Bring the ConfigMaps of one balancer about, in their order. The agents' one comes first: they may change it,
        not make it."""
        outcome = restarted = Outcome.UNCHANGED
        self._tell_blame(plan)
        made = await self._writer.ensure(plan.agents.wanted, plan.agents.known)
        foreign = describe_foreign(plan.agents.wanted.key) if made is Outcome.FOREIGN else ""
        unwritten = await self._write_certificates(plan)
        if unwritten is not None and plan.tables is None:
            return unwritten
        stages = plan.stages if unwritten is not None else (*plan.certificate_stages, *plan.stages)
        for stage in stages:
            outcome, failed = await self._write_stage(plan, stage)
            if failed is not None:
                foreign = describe_foreign(failed.wanted.key) if outcome is Outcome.FOREIGN else foreign
                break
        if plan.restart is not None and outcome in (Outcome.UNCHANGED, Outcome.WRITTEN):
            outcome = restarted = await self._writer.restart(plan.restart)  # its pods find their file by now
        balancer = plan.node.key
        if foreign:
            self._blocked[balancer] = foreign
        elif restarted is Outcome.REFUSED and plan.restart is not None:
            self._blocked[balancer] = describe_unpatched(plan.restart.deployment.meta.key)
        elif unwritten is None and not (outcome.again or made.again):
            self._blocked.pop(balancer, None)
        if outcome.again or made.again:
            return RETRY
        if outcome is not Outcome.WRITTEN and foreign:
            return FOREIGN_RETRY
        # What was written may allow the next step.
        wrote = Outcome.WRITTEN in (outcome, made)
        return min(SETTLE if wrote else math.inf, math.inf if unwritten is None else unwritten)

    async def _write_certificates(self, plan: BalancerPlan) -> float | None:
        """Certificates come before what names them. Where one can't be written that does not go out either, and this
        gives in how many seconds to try again."""
        for write in plan.certified.writes:
            outcome = await self._secrets.write(write)
            if outcome is Outcome.WRITTEN:
                continue
            if outcome is Outcome.FOREIGN:
                self._blocked[plan.node.key] = describe_foreign(write.wanted.key, "Secret")
                return FOREIGN_RETRY
            if outcome is Outcome.REFUSED:
                self._blocked[plan.node.key] = describe_unwritten(write.wanted.key, plan.node.key.name)
            return RETRY
        return None

    async def _write_stage(self, plan: BalancerPlan, stage: tuple[Write, ...]) -> tuple[Outcome, Write | None]:
        """Write what may go out together; gives what became of it, and the first write that failed."""
        outcomes = await asyncio.gather(*(self._writer.write(write.wanted, write.known) for write in stage))
        failed: tuple[Outcome, Write | None] = (Outcome.WRITTEN, None)
        for write, outcome in zip(stage, outcomes, strict=True):
            if outcome is Outcome.WRITTEN:
                self._count_step(plan, write)
            elif failed[1] is None:
                failed = (outcome, write)
        return failed

    def _tell_blame(self, plan: BalancerPlan) -> None:
        quarantined = plan.refusals.quarantined
        for key in quarantined.keys() - self._quarantined.get(plan.node.key, frozenset()):
            entry = quarantined[key]
            logger.warning("nginx refuses the route %s, which is quarantined. %s", key, entry.message)
        self._quarantined[plan.node.key] = frozenset(quarantined)
        whole = plan.refusals.whole.keys()
        for namespace in whole - self._whole.get(plan.node.key, frozenset()):
            logger.warning("nginx refuses so many routes of the namespace %s that all of it is quarantined.", namespace)
        self._whole[plan.node.key] = frozenset(whole)

    async def _prune(self, result: PassResult) -> float:
        """Take the answers of pods that are gone out of the agents' ConfigMaps."""
        now = self._clock()
        gone = {(key, name) for key, plan in result.plans.items() for name in plan.gone}
        self._gone = {entry: self._gone.get(entry, now) for entry in gone}
        wait = math.inf
        for key, plan in result.plans.items():
            since = {name: self._gone[key, name] for name in plan.gone}
            outlived = frozenset(name for name, moment in since.items() if now - moment >= OUTLIVED)
            if outlived:
                await self._writer.remove_keys(plan.agents.wanted.key, outlived)
            ahead = [moment + OUTLIVED - now for name, moment in since.items() if name not in outlived]
            wait = min([wait, *ahead])
        return wait

    def _tell_of_closes(self, result: PassResult) -> None:
        """Say what the end of a pod closed, which its own metrics can tell nobody any more. The same is said once."""
        for plan in result.plans.values():
            for pod, sockets in plan.closed.items():
                note = (
                    f"The end of pod {pod} closed {sockets} sockets (pod-termination), those of one worker at a time. "
                    "A longer terminationGracePeriodSeconds lets more of them end by themselves."
                )
                self._events.record(_regarding(plan), reason="SocketsClosed", note=note, action="Drain")

    def _tell_reload(self, plan: BalancerPlan, in_force: InForce) -> None:
        """Say why pods have to load another version, and count it by its reasons."""
        changes = plan.released.since.changes if plan.released is not None else ()
        trial = plan.before[1]
        if trial is not None and trial.version == in_force.version and plan.trial_since is not None:
            changes = plan.trial_since.changes
        for reason in {change.known_reason for change in changes}:
            self._metrics.reloads.labels(reason).inc()
        if changes:
            how = "replaces the pods" if plan.restart is not None else "reloads nginx"
            note = f"Version {in_force.version} comes in force, which {how}: {', '.join(map(str, changes))}."
            self._events.record(_regarding(plan), reason="Reload", note=note, action="Reload")

    def _count_step(self, plan: BalancerPlan, write: Write) -> None:
        decision = plan.decision
        if decision is None:
            return
        in_force, trial = plan.before
        if write.wanted.role == ROLE_NEXT:
            if decision.trial is not None and decision.trial != trial:
                self._metrics.rollouts.labels("canary").inc()
        elif (
            write.wanted.role == ROLE_NGINX
            and decision.in_force is not None
            and (in_force is None or decision.in_force.version != in_force.version)
        ):
            self._metrics.rollouts.labels("direct" if trial is None else "promoted").inc()
            self._tell_reload(plan, decision.in_force)

    def _count_refusals(self, result: PassResult) -> None:
        for key, plan in result.plans.items():
            failure = plan.decision.failure if plan.decision is not None else None
            refused = {failure.version for failure in (*plan.blamed, failure) if failure is not None}
            if plan.refused_template is not None:
                refused.add(plan.refused_template.digest)
            self._metrics.refusals.inc(len(refused - self._refused.get(key, frozenset())))
            self._refused[key] = frozenset(refused)
        self._refused = {key: version for key, version in self._refused.items() if key in result.plans}
        self._quarantined = {key: routes for key, routes in self._quarantined.items() if key in result.plans}
        self._whole = {key: names for key, names in self._whole.items() if key in result.plans}


def _regarding(plan: BalancerPlan) -> Json:
    """The balancer, as Events name what they are about."""
    key = plan.node.key
    return reference(
        {
            "apiVersion": BALANCERS.api_version,
            "kind": BALANCERS.kind,
            "metadata": {"namespace": key.namespace, "name": key.name, "uid": plan.node.uid},
        }
    )
