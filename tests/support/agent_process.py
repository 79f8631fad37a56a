"""An agent as a process of its own, for tests that kill it.

``python -m tests.support.agent_process KUBECONFIG NAMESPACE CONF RUN TLS``
"""

import asyncio
import sys
from pathlib import Path

from tests.support.published import POD
from wsroute.agent.runtime import AgentConfig, run
from wsroute.kube.client import KubeClient
from wsroute.observability.logs import set_up


async def main(kubeconfig: Path, namespace: str, conf: Path, runs: Path, tls: Path) -> None:
    """Until it is killed."""
    client = await KubeClient.from_kubeconfig(kubeconfig)
    await run(AgentConfig(POD, namespace, "shared", conf=conf, run=runs, tls=tls, port=0), client)


if __name__ == "__main__":
    set_up(form="plain")
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], *map(Path, sys.argv[3:])))
