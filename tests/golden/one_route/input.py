"""The smallest balancer that does something."""

from tests.support.configurations import configuration, upstream
from wsroute.dataplane.ir import Endpoint

CONFIGURATION = configuration(
    upstreams=[upstream(Endpoint("10.244.1.7", 8080, 1), Endpoint("10.244.2.4", 8080, 1))], worker_processes=None
)
