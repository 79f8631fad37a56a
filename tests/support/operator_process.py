"""One replica of the operator as a process of its own, for tests that kill it.

``python -m tests.support.operator_process KUBECONFIG NAMESPACE IDENTITY``
"""

import asyncio
import sys
from pathlib import Path

from wsroute.cluster.objects import Key
from wsroute.controller.runtime import OperatorConfig, run
from wsroute.observability.logs import set_up


def config_for(kubeconfig: Path, namespace: str, identity: str) -> OperatorConfig:
    """A replica for the balancers of one namespace, with a Lease there."""
    return OperatorConfig(
        namespaces=(namespace,),
        default_balancer=Key(namespace, "shared"),
        lease_namespace=namespace,
        lease_name="wsroute",
        identity=identity,
        http_host="127.0.0.1",
        http_port=0,
        kubeconfig=kubeconfig,
    )


if __name__ == "__main__":
    set_up(form="plain")
    asyncio.run(run(config_for(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
