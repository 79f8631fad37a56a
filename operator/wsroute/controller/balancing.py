"""The plan for one balancer: what its pods must serve, the ConfigMaps that should stand, how far its pods are. Pure.

What was worked out is kept from pass to pass in :class:`BalancerMemo`; a pass after a small change costs little.
"""

from dataclasses import dataclass, replace

from wsroute.cluster.balancer_state import BalancerState, RefusedTemplate
from wsroute.cluster.objects import Key, Snapshot
from wsroute.controller import generated, making, restarting
from wsroute.controller.advancing import advance, go_on
from wsroute.controller.budget import terms_of
from wsroute.controller.certifying import Sights
from wsroute.controller.definition import Trust
from wsroute.controller.givens import Givens, read_givens
from wsroute.controller.making import BalancerMemo, Made
from wsroute.controller.plan import NOTHING, BalancerPlan, Write, differing
from wsroute.controller.quarantine import Settled
from wsroute.controller.reasons import adopt, known_settings
from wsroute.controller.tables import Tables, empty_tables, keep_tables, plan_tables
from wsroute.dataplane import names
from wsroute.dataplane.build_table import build_table
from wsroute.dataplane.certificate_table import certificate_records
from wsroute.dataplane.certificates import NO_CERTIFICATES
from wsroute.dataplane.ir import Configuration
from wsroute.dataplane.main_template import describe_unusable
from wsroute.dataplane.shards import FORMAT
from wsroute.dataplane.withholding import Withheld
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode
from wsroute.nginx.quoting import EmitError


def plan_balancer(
    node: BalancerNode,
    snapshot: Snapshot,
    memo: BalancerMemo,
    parts: Memo,
    *,
    state: BalancerState,
    epoch: int,
    now: float,
    wall: float,
    trust: Trust,
    sights: Sights,
) -> BalancerPlan:
    """The plan for a balancer. ``state`` is what is to be remembered of it; ``epoch`` is the writing leader's;
    ``parts`` is the memo of the pass; ``now`` is monotonic, ``wall`` since the epoch; ``trust`` is that in the routes'
    definition; ``sights`` are the Secrets that are followed."""
    given = read_givens(node, snapshot, memo, parts, epoch=epoch, now=now, wall=wall, trust=trust, sights=sights)
    return _plan(given, state)


def _plan(given: Givens, state: BalancerState) -> BalancerPlan:
    node, known = given.node, given.knows_routes
    asked, problem, state = making.main_template(node, given.snapshot.config_maps, state)
    certified = given.certified
    # Of a Dynamic balancer's certificates none is in its file.
    dynamic = node.spec is not None and node.spec.is_dynamic
    makes = known and (certified.is_known or dynamic)
    aim = _aim(given, asked, state) if makes else _Aim(wished=_wish(given, asked))
    if isinstance(aim, RefusedTemplate):
        # Once more with the shipped template. What was concluded of the routes meanwhile does not count.
        return _plan(given, replace(state, refused_template=aim))
    settled, made = aim.settled or Settled(state.refusals, Withheld(), ()), aim.made
    made = adopt(given, made) if made is not None else None
    if settled.refusals != state.refusals:
        state = replace(state, refusals=settled.refusals)
    unmade = None
    if made is not None and node.spec is not None:
        move = advance(given, made, terms_of(node.spec))
    else:
        move = go_on(given, aim.wished if known else None)
        unmade = making.remember_unmade(aim.wished, given.memo) if aim.wished is not None else None
    if made is not None and made.unusable:
        problem = describe_unusable(made.unusable)
    tables = _tables(given)
    # While it is not known which routes there are, no host counts as given up.
    remembered = _state_write(given, state if known and node.spec else None)
    return BalancerPlan(
        node=node,
        desired=made.version if made is not None else NOTHING,
        unmade=unmade,
        obstacle=aim.obstacle or certified.obstacle,
        template=problem,
        refused_template=state.refused_template,
        held=given.trust.explain() if known else given.trust.explain_freeze(),
        decision=move.decision,
        stages=_in_order(remembered, tables, move.writes),
        certificate_stages=tables.certificates,
        restart=restarting.restart(node, move.step) if move.step is not None else None,
        agents=Write(generated.wanted_agents(given.own), given.agents),
        gone=_gone(given),
        pods=given.pods,
        leaving=given.leaving,
        closed={pod: each.closed for pod, each in sorted(given.said.items()) if each.closed},
        before=(given.in_force, given.trial),
        in_force_since=given.published.in_force_since,
        trial_since=given.published.trial_since,
        released=move.released,
        waiting=move.waiting,
        settings=known_settings(given, made, unmade),
        tables=tables.view if dynamic else None,
        left_out=tables.left_out | settled.crowded | given.memo.room.left_out,
        backlog=move.backlog,
        certified=certified,
        refusals=settled.refusals,
        withheld=settled.withheld,
        blamed=settled.blamed,
        now=given.wall,
    )


@dataclass(frozen=True, slots=True)
class _Aim:
    """What the balancer's routes wish for, and the file that this gives, None when there can be none. ``settled`` is
    what follows from refusals, None when nothing new does."""

    wished: Configuration | None
    settled: Settled | None = None
    made: Made | None = None
    obstacle: str = ""


def _wish(given: Givens, asked: str | None) -> Configuration | None:
    """What the routes wish for, whatever the certificates."""
    node = given.node
    listeners = node.spec.listeners if node.spec is not None else ()
    tls = given.certified.tls or {each.name: NO_CERTIFICATES for each in listeners if each.ends_tls}
    return making.wish(node, given.said, asked, tls, given.memo, given.parts)


def _aim(given: Givens, asked: str | None, state: BalancerState) -> _Aim | RefusedTemplate:
    """The file, or a custom main template that can't be used. ``asked`` is the custom main template to use."""
    node, memo = given.node, given.memo
    wished = making.wish(node, given.said, asked, given.certified.tls, memo, given.parts)
    unable = _unable(given)
    if wished is None or unable:
        return _Aim(wished, obstacle=unable)
    settled: Settled | None = None
    made: Made | None = None
    obstacle = ""
    try:
        evidence = making.evidence_of(given.nginx, given.tried, given.pods, memo)
        settled = making.settle_refusals(node, wished, state.refusals, evidence, given.nginx, memo, given.parts)
        made = making.make(node, wished, settled.withheld, memo)
    except EmitError as error:
        obstacle = f"The nginx.conf can't be made: {error}"
    return making.refused_template(given.pods, asked, memo) or _Aim(wished, settled, made, obstacle)


def _unable(given: Givens) -> str:
    """Why the pods could make nothing of what they would get; empty when they can."""
    spec = given.node.spec
    if spec is not None and spec.is_dynamic:
        for pod in given.pods:
            if pod.ready and pod.said is not None and FORMAT not in pod.said.formats:
                return (
                    f"The agent of pod {pod.name} can't read tables of format {FORMAT}, as dataPlane Dynamic needs: "
                    "give the Deployment the agent of the operator's release, or use dataPlane Static."
                )
    return ""


def _tables(given: Givens) -> Tables:
    """The tables that should stand: for as long as any pod may look anything up in them."""
    node, own = given.node, given.own
    known, certified = given.tables, given.certified
    if node.spec is None or not given.knows_routes:
        return keep_tables(own, known, epoch=given.epoch)
    if node.spec.is_dynamic or any(pod.said is not None and pod.said.table for pod in given.pods):
        memo = given.memo.tables
        if memo.built is None or memo.built[0] is not node or memo.built[1] != certified.tls:
            table = replace(build_table(node, memo=given.parts), certificates=certificate_records(certified.tls))
            memo.built = (node, certified.tls, table)
        return plan_tables(own, memo.built[2], known, memo, epoch=given.epoch, certified=certified.is_known)
    return empty_tables(own, known, epoch=given.epoch)


def _in_order(state: tuple[Write, ...], tables: Tables, file: tuple[Write, ...]) -> tuple[tuple[Write, ...], ...]:
    """What goes out together. A host is served only once it is on record whose it is, so the state comes first; tables
    wait for no reload, and a file that looks something up comes after what it may find."""
    first, *others = tables.endpoints or ((),)
    stages = ((*state, *first), *others, *tables.hosts, *((write,) for write in file), tables.emptied)
    return tuple(stage for stage in stages if stage)


def _state_write(given: Givens, state: BalancerState | None) -> tuple[Write, ...]:
    """``state`` is None where it must stay as it is."""
    own, epoch = given.own, given.epoch
    known = given.map_named(names.state_name(own.name))
    if state is not None:
        return differing([Write(generated.wanted_state(own, given.memo.state.data(state), known, epoch=epoch), known)])
    if known is None:
        return ()
    return differing([Write(generated.restamped(known, own, role=names.ROLE_STATE, epoch=epoch), known)])


def _gone(given: Givens) -> frozenset[str]:
    """Keys of the agents' ConfigMap whose pods are not there."""
    agents = given.agents
    if agents is None:
        return frozenset()
    return frozenset(name for name in agents.data if Key(given.own.namespace, name) not in given.snapshot.pods)
