"""The file for one balancer: what its routes wish for, less what nginx refused of it. Pure but for its memo."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from wsroute import __version__
from wsroute.api.conditions import Problem
from wsroute.cluster.balancer_state import BalancerState, RefusedTemplate
from wsroute.cluster.objects import ConfigMap, Key
from wsroute.cluster.quarantine import NO_REFUSALS, Refusals
from wsroute.controller import generated, refusal
from wsroute.controller.certifying import CertificateMemo
from wsroute.controller.file_room import FileRoom
from wsroute.controller.generated import File
from wsroute.controller.judging import NOTHING_PUBLISHED, Evidence, Published
from wsroute.controller.quarantine import Settled, settle
from wsroute.controller.remembering import StateMemo
from wsroute.controller.rollout import BalancerPod, Owing
from wsroute.controller.standing import StandingMemo
from wsroute.controller.tables import TableMemo
from wsroute.controller.versions import KnownVersion, Versions
from wsroute.controller.view import NoRoomError, View
from wsroute.dataplane.acknowledgement import Acknowledgement
from wsroute.dataplane.build import build_file
from wsroute.dataplane.bundle import BundleError
from wsroute.dataplane.certificates import NO_CERTIFICATES, ListenerTls
from wsroute.dataplane.ir import Configuration
from wsroute.dataplane.main_template import blamed, describe_refused, find_main_template, still_refused
from wsroute.dataplane.withholding import Withheld, withhold
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode
from wsroute.nginx.linemap import LineMap
from wsroute.nginx.memo import RenderMemo
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.render import Rendered, render
from wsroute.nginx.sandbox import TemplateRefusedError

_FILES: Final = 6
"""Files of one balancer that are kept: what is in force, what is tried, and what may be next."""


SLACK: Final = 0.02
"""How much of the file has to go beyond what is too much."""


@dataclass(frozen=True, slots=True)
class Made:
    """The file that a balancer's configuration gives, and what it was made of.

    ``wished`` is what all routes together wish for, with the main template that the balancer asks for. Where that can't
    be used, ``unusable`` says why, and ``configuration`` has the shipped one.
    """

    wished: Configuration
    withheld: Withheld
    configuration: Configuration
    version: str
    file: File
    lines: LineMap
    unusable: str

    @property
    def structure(self) -> str:
        """The name that files share which differ in endpoints only."""
        return self.file.structure


@dataclass(slots=True)
class BalancerMemo:
    """What is kept of one balancer between passes."""

    rendered: RenderMemo = field(default_factory=RenderMemo)
    room: FileRoom = field(default_factory=FileRoom)
    wished: tuple[BalancerNode, Configuration] | None = None
    made: dict[str, Made] = field(default_factory=dict)
    """The newest files by version, the last one made at the end, and those that are published."""
    proven: Published = NOTHING_PUBLISHED
    versions: Versions = field(default_factory=Versions)
    state: StateMemo = field(default_factory=StateMemo)
    standing: StandingMemo = field(default_factory=StandingMemo)
    tables: TableMemo = field(default_factory=TableMemo)
    owing: Mapping[str, Owing] = field(default_factory=dict)
    certificates: CertificateMemo = field(default_factory=CertificateMemo)
    unmade: KnownVersion | None = None
    """What the routes wished for when no file could be made of it."""


def main_template(
    node: BalancerNode, maps: Mapping[Key, ConfigMap], state: BalancerState
) -> tuple[str | None, Problem | None, BalancerState]:
    """The custom main template to use, None for the shipped one; why it is that although another is asked for; and what
    is to be remembered."""
    found = find_main_template(node, maps)
    text = found if isinstance(found, str) else None
    refused = still_refused(state.refused_template, text)
    if refused is not None:
        return None, describe_refused(refused), state
    if state.refused_template is not None:
        state = replace(state, refused_template=None)
    return text, found if isinstance(found, Problem) else None, state


def refused_template(pods: tuple[BalancerPod, ...], template: str | None, memo: BalancerMemo) -> RefusedTemplate | None:
    """The custom main template, where pods refuse what was made with it and no route is at fault."""
    if template is None:
        return None
    if any(
        made.configuration.main_template == template and any(pod.runs(version) for pod in pods)
        for version, made in memo.made.items()
    ):
        return None  # nginx takes it: whatever is wrong came with something else
    for pod in sorted(pods, key=lambda pod: (not pod.ready, pod.name)):
        failure = pod.said.failure if pod.said is not None else None
        made = memo.made.get(failure.version) if failure is not None else None
        if failure is None or made is None or made.configuration.main_template != template:
            continue
        if refusal.read(failure).is_the_machines:
            continue
        found = blamed(failure, template, made.lines.routes)
        if found is not None:
            return found
    return None


def wish(
    node: BalancerNode,
    said: Mapping[str, Acknowledgement],
    template: str | None,
    tls: Mapping[str, ListenerTls],
    memo: BalancerMemo,
    parts: Memo,
) -> Configuration | None:
    """The configuration that all routes together wish for; None when there can be none. ``template`` is a custom main
    template, ``tls`` the certificates of the listeners that end TLS, which a Dynamic balancer has in its tables."""
    if node.spec is None:
        return None  # its conditions say why
    # Nearly all nodes have IPv6. A pod that has none refuses the first version, says so, and gets another.
    ipv6 = all(acknowledgement.ipv6 for acknowledgement in said.values())
    if node.spec.is_dynamic:
        tls = {listener.name: NO_CERTIFICATES for listener in node.spec.listeners if listener.ends_tls}
    known = memo.wished
    if (
        known is not None
        and known[0] is node
        and (known[1].ipv6, known[1].main_template) == (ipv6, template)
        and {listener.name: listener.tls for listener in known[1].listeners if listener.tls is not None} == tls
    ):
        return known[1]
    wished = memo.room.fitting(build_file(node, ipv6=ipv6, main_template=template, tls=tls, memo=parts))
    memo.wished = (node, known[1] if known is not None and known[1] == wished else wished)
    return memo.wished[1]


def made_for(node: BalancerNode) -> str:
    """What the balancer itself is (``dataplane.names.MADE_FOR_ANNOTATION``)."""
    return f"{node.uid}/{node.generation}/{__version__}"


def make(node: BalancerNode, wished: Configuration, withheld: Withheld, memo: BalancerMemo) -> Made:
    """The file without what is withheld. Raises EmitError, with the route that has to give way where the file would be
    too large."""
    balancer = made_for(node)
    for made in memo.made.values():
        same = made.withheld == withheld and made.withheld.base is withheld.base
        if same and made.wished is wished and made.file.made_for == balancer:
            return made
    configuration, rendered, unusable = _render(withhold(wished, withheld), memo)
    try:
        file = generated.make_file(rendered, configuration, made_for=balancer)
    except BundleError as error:
        # Not everybody's change shall wait for the one who takes most of the room.
        sizes = rendered.lines.sizes(compressed=error.compressed)
        # A little more than that: else the next endpoint would take the room.
        excess = error.excess and error.excess + SLACK
        raise NoRoomError(str(error), sizes=sizes, excess=excess * sum(sizes.values())) from error
    memo.made.pop(rendered.version, None)
    made = Made(wished, withheld, configuration, rendered.version, file, rendered.lines, unusable)
    memo.made[made.version] = made
    memo.versions.add(made.version, configuration)
    return made


def _render(asked: Configuration, memo: BalancerMemo) -> tuple[Configuration, Rendered, str]:
    """What is rendered: as asked for, or with the shipped main template, and then why."""
    try:
        return asked, render(asked, POD_PATHS, options=POD_OPTIONS, memo=memo.rendered), ""
    except TemplateRefusedError as error:
        backup = replace(asked, main_template=None)
        return backup, render(backup, POD_PATHS, options=POD_OPTIONS, memo=memo.rendered), str(error)


def forget(made: Made, nginx: ConfigMap | None, following: ConfigMap | None, memo: BalancerMemo) -> None:
    """Drop the files that nobody may ask for again."""
    published = {generated.read_published(known).version for known in (nginx, following)}
    kept = {version: each for version, each in memo.made.items() if version in published or each.wished is made.wished}
    memo.made = dict([*kept.items()][-_FILES:])


def remember_unmade(wished: Configuration, memo: BalancerMemo) -> KnownVersion:
    """What the routes wish for, to be compared with the versions that pods run."""
    if memo.unmade is None or memo.unmade.configuration is not wished:
        memo.unmade = KnownVersion(wished, wished)
    return memo.unmade


def evidence_of(
    nginx: ConfigMap | None, following: ConfigMap | None, pods: tuple[BalancerPod, ...], memo: BalancerMemo
) -> Evidence:
    """What is published, and what the pods say of it."""
    evidence = Evidence(
        in_force=generated.read_published(nginx),
        trial=generated.read_published(following),
        pods=pods,
        silent=frozenset(name for name, debt in memo.owing.items() if debt.is_silent),
        proven=memo.proven,
        lines={version: made.lines for version, made in memo.made.items()},
    )
    memo.versions.get(evidence.in_force.version)  # however long it is in force, it stays remembered
    if evidence.in_force_is_run:
        memo.proven = evidence.in_force
    return evidence


def settle_refusals(
    node: BalancerNode,
    wished: Configuration,
    refusals: Refusals,
    evidence: Evidence,
    nginx: ConfigMap | None,
    memo: BalancerMemo,
    parts: Memo,
) -> Settled:
    """What follows from all refusals so far. Raises EmitError."""
    if node.spec is not None and node.spec.is_dynamic:
        # No route's text is in the file: none is at fault, and what one was refused for elsewhere counts no more.
        return Settled(NO_REFUSALS, Withheld(), ())
    view = View(
        node=node,
        wished=wished,
        standing_now=lambda: evidence.standing(memo.versions, partial(generated.read_text, nginx)),
        own_is_taken=evidence.takes(made_for(node)),
        known=memo.versions.get,
        memo=parts,
        make=lambda withheld: make(node, wished, withheld, memo),
        verdict=evidence.verdict,
    )
    return settle(refusals, view)
