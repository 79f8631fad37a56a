"""What a plan for one balancer looks at: what stands, and what its pods said. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from wsroute.cluster.objects import ConfigMap, Key, Snapshot
from wsroute.controller import generated, restarting
from wsroute.controller.certifying import Certified, Sights, certify
from wsroute.controller.definition import Trust
from wsroute.controller.generated import ours
from wsroute.controller.making import BalancerMemo
from wsroute.controller.published_tables import CERTIFICATES
from wsroute.controller.release import Published
from wsroute.controller.rollout import BalancerPod, InForce, Trial
from wsroute.controller.tables import Known
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode
from wsroute.graph.status import Leaving


@dataclass(frozen=True, slots=True)
class Givens:
    """What a plan looks at. ``nginx``, ``following`` and ``agents`` are the ConfigMaps as they stand, where they are
    ours; ``following`` is ``<balancer>-nginx-next``, and ``tables`` are the parts of the tables. ``said`` is what
    agents acknowledged, by the name of their pod, and ``pods`` are those that are not terminating. ``epoch`` is the
    writing leader's; ``trust`` is that in the routes' definition, ``certified`` what the Secrets with certificates come
    to; ``now`` is monotonic, ``wall`` since the epoch. ``memo`` is the balancer's, ``parts`` the pass's."""

    node: BalancerNode
    snapshot: Snapshot
    nginx: ConfigMap | None
    following: ConfigMap | None
    agents: ConfigMap | None
    tables: Known
    said: Mapping[str, Acknowledgement]
    pods: tuple[BalancerPod, ...]
    published: Published
    trust: Trust
    certified: Certified
    epoch: int
    now: float
    wall: float
    memo: BalancerMemo
    parts: Memo

    @property
    def own(self) -> Key:
        """The balancer."""
        return self.node.key

    @property
    def restarts(self) -> bool:
        """Whether the pods are replaced, in place of reloading."""
        return restarting.applies(self.node)

    @property
    def in_force(self) -> InForce | None:
        """The version in force."""
        return self.published.in_force

    @property
    def trial(self) -> Trial | None:
        """The version under canary."""
        return self.published.trial

    @property
    def tried(self) -> ConfigMap | None:
        """The ConfigMap with the version under canary, which strategy Restart does not have."""
        return None if self.restarts else self.following

    @property
    def definition(self) -> str:
        """The uid of the definition whose routes the version in force serves."""
        return generated.read_definition(self.nginx)

    @property
    def knows_routes(self) -> bool:
        """Whether the routes that there are are all that should be."""
        return self.trust.knows(self.definition)

    @property
    def leaving(self) -> Leaving:
        """The pods that are terminating, until they have ended."""
        ending = [pod for pod in self.node.pods if pod.terminating and pod.addresses]
        said = [self.said[pod.meta.key.name] for pod in ending if pod.meta.key.name in self.said]
        return Leaving(
            pods=len(ending),
            sockets=sum(each.sockets for each in said),
            until=max((pod.until for pod in ending), default=""),
        )

    def map_named(self, name: str) -> ConfigMap | None:
        """A ConfigMap of this balancer, if it is ours."""
        return ours(self.snapshot.config_maps.get(Key(self.own.namespace, name)), self.own)


def read_givens(
    node: BalancerNode,
    snapshot: Snapshot,
    memo: BalancerMemo,
    parts: Memo,
    *,
    epoch: int,
    now: float,
    wall: float,
    trust: Trust,
    sights: Sights,
) -> Givens:
    """Take from a snapshot what concerns a balancer."""
    own = node.key

    def find(name: str) -> ConfigMap | None:
        return ours(snapshot.config_maps.get(Key(own.namespace, name)), own)

    nginx, following = find(names.nginx_name(own.name)), find(names.next_name(own.name))
    agents = find(names.agents_name(own.name))
    tables = memo.tables.find(own, snapshot.config_maps)
    certificates = (each for (family, _), each in tables.items() if family == CERTIFICATES.family)
    restarts = restarting.applies(node)
    said = restarting.acknowledgements(node.pods) if restarts else generated.read_acknowledgements(agents)
    return Givens(
        node=node,
        snapshot=snapshot,
        nginx=nginx,
        following=following,
        agents=agents,
        tables=tables,
        said=said,
        pods=tuple(
            BalancerPod(pod.meta.key.name, pod.ready, said.get(pod.meta.key.name))
            for pod in node.pods
            if not pod.terminating
        ),
        published=Published(
            generated.read_in_force(nginx),
            generated.read_since(nginx),
            generated.read_trial(None if restarts else following),
            generated.read_since(following),
        ),
        trust=trust,
        certified=certify(node, (nginx, following, *certificates), sights, memo.certificates, epoch=epoch, wall=wall),
        epoch=epoch,
        now=now,
        wall=wall,
        memo=memo,
        parts=parts,
    )
