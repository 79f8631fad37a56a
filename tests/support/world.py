"""A small cluster as records: a balancer with pods, and routes to Services with endpoints."""

from typing import Any

from wsroute.cluster.kinds import Kind, Record, parse_record
from wsroute.cluster.objects import Key, Snapshot
from wsroute.cluster.state import ClusterState
from wsroute.controller.balancing import BalancerPlan
from wsroute.controller.generated import apply_body
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement

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
            **changes,
        }
        self.put(Kind.BALANCER, "shared", SYSTEM, spec=spec, generation=self.version)

    def pod(self, name: str, *, ready: bool = True) -> None:
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        self.put(Kind.POD, name, SYSTEM, labels={"app": "balancer"}, status={"conditions": [condition]})

    def remove(self, kind: Kind, name: str, namespace: str) -> None:
        self.revision += self.state.delete(kind, Key(namespace, name), f"{kind}-{name}")

    def service(self, name: str, *addresses: str) -> None:
        self.put(Kind.SERVICE, name, TEAM, spec={"selector": {"app": name}, "ports": [{"port": 80}]})
        endpoints = [
            {
                "addresses": [address],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": TEAM, "name": f"{name}-{number}"},
            }
            for number, address in enumerate(addresses)
        ]
        labels = {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": SLICE_CONTROLLER}
        ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
        self.put(
            Kind.ENDPOINT_SLICE,
            f"{name}-1",
            TEAM,
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
