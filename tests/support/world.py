"""A small cluster as records: a balancer with pods, and routes to Services with endpoints."""

from collections.abc import Mapping
from typing import Any

from wsroute.api.conditions import ConditionType
from wsroute.cluster.kinds import Kind, Record, parse_record
from wsroute.cluster.objects import Key, Snapshot
from wsroute.cluster.state import ClusterState
from wsroute.controller.certifying import Sight
from wsroute.controller.definition import NO_DEFINITION
from wsroute.controller.generated import apply_body
from wsroute.controller.making import Made
from wsroute.controller.plan import BalancerPlan, Write
from wsroute.controller.reconciler import PassMemo, PassResult, plan_pass, status_targets
from wsroute.controller.statuses import StatusKey
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement
from wsroute.graph.model import GraphSettings

SETTINGS = GraphSettings()
BEGIN = 1_800_000_000.0
"""Seconds since the epoch when a planner's clock says 0."""

SYSTEM, TEAM = "wsroute-system", "team-a"
SHARED = Key(SYSTEM, "shared")
SLICE_CONTROLLER = "endpointslice-controller.k8s.io"


class SmallWorld:
    """A state that a test changes; what a plan wants to write is put in by ``commit``."""

    def __init__(self, *, pods: int = 2) -> None:
        self.state = ClusterState(kinds=[])
        self.revision = 0
        self.version = 100
        self.put(Kind.NAMESPACE, TEAM, "")
        self.put(
            Kind.DEPLOYMENT,
            "balancer",
            SYSTEM,
            spec={"replicas": pods, "selector": {"matchLabels": {"app": "balancer"}}},
            status={"readyReplicas": pods},
        )
        self.balancer()
        self.said: dict[str, Acknowledgement] = {}
        for number in range(pods):
            self.pod(f"p{number}")

    def raw(self, kind: Kind, name: str, namespace: str, **content: Any) -> dict[str, Any]:
        self.version += 1
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": namespace,
            "uid": f"{kind}-{name}",
            "resourceVersion": str(self.version),
            "generation": content.pop("generation", 1),
            "creationTimestamp": content.pop("created", "2026-01-01T00:00:00Z"),
        }
        if "deleted" in content:
            metadata["deletionTimestamp"] = content.pop("deleted")
        for field in ("labels", "annotations"):
            if field in content:
                metadata[field] = content.pop(field)
        return {"metadata": metadata, **content}

    def put(self, kind: Kind, name: str, namespace: str, **content: Any) -> Record:
        record = parse_record(kind, self.raw(kind, name, namespace, **content))
        assert record is not None
        self.revision += self.state.upsert(record) and kind is not Kind.CONFIG_MAP
        return record

    def balancer(self, **changes: Any) -> None:
        spec = {
            "dataPlane": "Static",
            "deploymentRef": {"name": "balancer"},
            "listeners": [{"name": "ws", "port": 8080, "protocol": "HTTP"}],
            "allowedRoutes": {"namespaces": {"from": "All"}, "hosts": ["*.example.com"]},
            "reload": {"minInterval": "0s", "maxDrainingGenerations": 64},
            **changes,
        }
        self.put(Kind.BALANCER, "shared", SYSTEM, spec=spec, generation=self.version)

    def pod(self, name: str, *, ready: bool = True, until: str = "") -> None:
        """A pod of the balancer; one with an ``until`` was told to end, at the latest by then."""
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        status = {"conditions": [condition], **({"podIP": "10.0.9.9"} if until else {})}
        deleted = {"deleted": until} if until else {}
        self.put(Kind.POD, name, SYSTEM, labels={"app": "balancer"}, status=status, **deleted)

    def remove(self, kind: Kind, name: str, namespace: str) -> None:
        self.revision += self.state.delete(kind, Key(namespace, name), f"{kind}-{name}")

    def service(self, name: str, *addresses: str, namespace: str = TEAM) -> None:
        self.put(Kind.SERVICE, name, namespace, spec={"selector": {"app": name}, "ports": [{"port": 80}]})
        endpoints = [
            {
                "addresses": [address],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"{name}-{number}"},
            }
            for number, address in enumerate(addresses)
        ]
        labels = {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": SLICE_CONTROLLER}
        ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
        self.put(
            Kind.ENDPOINT_SLICE,
            f"{name}-1",
            namespace,
            labels=labels,
            addressType="IPv4",
            endpoints=endpoints,
            ports=ports,
        )

    def route(
        self,
        name: str,
        *,
        path: str = "/ws",
        service: str = "chat",
        generation: int = 1,
        namespace: str = TEAM,
        host: str = "",
        **more: Any,
    ) -> None:
        spec = {
            "balancerRef": {"name": "shared", "namespace": SYSTEM},
            "hosts": [host or f"{name}.example.com"],
            "paths": [{"path": path, "backends": [{"service": service, "port": 80}]}],
        }
        self.put(Kind.ROUTE, name, namespace, spec=spec, generation=generation, **more)

    def say(self, *pods: str, version: str, **more: Any) -> None:
        """Have agents acknowledge."""
        more.setdefault("formats", (1,))
        for pod in pods:
            self.said[pod] = Acknowledgement(version, 1, 3, "1.31.3", ipv6=True, **more)
        data = {pod: said.to_json() for pod, said in self.said.items()}
        self.put(Kind.CONFIG_MAP, "shared-agents", SYSTEM, labels={names.BALANCER_LABEL: "shared"}, data=data)

    def commit(self, plan: BalancerPlan) -> None:
        """Write what a plan wants."""
        for write in plan.writes:
            self.version += 1
            body = apply_body(write.wanted, uid=f"uid-{write.wanted.role}", version=self.version)
            record = parse_record(Kind.CONFIG_MAP, body)
            assert record is not None
            self.state.upsert(record)

    @property
    def snapshot(self) -> Snapshot:
        return self.state.snapshot()


def rollout_writes(plan: BalancerPlan) -> list[Write]:
    """All but the state, which comes first."""
    return [write for write in plan.writes if write.wanted.role != names.ROLE_STATE]


class Planner:
    """Passes over a small world, with one memo."""

    def __init__(self, world: SmallWorld) -> None:
        self.world = world
        self.memo = PassMemo()
        self.now = 0.0
        self.epoch = 1
        self.trust = NO_DEFINITION
        self.sights: dict[Key, Sight] = {}

    def result(self) -> PassResult:
        return plan_pass(
            self.world.snapshot,
            SETTINGS,
            self.memo,
            revision=self.world.revision,
            epoch=self.epoch,
            now=self.now,
            wall=BEGIN + self.now,
            trust=self.trust,
            sights=dict(self.sights),
        )

    def plan(self) -> BalancerPlan:
        return self.result().plans[SHARED]

    def settle(self) -> BalancerPlan:
        """Pass, write and have all pods do as they are told, until nothing is left to do."""
        for _ in range(20):
            plan = self.plan()
            if plan.writes:
                self.world.commit(plan)
                continue
            force, trial = plan.before
            told = {pod.name: force.version for pod in plan.pods if force is not None}
            if trial is not None:
                told[trial.canary] = trial.version
            late = [pod.name for pod in plan.pods if not pod.runs(told[pod.name])]
            if not late:
                return plan
            for name in late:
                self.world.say(name, version=told[name])
        raise AssertionError("no end")

    def newest(self) -> Made:
        """The file that was made last."""
        return list(self.memo.balancers[SHARED].made.values())[-1]

    def programmed(self, route: str) -> tuple[bool, str, str]:
        return self._said(StatusKey(Kind.ROUTE, Key(TEAM, route)), ConditionType.PROGRAMMED)

    def backlog(self) -> tuple[bool, str, str]:
        return self._said(StatusKey(Kind.BALANCER, SHARED), ConditionType.DRAIN_BACKLOG)

    def balancer_status(self) -> Mapping[str, Any]:
        return status_targets(self.result(), self.memo)[StatusKey(Kind.BALANCER, SHARED)].body

    def _said(self, key: StatusKey, kind: ConditionType) -> tuple[bool, str, str]:
        target = status_targets(self.result(), self.memo)[key]
        found = next(c for c in target.conditions if c.type is kind)
        return found.status, str(found.reason), found.message
