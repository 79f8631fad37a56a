"""The operator's side of a balancer, in memory, and the whole agent that follows it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.support.balancer_pod import BalancerPod, echo_route
from tests.support.fake_cluster import FakeCluster
from tests.support.waiting import until
from wsroute.agent.runtime import Agent, AgentConfig
from wsroute.balancer.applier import NO_SCRIPTS
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement, parse_acknowledgement
from wsroute.dataplane.bundle import pack
from wsroute.dataplane.ir import Endpoint
from wsroute.kube.port import CONFIG_MAPS
from wsroute.nginx.render import Rendered

NAMESPACE: Final = "wsroute-system"
POD: Final = "shared-abc"
BACKEND: Final = Endpoint("127.0.0.1", 9, 1)


class Published(FakeCluster):
    """The operator's side, for one balancer. Everything that it makes has the labels that the agent selects by."""

    def __init__(self, pod: BalancerPod, port: int) -> None:
        super().__init__()
        self._pod = pod
        self.port = port
        self.backend = BACKEND

    def rendered(self, number: int) -> Rendered:
        """One of many versions. Its file is not staged: that is the agent's work."""
        return self._pod.render(echo_route(self.port, self.backend, idle_timeout=1000 * (number + 60)))

    def publish(
        self,
        role: str,
        version: str,
        text: str,
        *,
        epoch: int = 1,
        canary: str = "",
        pods: str = "*",
        terms: tuple[int, int] = (64, 3_600_000),
        scripts: Mapping[str, str] = NO_SCRIPTS,
        certificates: str = "",
    ) -> None:
        """Write a version as the operator does. ``terms`` are generations and milliseconds, ``certificates`` the files
        that it names."""
        bundle = pack(text)
        self.put(
            CONFIG_MAPS,
            names.nginx_name("shared") if role == names.ROLE_NGINX else names.next_name("shared"),
            namespace=NAMESPACE,
            labels={names.BALANCER_LABEL: "shared", names.ROLE_LABEL: role},
            annotations={
                names.VERSION_ANNOTATION: version,
                names.DIGEST_ANNOTATION: bundle.digest,
                names.EPOCH_ANNOTATION: str(epoch),
                names.CANARY_ANNOTATION: canary,
                names.PODS_ANNOTATION: pods,
                names.LISTENER_PORTS_ANNOTATION: str(self.port),
                names.MAX_DRAINING_ANNOTATION: str(terms[0]),
                names.DRAIN_TIMEOUT_ANNOTATION: str(terms[1]),
                names.CERTIFICATES_ANNOTATION: certificates,
            },
            data={**bundle.data, **scripts},
            binaryData=dict(bundle.binary_data),
        )

    def main(self, number: int, **how: Any) -> str:
        """Put a version in force."""
        found = self.rendered(number)
        self.publish(names.ROLE_NGINX, found.version, found.text, **how)
        return found.version

    def trial(self, number: int, **how: Any) -> str:
        """Put a version under canary."""
        found = self.rendered(number)
        self.publish(names.ROLE_NEXT, found.version, found.text, **how)
        return found.version

    def acknowledged(self) -> Acknowledgement | None:
        """What the pod has said last."""
        if not self.applied:
            return None
        return parse_acknowledgement(self.applied[-1]["data"][POD])

    async def until_acknowledged(self, version: str, *, seconds: float = 10) -> Acknowledgement:
        """Wait until the pod says that it runs a version."""

        def said() -> bool:
            found = self.acknowledged()
            return found is not None and found.version == version

        await until(said, seconds=seconds, what=f"for {version}; last: {self.acknowledged()} {self._pod.words()}")
        found = self.acknowledged()
        assert found is not None
        return found

    async def until_refused(self, version: str) -> Acknowledgement:
        """Wait until the pod says that it refuses a version."""

        def said() -> bool:
            found = self.acknowledged()
            return found is not None and found.failure is not None and found.failure.version == version

        await until(said, what=f"for the refusal of {version}; last: {self.acknowledged()}")
        found = self.acknowledged()
        assert found is not None
        return found


def config(pod: BalancerPod, *, port: int = 0) -> AgentConfig:
    return AgentConfig(
        pod=POD,
        namespace=NAMESPACE,
        balancer="shared",
        conf=pod.conf,
        run=pod.run,
        tls=Path(pod.paths.certificates),
        port=port,
    )


@asynccontextmanager
async def running_agent(pod: BalancerPod, cluster: Published) -> AsyncIterator[Agent]:
    """An agent, ended as by SIGKILL."""
    agent = Agent(config(pod), cluster)
    task = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
